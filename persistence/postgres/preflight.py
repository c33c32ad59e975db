"""Checks whether the database can serve the shop: its schema revision, the role's privileges, and whether it takes writes."""

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
_WRITE_PRIVILEGES = "INSERT, UPDATE, DELETE"
"""`has_table_privilege` is satisfied by one of them, which is enough: rows of a ledger are only inserted."""


async def find_revision(db: ReadSession | Transaction) -> str | None:
    """Return the schema's Alembic revision, or `None` when none is recorded.

    Raises:
        Unavailable: The database cannot be reached.
    """
    return await db.first(_REVISION)


async def check_writable(tx: Transaction) -> None:
    """Run a statement that needs a writable database and changes nothing.

    Raises:
        Unavailable: The server is a replica, or a primary that is set to read-only.
    """
    await tx.execute(_EMPTY_WRITE)


async def find_missing_privilege(connection: asyncpg.Connection, *, needs_write: bool) -> str | None:
    """Return the name of a table that the connection's role may not read, or `None`.

    With `needs_write`, the role must also be allowed to write to each table.
    """
    table_names = ["alembic_version", "pgqueuer", *(table.name for table in Base.metadata.sorted_tables)]
    missing: str | None = await connection.fetchval(
        _FIND_MISSING_PRIVILEGE, table_names, _WRITE_PRIVILEGES if needs_write else ""
    )
    return missing
