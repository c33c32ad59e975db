"""No SQL text is built from input: values are bound as parameters."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("graph", "domain", "persistence", "server")
TRUSTED_INTERPOLATIONS = {
    "persistence/backlog.py": 3,
    "persistence/orders.py": 1,
    "persistence/browse/relevance.py": 2,
}
"""The number of interpolations allowed per file: constants that the planner needs in the SQL text."""
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


def _parse_sources(repository: Path) -> Iterator[tuple[Path, ast.Module]]:
    for package in PACKAGES:
        for path in (repository / package).rglob("*.py"):
            yield path.relative_to(repository), ast.parse(path.read_text("utf-8"))


def find_interpolated_sql(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls whose SQL argument interpolates a value that is not a constant of the module."""
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
    """Return whether an argument is free of interpolation.

    SQLAlchemy objects and plain names are accepted; a name is checked where its value is built.
    """
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
    interpolations = Counter(
        str(path) for path, tree in _parse_sources(repository) for _ in find_interpolated_sql(tree)
    )
    assert interpolations == TRUSTED_INTERPOLATIONS


@pytest.mark.parametrize(
    "code",
    [
        "text(f'SELECT {name}')",
        "await connection.fetch('SELECT ' + name)",
        "await connection.execute('SELECT %s' % name)",
        "text('SELECT {}'.format(name))",
        "text(' '.join(parts))",
    ],
)
def test_interpolated_statement_is_detected(code: str) -> None:
    assert list(find_interpolated_sql(ast.parse(code)))
