"""Declares request errors, and formats every top-level error with a code that programs can branch on."""

from typing import Any

import structlog
from graphql import GraphQLError, GraphQLSyntaxError

from domain.errors import Overloaded, RateLimited
from persistence.postgres.errors import Unavailable

log = structlog.get_logger()


class RowVanished(Unavailable):
    """A row that another one refers to was deleted in between. A second try finds neither."""

    retry_after = 1  # seconds


class RequestError(Exception):
    """The request must change before it can succeed. Each subclass has a code of `ErrorCode`."""

    code: str

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadUserInput(RequestError):
    """An argument is malformed or out of range."""

    code = "BAD_USER_INPUT"


class Unauthenticated(RequestError):
    """The request carries no valid access token."""

    code = "UNAUTHENTICATED"

    def __init__(self, message: str = "Sign in first, and send the access token as `Authorization: Bearer …`.") -> None:
        super().__init__(message)


class TokenExpired(RequestError):
    """The access token has expired."""

    code = "AUTH_TOKEN_EXPIRED"

    def __init__(self) -> None:
        super().__init__("The access token has expired. Refresh the session and try again.")


class Deactivated(RequestError):
    """The access token belongs to an account that has been deactivated."""

    code = "AUTH_ACCOUNT_DEACTIVATED"

    def __init__(self) -> None:
        super().__init__("This account has been deactivated.")


class Forbidden(RequestError):
    """The caller is signed in but lacks the permission."""

    code = "FORBIDDEN"

    def __init__(self, message: str = "Only administrators may do this.") -> None:
        super().__init__(message)


def format_error(error: GraphQLError, request_id: str) -> dict[str, Any]:
    """Format an error for the response.

    Request errors show their message and code. Internal errors are logged, and show the request ID only.
    """
    formatted_error: dict[str, Any] = {"message": error.message}
    if error.locations:
        formatted_error["locations"] = [location.formatted for location in error.locations]
    if error.path is not None:
        formatted_error["path"] = error.path
    cause = _find_original_error(error)
    if isinstance(cause, RequestError):
        formatted_error |= {"message": cause.message, "extensions": {"code": cause.code}}
    elif isinstance(cause, RateLimited):
        message = f"Too many attempts. Try again in {cause.retry_after} seconds."
        formatted_error |= {"message": message, "extensions": {"code": "RATE_LIMITED", "retryAfter": cause.retry_after}}
    elif isinstance(cause, (Overloaded, Unavailable)):
        message = "The service is unavailable. Try again in a moment."
        formatted_error |= {
            "message": message,
            "extensions": {"code": "SERVICE_UNAVAILABLE", "retryAfter": cause.retry_after},
        }
        log.warning("service_unavailable", path=error.path, cause=repr(cause.__cause__ or cause))
    elif cause is None and error.extensions and "code" in error.extensions:
        formatted_error["extensions"] = {"code": error.extensions["code"]}
    elif isinstance(error, GraphQLSyntaxError):
        formatted_error["extensions"] = {"code": "GRAPHQL_PARSE_FAILED"}
    elif cause is None:  # graphql-core raises it for a variable or an argument
        formatted_error["extensions"] = {"code": "BAD_USER_INPUT"}
    else:
        log.error("internal_error", path=error.path, exc_info=cause)
        formatted_error |= {
            "message": "Internal error. If it persists, report the request ID.",
            "extensions": {"code": "INTERNAL_SERVER_ERROR", "requestId": request_id},
        }
    return formatted_error


def _find_original_error(error: GraphQLError) -> BaseException | None:
    cause: BaseException | None = error.original_error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause
