"""The version of the catalogue: as long as it stays, everything that visitors can see is what it was."""

from collections.abc import Hashable

from sqlalchemy import Integer, cast, column, exists, func, select, table

from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Query

_changes = table("catalog_changes", column("last_value"), column("is_called"))
_locks = table("pg_locks", column("relation"), column("mode"))
_CHANGE_COUNT: Query[int] = Query(select(_changes.c.last_value + cast(_changes.c.is_called, Integer)), int)
_HAS_OPEN_CHANGES: Query[bool] = Query(
    select(
        exists()
        .where(_locks.c.relation == func.to_regclass("catalog_changes"), _locks.c.mode == "RowExclusiveLock")
        .select_from(_locks)
    ),
    bool,
)


async def get_catalog_version(db: ReadSession) -> Hashable:
    """What is read from now on is at least as new as this version.

    Every statement that changes what visitors can see takes a number from a sequence, at once and for all to see, and keeps
    a lock on it until its transaction has ended. So while nobody holds one, all that was counted can be read. While
    somebody does, nobody can say how much of it can, and the version is one that never comes again.
    """
    change_count = await db.first(_CHANGE_COUNT)
    return object() if await db.first(_HAS_OPEN_CHANGES) else change_count
