"""Statements, compiled once: a `Query` reads, a `Command` writes or locks."""

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
"""As OFFSET of a subquery: it is run for each row beside it, however many rows the planner expects there."""

_DIALECT = asyncpg_dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


def _compile_statement(statement: Statement, parameter_names: Sequence[str] | None = None) -> SQLCompiler:
    """Raises `TypeError` for what would have to be compiled for each execution."""
    compiled = statement.compile(dialect=_DIALECT, column_keys=parameter_names)
    assert isinstance(compiled, SQLCompiler)
    if compiled.post_compile_params:
        raise TypeError(f"IN would be written out for each list of values: use `= any_(…)` in {compiled}")
    return compiled


class Query(Generic[T]):
    """A SELECT with named parameters. `row` is called with the columns of each row, in their order.

    `skewed` says that the best plan depends on the values, as with words that are rare or common: it is planned anew each
    time, where others keep the plan they have.
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
        """The arguments in the order of the SQL text. A missing one is a programming error: KeyError."""
        constants = self._constants
        return [parameters[name] if name in parameters else constants[name] for name in self._parameter_names]


class Command:
    """A statement with named parameters that changes or locks something.

    An INSERT or UPDATE sets, beside what it says itself, the columns that parameters are named after, as SQLAlchemy has it;
    so a WHERE needs other names for its own. Each set of names is compiled once.
    """

    __slots__ = ("_compile_cached", "statement")

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self._compile_cached = lru_cache(maxsize=100)(self._compile)

    def bind(self, parameters: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """The SQL text and its arguments, keys that are made here among them. A missing one is a programming error: KeyError."""
        sql, parameter_names, constants, generated = self._compile_cached(*parameters)
        if generated:
            parameters = {name: make(None) for name, make in generated} | dict(parameters)
        return sql, [parameters[name] if name in parameters else constants[name] for name in parameter_names]

    def _compile(self, *parameter_names: str) -> "_CompiledCommand":
        compiled = _compile_statement(self.statement, parameter_names)
        bind_names = tuple(compiled.positiontup or ())
        if unknown := set(parameter_names).difference(bind_names):
            raise TypeError(f"There is no place for {', '.join(sorted(unknown))} in {compiled}")
        constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        generated = tuple(
            (column.key, _get_default_factory(column))
            for column in (*compiled.insert_prefetch, *compiled.update_prefetch)
        )
        return str(compiled), bind_names, constants, generated


_DefaultFactory = Callable[[None], Any]
_CompiledCommand = tuple[str, tuple[str, ...], dict[str, Any], tuple[tuple[str, _DefaultFactory], ...]]
"""The SQL text, the names of its parameters, the values that never change, and what makes the others."""


def _get_default_factory(column: Column[Any]) -> _DefaultFactory:
    if not isinstance(column.default, CallableColumnDefault):
        raise TypeError(f"{column} has a default that is not made by a function")
    return cast(_DefaultFactory, column.default.arg)
