"""Checks of a database: its revision, the role's privileges, and whether it accepts writes."""

import asyncpg
from sqlalchemy import column, select, table, text

from persistence.postgres.database import Transaction
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Command, Query
from persistence.tables import Base

_REVISION = Query(select(column("version_num")).select_from(table("alembic_version")), str)
_EMPTY_WRITE = Command(text("DELETE FROM carts WHERE false"))


_FIND_MISSING_PRIVILEGE = """
SELECT name FROM unnest($1::text[]) AS name
WHERE to_regclass(name) IS NOT NULL AND NOT (
    has_table_privilege(to_regclass(name), 'SELECT')
    AND ($2 = '' OR name = 'alembic_version' OR has_table_privilege(to_regclass(name), $2))
) LIMIT 1
"""
_WRITE_PRIVILEGES = "INSERT, UPDATE, DELETE"  # has_table_privilege() requires one of them; ledgers need INSERT only


async def find_revision(db: ReadSession | Transaction) -> str | None:
    """Return the Alembic revision of the database, or `None`."""
    return await db.first(_REVISION)


async def check_writable(tx: Transaction) -> None:
    """Run a write that changes nothing.

    Raises:
        Unavailable: The server is a replica, or a primary in read-only mode.
    """
    await tx.execute(_EMPTY_WRITE)


async def find_missing_privilege(connection: asyncpg.Connection, *, needs_write: bool) -> str | None:
    """Return a table that the connection's role may not read, or with `needs_write` not write; `None` if there is none."""
    tables = ["alembic_version", "pgqueuer", *(table.name for table in Base.metadata.sorted_tables)]
    table_name: str | None = await connection.fetchval(
        _FIND_MISSING_PRIVILEGE, tables, _WRITE_PRIVILEGES if needs_write else ""
    )
    return table_name
