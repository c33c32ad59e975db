"""Whether the database answers, and at which version of the tables."""

from sqlalchemy import column, select, table

from persistence.database import Reading
from persistence.query import Query

_REVISION = Query(select(column("version_num")).select_from(table("alembic_version")), str)


async def find_revision(reading: Reading) -> str | None:
    return await reading.first(_REVISION)
