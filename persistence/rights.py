"""What the shop's role has to be allowed to do."""

import asyncpg

from persistence.models import Table

_LACKING = """
SELECT name FROM unnest($1::text[]) AS name
WHERE to_regclass(name) IS NOT NULL AND NOT (
    has_table_privilege(to_regclass(name), 'SELECT')
    AND ($2 = '' OR name = 'alembic_version' OR has_table_privilege(to_regclass(name), $2))
) LIMIT 1
"""
_WRITING = "INSERT, UPDATE, DELETE"  # PostgreSQL asks for one of them, and one is enough: a ledger is only added to


async def lacking_at(connection: asyncpg.Connection, *, writes: bool) -> str | None:
    """A table that the connection's role may not read, or where it `writes` not write."""
    tables = ["alembic_version", "pgqueuer", *(table.name for table in Table.metadata.sorted_tables)]
    name: str | None = await connection.fetchval(_LACKING, tables, _WRITING if writes else "")
    return name
