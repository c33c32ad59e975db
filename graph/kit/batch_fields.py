"""Declares fields that are loaded for all rows of a list at once."""

from collections.abc import Callable, Collection, Hashable, Sequence
from operator import attrgetter
from typing import Any, Generic, TypeVar

import strawberry

from graph.executor import BATCH_FIELD_KEY, BatchField, BatchLoaderProtocol
from graph.kit.declare import docstring
from graph.kit.loader import Loader
from graph.request_errors import RowVanished

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BatchLoader(Generic[K, V]):
    """Loads a value for each row of a list by one of the row's attributes; a row where it is `None` has no value.

    Fields that share a batch loader share what it loads. Where `preloaded` is set, rows may carry the value in the
    attribute of that name, read by the same statement as the row.
    """

    def __init__(self, get_loader: Callable[[Any], Loader[K, V]], key: str, *, preloaded: str | None = None) -> None:
        """Name the loader, a function of `context.loaders`, and the attribute with the key."""
        self.requires = frozenset({key})
        self._get_loader = get_loader
        self._get_key = attrgetter(key)
        self.preloaded = preloaded

    async def load(self, rows: Sequence[Any], context: Any) -> Sequence[V | None]:
        """Load the values, in the order of the rows."""
        keys = list(map(self._get_key, rows))
        present_keys = [key for key in keys if key is not None]
        values = await self._get_loader(context.loaders).load_all(present_keys) if present_keys else []
        if len(present_keys) == len(keys):
            return values
        values_by_key = dict(zip(present_keys, values, strict=True))
        return [None if key is None else values_by_key[key] for key in keys]

    def get_cached(self, rows: Sequence[Any], context: Any) -> Sequence[V | None] | None:
        """Return the values, or `None` when any of them is not loaded yet."""
        return self._get_loader(context.loaders).get_cached(map(self._get_key, rows))


def batch_field(
    loader: BatchLoaderProtocol,
    graphql_type: Any = None,
    *,
    assumed_size: int | None = None,
    requires: Collection[str] | None = None,
    max_age: int | None = None,
) -> Callable[[Callable[[Any], Any]], Any]:
    """Declare a field with a batch loader; the decorated function turns what was loaded into the field's value.

    Args:
        loader: What loads the values.
        graphql_type: The field's type, where the function returns database rows as they are.
        assumed_size: The number of items that the cost of a list is computed with.
        requires: The attributes of the loaded row that the function reads. `None` means any of them,
            or none where `graphql_type` is given.
        max_age: Seconds that a shared cache may keep the value.
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
    """Return the row that another row refers to.

    Raises:
        RowVanished: It was deleted after the other row was read.
    """
    if row is None:
        raise RowVanished
    return row
