"""SQL statements that are compiled once: a `Query` reads, a `Command` writes or locks."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Column, ColumnElement, Delete, Insert, Select, TextClause, Update, literal_column
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.schema import CallableColumnDefault

T = TypeVar("T")
Statement = Select[*tuple[Any, ...]] | Insert | Update | Delete | TextClause

OPTIMIZATION_FENCE: ColumnElement[int] = literal_column("0")
"""As a subquery's OFFSET, keeps PostgreSQL from merging the subquery into the outer query."""

_DIALECT = asyncpg_dialect()  # type: ignore[no-untyped-call]  # untyped in SQLAlchemy


def _compile_statement(statement: Statement, parameter_names: Sequence[str] | None = None) -> SQLCompiler:
    """Compile a statement for asyncpg.

    Raises:
        TypeError: The statement would have to be compiled for each execution.
    """
    compiled = statement.compile(dialect=_DIALECT, column_keys=parameter_names)
    assert isinstance(compiled, SQLCompiler)
    if compiled.post_compile_params:
        raise TypeError(f"IN would be compiled for each list of values: use `= any_(…)` in {compiled}")
    return compiled


class Query(Generic[T]):
    """A SELECT with named parameters. `row_factory` is called with the columns of each row, in order.

    `needs_custom_plan` means that the best plan depends on the values, as with rare and common words. PostgreSQL plans
    such a query for each execution; other queries keep a generic plan.
    """

    __slots__ = ("_constants", "_parameter_names", "needs_custom_plan", "row_factory", "sql", "statement")

    def __init__(
        self,
        statement: Select[*tuple[Any, ...]],
        row_factory: Callable[..., T],
        *,
        needs_custom_plan: bool = False,
    ) -> None:
        self.statement = statement
        self.row_factory = row_factory
        self.needs_custom_plan = needs_custom_plan
        compiled = _compile_statement(statement)
        self.sql = str(compiled)
        self._parameter_names: Sequence[str] = compiled.positiontup or ()
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}

    def bind(self, parameters: dict[str, Any]) -> list[Any]:
        """Return the arguments in the order of the SQL text.

        Raises:
            KeyError: A parameter is missing.
        """
        constants = self._constants
        return [parameters[name] if name in parameters else constants[name] for name in self._parameter_names]


class Command:
    """A statement with named parameters that changes or locks rows.

    As in SQLAlchemy, a parameter named like a column sets that column in an INSERT or UPDATE. Parameters of a WHERE
    therefore need other names. Each set of names is compiled once.
    """

    __slots__ = ("_compile_cached", "statement")

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self._compile_cached = lru_cache(maxsize=100)(self._compile)

    def bind(self, parameters: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """Return the SQL text and its arguments, including generated column defaults such as ids.

        Raises:
            KeyError: A parameter is missing.
            TypeError: A parameter does not occur in the statement.
        """
        sql, parameter_names, constants, generated = self._compile_cached(*parameters)
        if generated:
            parameters = {name: factory(None) for name, factory in generated} | dict(parameters)
        return sql, [parameters[name] if name in parameters else constants[name] for name in parameter_names]

    def _compile(self, *parameter_names: str) -> "_CompiledCommand":
        compiled = _compile_statement(self.statement, parameter_names)
        bind_names = tuple(compiled.positiontup or ())
        if unknown := set(parameter_names).difference(bind_names):
            raise TypeError(f"unknown parameters {', '.join(sorted(unknown))} in {compiled}")
        constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        generated = tuple(
            (column.key, _get_default_factory(column))
            for column in (*compiled.insert_prefetch, *compiled.update_prefetch)
        )
        return str(compiled), bind_names, constants, generated


_DefaultFactory = Callable[[None], Any]
_CompiledCommand = tuple[str, tuple[str, ...], dict[str, Any], tuple[tuple[str, _DefaultFactory], ...]]
"""The SQL text, its parameter names in order, the constants, and the factories of column defaults."""


def _get_default_factory(column: Column[Any]) -> _DefaultFactory:
    if not isinstance(column.default, CallableColumnDefault):
        raise TypeError(f"{column} needs a callable default")
    return cast(_DefaultFactory, column.default.arg)
