"""Translation of driver errors by SQLSTATE, and retries of whole units of work."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import stamina

P = ParamSpec("P")
T = TypeVar("T")


class Unavailable(Exception):
    """PostgreSQL is unreachable, overloaded or too slow. Nothing was done; try again in `retry_after` seconds."""

    retry_after = 2


class Conflict(Unavailable):
    """Two transactions conflicted, or the connection was lost before COMMIT. Nothing was done; it can be repeated."""


_CONNECTION_ERROR_CLASSES = (
    "08",  # connection_exception
    "28",  # invalid_authorization_specification: a changed password, role or rule
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
        "25006",  # read_only_sql_transaction: the primary was demoted
        "0A000",  # feature_not_supported: an unlogged table on a replica
        "53300",  # too_many_connections
        "57P03",  # cannot_connect_now
        "3D000",  # invalid_catalog_name: the database does not exist (any more)
    }
)


def translate_error(error: BaseException | None) -> BaseException:
    """Return `Conflict` or `Unavailable` for a driver error, or the error itself where it is a programming error."""
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate in _CONFLICT_STATES:
        return Conflict()
    if sqlstate in _UNAVAILABLE_STATES or (
        isinstance(sqlstate, str) and sqlstate.startswith(_CONNECTION_ERROR_CLASSES)
    ):
        return Unavailable()
    if error is None or (sqlstate is None and not isinstance(error, (TypeError, ValueError))):
        return Unavailable()  # the driver could not reach the server, or lost it
    return error


def is_connection_lost(error: BaseException | None) -> bool:
    """Whether the connection was lost (a timeout does not count); uncommitted changes are then undone."""
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate is None:  # raised by the driver itself
        return not isinstance(error, (TypeError, ValueError, TimeoutError))
    return sqlstate in _SHUTDOWN_STATES or str(sqlstate).startswith("08")


def is_read_only(error: BaseException | None) -> bool:
    """Whether the server rejected a write: a replica, or a demoted primary."""
    return _get_sqlstate(error) == "25006"  # read_only_sql_transaction


def is_schema_outdated(error: BaseException | None) -> bool:
    """Whether a table or column does not exist."""
    return _get_sqlstate(error) in ("42P01", "42703")


def is_permission_denied(error: BaseException | None) -> bool:
    """Whether the role lacks a privilege."""
    return _get_sqlstate(error) == "42501"  # insufficient_privilege


def _get_sqlstate(error: BaseException | None) -> str | None:
    """Return the SQLSTATE of a driver error, also of one translated to `Unavailable`."""
    if isinstance(error, Unavailable):
        error = error.__cause__
    return getattr(error, "sqlstate", None)


def retry_on_conflict(
    unit_of_work: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorate a unit of work so that it is run up to three times while it ends in `Conflict`."""

    @wraps(unit_of_work)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        # as a context: stamina's decorator would log the arguments, passwords among them
        async for attempt in stamina.retry_context(
            on=Conflict, attempts=3, timeout=None, wait_initial=0.02, wait_max=0.2
        ):
            with attempt:
                return await unit_of_work(*args, **kwargs)
        raise AssertionError("unreachable")

    return wrapper
