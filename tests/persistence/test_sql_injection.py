"""SQL is written by programmers and never put together from what somebody sends: values are bound."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("graph", "domain", "persistence", "server")
TRUSTED_INTERPOLATIONS = {
    "persistence/backlog.py": 3,
    "persistence/browse/book_query.py": 2,
    "persistence/orders.py": 1,
    "persistence/browse/relevance.py": 2,
}
"""Operators of tsquery and statuses of orders: names of the program, written out so that the planner knows them."""
SQL_FUNCTIONS = {
    "text",
    "execute",
    "fetch",
    "fetchrow",
    "fetchval",
    "literal_column",
    "prepare",
    "exec_driver_sql",
    "op",
}


def _source(repository: Path) -> Iterator[tuple[Path, ast.Module]]:
    for package in PACKAGES:
        for path in (repository / package).rglob("*.py"):
            yield path.relative_to(repository), ast.parse(path.read_text("utf-8"))


def find_interpolated_sql(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that take SQL and are handed a string with something put into it other than a constant of the module."""
    constants = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id.isupper()
    }
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not call.args:
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in SQL_FUNCTIONS and not _is_constant(call.args[0], constants):
            yield call


def _is_constant(sql: ast.expr, constants: set[str]) -> bool:
    """What is not put together at this place was built by SQLAlchemy or is a name that is looked at where it is made."""
    if isinstance(sql, ast.JoinedStr):
        values = [part.value for part in sql.values if isinstance(part, ast.FormattedValue)]
        return all(isinstance(value, ast.Name) and value.id in constants for value in values)
    if isinstance(sql, ast.BinOp):
        return not isinstance(sql.op, (ast.Add, ast.Mod))
    is_format = (
        isinstance(sql, ast.Call) and isinstance(sql.func, ast.Attribute) and sql.func.attr in ("format", "join")
    )
    return not is_format


def test_no_statement_is_built_from_values(repository: Path) -> None:
    found = Counter(str(path) for path, tree in _source(repository) for _ in find_interpolated_sql(tree))
    assert found == TRUSTED_INTERPOLATIONS


@pytest.mark.parametrize(
    "bad",
    [
        "text(f'SELECT {name}')",
        "await connection.fetch('SELECT ' + name)",
        "await connection.execute('SELECT %s' % name)",
        "text('SELECT {}'.format(name))",
        "text(' '.join(parts))",
    ],
)
def test_interpolated_statement_is_detected(bad: str) -> None:
    assert list(find_interpolated_sql(ast.parse(bad)))
