"""Fields that are loaded: for all rows of a list at once."""

from collections.abc import Callable, Collection, Hashable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import strawberry

from graph.executor import BATCH_FIELD_KEY, BatchField, BatchLoaderProtocol
from graph.kit.declare import docstring
from graph.loaders import Loader, Loaders
from graph.request_errors import RowVanished

if TYPE_CHECKING:
    from graph.context import Context

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BatchLoader(Generic[K, V]):
    """What is loaded for a row, and by which of its attributes. A row without that key has nothing.

    Fields that share a question share its answer. Rows that were read together with it have it as an attribute, `carried`.
    """

    def __init__(
        self, get_loader: Callable[[Loaders], Loader[K, V]], key: str, *, preloaded: str | None = None
    ) -> None:
        self.requires = frozenset({key})
        self._get_loader = get_loader
        self._get_key = attrgetter(key)
        self.preloaded = preloaded

    async def load(self, rows: Sequence[Any], context: "Context") -> Sequence[V | None]:
        keys = list(map(self._get_key, rows))
        present_keys = [key for key in keys if key is not None]
        values = await self._get_loader(context.loaders).load_all(present_keys) if present_keys else []
        if len(present_keys) == len(keys):
            return values
        values_by_key = dict(zip(present_keys, values, strict=True))
        return [None if key is None else values_by_key[key] for key in keys]

    def get_cached(self, rows: Sequence[Any], context: "Context") -> Sequence[V | None] | None:
        return self._get_loader(context.loaders).get_cached(map(self._get_key, rows))


def batch_field(
    loader: BatchLoaderProtocol,
    graphql_type: Any = None,
    *,
    assumed_size: int | None = None,
    requires: Collection[str] | None = None,
    max_age: int | None = None,
) -> Callable[[Callable[[Any], Any]], Any]:
    """A field that a question answers; what is decorated makes its value out of the answer.

    `graphql_type` names its type where rows are handed on. `length` is how long a list is reckoned to be. `reads` are the
    attributes of the answer that the value is made of; where it is not said, and nothing is handed on, that may be any.
    `fresh_for` are the seconds for which caches may keep a visitor's answer with it.
    """
    is_passthrough = graphql_type is not None
    required = frozenset(requires or ()) if is_passthrough or requires is not None else None
    options = {"assumed_size": assumed_size, "max_age": max_age}

    def declare(transform: Callable[[Any], Any]) -> Any:
        async def resolve(self: Any, info: strawberry.Info) -> Any:
            [value] = await loader.load([self], info.context)
            if isinstance(value, Exception):
                raise value
            return transform(value)

        resolve.__annotations__["return"] = transform.__annotations__["return"]
        return strawberry.field(
            resolve,
            description=docstring(transform),
            graphql_type=graphql_type,
            metadata={BATCH_FIELD_KEY: BatchField(loader, transform, required, is_passthrough)}
            | {key: value for key, value in options.items() if value is not None},
        )

    return declare


def require_row(row: V | None) -> V:
    """What a row names. Raises `Vanished`."""
    if row is None:
        raise RowVanished
    return row


AUTHORS = BatchLoader(lambda loaders: loaders.authors_by_book, "id", preloaded="authors")
RATING = BatchLoader(lambda loaders: loaders.rating_by_book, "id", preloaded="rating")
BOOK = BatchLoader(lambda loaders: loaders.book, "book_id")
USER = BatchLoader(lambda loaders: loaders.user, "user_id", preloaded="user")
GENRE = BatchLoader(lambda loaders: loaders.genre, "genre_id", preloaded="genre")
