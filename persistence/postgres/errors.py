"""What PostgreSQL can do to a unit of work, told apart by SQLSTATE."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import stamina

P = ParamSpec("P")
T = TypeVar("T")


class Unavailable(Exception):
    """PostgreSQL is away, overloaded or too slow. Nothing was done; try again in `retry_after` seconds."""

    retry_after = 2


class Conflict(Unavailable):
    """Two units of work got in each other's way, or the connection was lost before COMMIT: nothing was done."""


_CONNECTION_ERROR_CLASSES = (
    "08",  # connection_exception
    "28",  # invalid_authorization_specification: a password, a role or a rule that was changed
)
_CONFLICT_STATES = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
    }
)
_SHUTDOWN_STATES = frozenset(
    {
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
    }
)
_UNAVAILABLE_STATES = _SHUTDOWN_STATES | frozenset(
    {
        "55P03",  # lock_not_available: lock_timeout
        "57014",  # query_canceled: statement_timeout
        "25P03",  # idle_in_transaction_session_timeout
        "25006",  # read_only_sql_transaction: a primary that has become a standby
        "0A000",  # feature_not_supported: a table that is not in the log, at a standby
        "53300",  # too_many_connections
        "57P03",  # cannot_connect_now
        "3D000",  # invalid_catalog_name: there is no database of this name, or no longer
    }
)


def translate_error(error: BaseException | None) -> BaseException:
    """The fault that a driver's error stands for, or the error itself where it is our own mistake."""
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate in _CONFLICT_STATES:
        return Conflict()
    if sqlstate in _UNAVAILABLE_STATES or (
        isinstance(sqlstate, str) and sqlstate.startswith(_CONNECTION_ERROR_CLASSES)
    ):
        return Unavailable()
    if error is None or (sqlstate is None and not isinstance(error, (TypeError, ValueError))):
        return Unavailable()  # the driver could not reach the server at all, or lost it
    return error


def is_connection_lost(error: BaseException | None) -> bool:
    """Whether the connection ended in the middle, not whether the server was slow; what was not committed is undone."""
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate is None:  # the driver's own
        return not isinstance(error, (TypeError, ValueError, TimeoutError))
    return sqlstate in _SHUTDOWN_STATES or str(sqlstate).startswith("08")


def is_read_only(error: BaseException | None) -> bool:
    """Whether the other end takes no writes: a standby, or a primary that has become one."""
    return _get_sqlstate(error) == "25006"  # read_only_sql_transaction


def is_schema_outdated(error: BaseException | None) -> bool:
    """Whether there is no such table or column."""
    return _get_sqlstate(error) in ("42P01", "42703")


def is_permission_denied(error: BaseException | None) -> bool:
    """Whether the role may not do it."""
    return _get_sqlstate(error) == "42501"  # insufficient_privilege


def _get_sqlstate(error: BaseException | None) -> str | None:
    """Of what the driver raised, or of what it was told as."""
    if isinstance(error, Unavailable):
        error = error.__cause__
    return getattr(error, "sqlstate", None)


def retry_on_conflict(
    unit_of_work: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Tries a whole unit of work up to three times, as long as nothing of it was committed."""

    @wraps(unit_of_work)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        # a context, because a decorated function's arguments would be logged: passwords and tokens among them
        async for attempt in stamina.retry_context(
            on=Conflict, attempts=3, timeout=None, wait_initial=0.02, wait_max=0.2
        ):
            with attempt:
                return await unit_of_work(*args, **kwargs)
        raise AssertionError("unreachable")

    return wrapper
