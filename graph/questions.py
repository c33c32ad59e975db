"""Fields that are loaded: for all rows of a list at once."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import strawberry

from graph.engine import Loaded
from graph.faults import Vanished
from graph.fields import described
from graph.loaders import Loader, Loaders

if TYPE_CHECKING:
    from graph.context import Context

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, eq=False, slots=True)
class Question(Generic[K, V]):
    """What is loaded for a row, and by which of its values. A row without that value has nothing.

    Fields that share a question share its answer.
    """

    loader: Callable[[Loaders], Loader[K, V]]
    key: Callable[[Any], K | None]

    async def load(self, rows: Sequence[Any], context: "Context") -> Sequence[V | None]:
        keys = list(map(self.key, rows))
        asked = [key for key in keys if key is not None]
        answers = await self.loader(context.loaders).load_all(asked) if asked else []
        if len(asked) == len(keys):
            return answers
        found = dict(zip(asked, answers, strict=True))
        return [None if key is None else found[key] for key in keys]

    def at_hand(self, rows: Sequence[Any], context: "Context") -> Sequence[V | None] | None:
        return self.loader(context.loaders).at_hand(map(self.key, rows))

    def came_along(self, info: strawberry.Info, answers: Mapping[K, V]) -> None:
        """Answers that were read together with the rows."""
        self.loader(info.context.loaders).remember(answers)

    def is_asked(self, info: strawberry.Info) -> bool:
        """Whether some field below asks it of the rows, as far as the executor tells."""
        return self in getattr(info, "along", ())


def loaded(
    question: Question[Any, Any],
    graphql_type: Any = None,
    *,
    length: int | None = None,
    fresh_for: int | None = None,
) -> Callable[[Callable[[Any], Any]], Any]:
    """A field that a question answers; what is decorated makes its value out of the answer.

    `graphql_type` names its type where the value is made of rows, `length` is how long a list is reckoned to be,
    `fresh_for` the seconds for which caches may keep a visitor's answer with it.
    """

    told = {"length": length, "fresh_for": fresh_for}

    def declare(then: Callable[[Any], Any]) -> Any:
        async def resolve(self: Any, info: strawberry.Info) -> Any:
            [answer] = await question.load([self], info.context)
            return then(answer)

        resolve.__annotations__["return"] = then.__annotations__["return"]
        return strawberry.field(
            resolve,
            description=described(then),
            graphql_type=graphql_type,
            metadata={"loaded": Loaded(question, then)}
            | {key: value for key, value in told.items() if value is not None},
        )

    return declare


def there(row: V | None) -> V:
    """What a row names. Raises `Vanished`."""
    if row is None:
        raise Vanished
    return row


AUTHORS = Question(lambda loaders: loaders.authors_of_book, lambda book: book.id)
RATING = Question(lambda loaders: loaders.rating_of_book, lambda book: book.id)
BOOK = Question(lambda loaders: loaders.book, lambda row: row.book_id)
USER = Question(lambda loaders: loaders.user, lambda row: row.user_id)
GENRE = Question(lambda loaders: loaders.genre, lambda row: row.genre_id)
