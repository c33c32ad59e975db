"""Whether the database answers, at which version of the tables, and whether it takes writes."""

from sqlalchemy import column, select, table, text

from persistence.database import Reading, Transaction
from persistence.query import Command, Query

_REVISION = Query(select(column("version_num")).select_from(table("alembic_version")), str)
_NOTHING = Command(text("DELETE FROM carts WHERE false"))


async def find_revision(lane: Reading | Transaction) -> str | None:
    return await lane.first(_REVISION)


async def write_nothing(tx: Transaction) -> None:
    """Raises `Unavailable` where nothing can be written: at a standby, or where the primary was told to keep what it has."""
    await tx.run(_NOTHING)
