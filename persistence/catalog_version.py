"""The version of the catalog: while it is unchanged, everything that anonymous callers can see is unchanged."""

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
    """Return the version of the catalog. Data read afterwards is at least as new.

    Each statement that changes the public catalog increments a sequence, which is visible at once, and locks the sequence
    until its transaction ends. Without such a lock, all counted changes are visible, and the count is the version. With
    one, some changes may not be visible yet, so the version is a unique object that never equals another.

    Raises:
        Unavailable: PostgreSQL is unreachable, overloaded or too slow.
    """
    change_count = await db.first(_CHANGE_COUNT)
    return object() if await db.first(_HAS_OPEN_CHANGES) else change_count
