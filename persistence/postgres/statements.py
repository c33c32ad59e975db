"""Statements that are compiled once: a `Query` reads, a `Command` writes or locks."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Column, ColumnElement, Delete, Insert, Select, TextClause, Update, func, literal_column
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.schema import CallableColumnDefault

T = TypeVar("T")
Statement = Select[*tuple[Any, ...]] | Insert | Update | Delete | TextClause

OPTIMIZATION_FENCE: ColumnElement[int] = literal_column("0")
"""As OFFSET of a subquery, it keeps the planner from pulling the subquery up: it runs once per outer row."""

_DIALECT = asyncpg_dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


def _compile_statement(statement: Statement, parameter_names: Sequence[str] | None = None) -> SQLCompiler:
    """Compile a statement. Raises `TypeError` for one that would have to be compiled for each execution."""
    compiled = statement.compile(dialect=_DIALECT, column_keys=parameter_names)
    assert isinstance(compiled, SQLCompiler)
    if compiled.post_compile_params:
        raise TypeError(f"IN is expanded for each list of values; use `= any_(…)` in {compiled}")
    return compiled


_WILDCARDS: ColumnElement[str] = literal_column(r"'[\\%_]'")
_ESCAPED: ColumnElement[str] = literal_column(r"'\\\&'")
_ANYTHING: ColumnElement[str] = literal_column("'%'")


def build_like_pattern(text: ColumnElement[str]) -> ColumnElement[str]:
    """Return SQL for a LIKE pattern that matches the text anywhere; wildcards in the text are escaped."""
    escaped: ColumnElement[str] = func.regexp_replace(text, _WILDCARDS, _ESCAPED, literal_column("'g'"))
    return _ANYTHING.concat(escaped).concat(_ANYTHING)


class Query(Generic[T]):
    """A SELECT with named parameters. `row_factory` is called with the columns of each row, in their order.

    With `needs_custom_plan` PostgreSQL plans each execution, because the best plan depends on the values, such as rare
    or common words. Other queries keep one generic plan.
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
        """Return the arguments in the order of the SQL text. Raises `KeyError` for a missing parameter."""
        constants = self._constants
        return [parameters[name] if name in parameters else constants[name] for name in self._parameter_names]


class Command:
    """A statement with named parameters that changes or locks rows.

    An INSERT or UPDATE also sets the columns that parameters are named after, as in SQLAlchemy; parameters of a WHERE
    therefore need other names. Each set of parameter names is compiled once.
    """

    __slots__ = ("_compile_cached", "statement")

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self._compile_cached = lru_cache(maxsize=100)(self._compile)

    def bind(self, parameters: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """Return the SQL text and its arguments, generated keys included. Raises `KeyError` for a missing parameter."""
        sql, parameter_names, constants, generated = self._compile_cached(*parameters)
        if generated:
            parameters = {name: make(None) for name, make in generated} | dict(parameters)
        return sql, [parameters[name] if name in parameters else constants[name] for name in parameter_names]

    def _compile(self, *parameter_names: str) -> "_CompiledCommand":
        compiled = _compile_statement(self.statement, parameter_names)
        bind_names = tuple(compiled.positiontup or ())
        if unknown := set(parameter_names).difference(bind_names):
            raise TypeError(f"Unknown parameters {', '.join(sorted(unknown))} in {compiled}")
        constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        generated = tuple(
            (column.key, _get_default_factory(column))
            for column in (*compiled.insert_prefetch, *compiled.update_prefetch)
        )
        return str(compiled), bind_names, constants, generated


_DefaultFactory = Callable[[None], Any]
_CompiledCommand = tuple[str, tuple[str, ...], dict[str, Any], tuple[tuple[str, _DefaultFactory], ...]]
"""The SQL text, its parameter names, the constant values, and the factories of generated values."""


def _get_default_factory(column: Column[Any]) -> _DefaultFactory:
    if not isinstance(column.default, CallableColumnDefault):
        raise TypeError(f"The default of {column} must be a function")
    return cast(_DefaultFactory, column.default.arg)
