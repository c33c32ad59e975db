"""Whether the database answers, at which version of the tables, and whether it takes writes."""

from sqlalchemy import column, select, table, text

from persistence.postgres.database import ReadSession, Transaction
from persistence.postgres.statements import Command, Query

_REVISION = Query(select(column("version_num")).select_from(table("alembic_version")), str)
_EMPTY_WRITE = Command(text("DELETE FROM carts WHERE false"))


async def find_revision(db: ReadSession | Transaction) -> str | None:
    return await db.first(_REVISION)


async def check_writable(tx: Transaction) -> None:
    """Raises `Unavailable` where nothing can be written: at a standby, or where the primary was told to keep what it has."""
    await tx.execute(_EMPTY_WRITE)
