"""The version of the catalog: while it stays the same, anonymous callers see the same data."""

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
    """Return the current version; data read from now on is at least as new.

    Every statement that changes what anonymous callers see takes a number from a sequence, visible at once, and locks the
    sequence until its transaction ends. Without such a lock, all counted changes can be read. With one, it is unknown
    which changes can be read, and the version is a unique object that never matches.
    """
    change_count = await db.first(_CHANGE_COUNT)
    return object() if await db.first(_HAS_OPEN_CHANGES) else change_count
