"""Fields that are loaded: for all rows of a list at once."""

from collections.abc import Callable, Collection, Hashable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import strawberry

from graph.engine import Batch, Loaded
from graph.faults import Vanished
from graph.fields import described
from graph.loaders import Loader, Loaders

if TYPE_CHECKING:
    from graph.context import Context

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Question(Generic[K, V]):
    """What is loaded for a row, and by which of its attributes. A row without that key has nothing.

    Fields that share a question share its answer. Rows that were read together with it have it as an attribute, `carried`.
    """

    def __init__(self, loader: Callable[[Loaders], Loader[K, V]], key: str, *, carried: str | None = None) -> None:
        self.reads = frozenset({key})
        self._loader = loader
        self._key = attrgetter(key)
        self.carried = carried

    async def load(self, rows: Sequence[Any], context: "Context") -> Sequence[V | None]:
        keys = list(map(self._key, rows))
        asked = [key for key in keys if key is not None]
        answers = await self._loader(context.loaders).load_all(asked) if asked else []
        if len(asked) == len(keys):
            return answers
        found = dict(zip(asked, answers, strict=True))
        return [None if key is None else found[key] for key in keys]

    def at_hand(self, rows: Sequence[Any], context: "Context") -> Sequence[V | None] | None:
        return self._loader(context.loaders).at_hand(map(self._key, rows))


def loaded(
    question: Batch,
    graphql_type: Any = None,
    *,
    length: int | None = None,
    reads: Collection[str] | None = None,
    fresh_for: int | None = None,
) -> Callable[[Callable[[Any], Any]], Any]:
    """A field that a question answers; what is decorated makes its value out of the answer.

    `graphql_type` names its type where rows are handed on. `length` is how long a list is reckoned to be. `reads` are the
    attributes of the answer that the value is made of; where it is not said, and nothing is handed on, that may be any.
    `fresh_for` are the seconds for which caches may keep a visitor's answer with it.
    """
    handed_on = graphql_type is not None
    read = frozenset(reads or ()) if handed_on or reads is not None else None
    told = {"length": length, "fresh_for": fresh_for}

    def declare(then: Callable[[Any], Any]) -> Any:
        async def resolve(self: Any, info: strawberry.Info) -> Any:
            [answer] = await question.load([self], info.context)
            if isinstance(answer, Exception):
                raise answer
            return then(answer)

        resolve.__annotations__["return"] = then.__annotations__["return"]
        return strawberry.field(
            resolve,
            description=described(then),
            graphql_type=graphql_type,
            metadata={"loaded": Loaded(question, then, read, handed_on)}
            | {key: value for key, value in told.items() if value is not None},
        )

    return declare


def there(row: V | None) -> V:
    """What a row names. Raises `Vanished`."""
    if row is None:
        raise Vanished
    return row


AUTHORS = Question(lambda loaders: loaders.authors_of_book, "id", carried="authors")
RATING = Question(lambda loaders: loaders.rating_of_book, "id", carried="rating")
BOOK = Question(lambda loaders: loaders.book, "book_id")
USER = Question(lambda loaders: loaders.user, "user_id", carried="user")
GENRE = Question(lambda loaders: loaders.genre, "genre_id", carried="genre")
