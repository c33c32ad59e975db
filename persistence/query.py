"""A statement compiled once, and the small object that each of its rows becomes."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from sqlalchemy import Select
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect

T = TypeVar("T")

_DIALECT = asyncpg_dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


class Query(Generic[T]):
    """A SELECT with named parameters. `row` is called with the columns of each row, in their order.

    `skewed` says that the best plan depends on the values, as with words that are rare or common: it is planned anew each
    time, where others keep the plan they have.
    """

    __slots__ = ("_fixed", "_names", "row", "skewed", "sql", "statement")

    def __init__(
        self,
        statement: Select[*tuple[Any, ...]],
        row: Callable[..., T],
        *,
        skewed: bool = False,
    ) -> None:
        self.statement = statement
        self.row = row
        self.skewed = skewed
        compiled = statement.compile(dialect=_DIALECT)
        self.sql = str(compiled)
        self._names: Sequence[str] = compiled.positiontup or ()
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}

    def bind(self, parameters: dict[str, Any]) -> list[Any]:
        """The arguments in the order of the SQL text. A missing one is a programming error: KeyError."""
        fixed = self._fixed
        return [parameters[name] if name in parameters else fixed[name] for name in self._names]
