"""What the shop's role has to be allowed to do."""

import asyncpg

from persistence.tables import Base

_FIND_MISSING_PRIVILEGE = """
SELECT name FROM unnest($1::text[]) AS name
WHERE to_regclass(name) IS NOT NULL AND NOT (
    has_table_privilege(to_regclass(name), 'SELECT')
    AND ($2 = '' OR name = 'alembic_version' OR has_table_privilege(to_regclass(name), $2))
) LIMIT 1
"""
_WRITE_PRIVILEGES = (
    "INSERT, UPDATE, DELETE"  # PostgreSQL asks for one of them, and one is enough: a ledger is only added to
)


async def find_missing_privilege(connection: asyncpg.Connection, *, needs_write: bool) -> str | None:
    """A table that the connection's role may not read, or where it `writes` not write."""
    tables = ["alembic_version", "pgqueuer", *(table.name for table in Base.metadata.sorted_tables)]
    table_name: str | None = await connection.fetchval(
        _FIND_MISSING_PRIVILEGE, tables, _WRITE_PRIVILEGES if needs_write else ""
    )
    return table_name
