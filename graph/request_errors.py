"""Wrong calls and faults: what ends as a top-level error, with a code that programs can branch on."""

from typing import Any

import structlog
from graphql import GraphQLError, GraphQLSyntaxError

from domain.errors import Overloaded, RateLimited
from persistence.postgres.errors import Unavailable

log = structlog.get_logger()


class RowVanished(Unavailable):
    """What a row names was deleted after the row was read; whoever asks again sees neither."""

    retry_after = 1


class RequestError(Exception):
    """The caller has to ask differently. Each subclass has a code of `ErrorCode`."""

    code: str

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadUserInput(RequestError):
    code = "BAD_USER_INPUT"


class Unauthenticated(RequestError):
    code = "UNAUTHENTICATED"

    def __init__(self, message: str = "Sign in first, and send the access token as `Authorization: Bearer …`.") -> None:
        super().__init__(message)


class TokenExpired(RequestError):
    code = "AUTH_TOKEN_EXPIRED"

    def __init__(self) -> None:
        super().__init__("The access token is past its time. Refresh the session and try again.")


class Deactivated(RequestError):
    code = "AUTH_ACCOUNT_DEACTIVATED"

    def __init__(self) -> None:
        super().__init__("This account has been deactivated.")


class Forbidden(RequestError):
    code = "FORBIDDEN"

    def __init__(self, message: str = "Only administrators may do this.") -> None:
        super().__init__(message)


def format_error(error: GraphQLError, request_id: str) -> dict[str, Any]:
    """The error as clients see it. What is not their doing is logged and hidden behind the request's id."""
    formatted_error: dict[str, Any] = {"message": error.message}
    if error.locations:
        formatted_error["locations"] = [location.formatted for location in error.locations]
    if error.path is not None:
        formatted_error["path"] = error.path
    cause = _find_original_error(error)
    if isinstance(cause, RequestError):
        formatted_error |= {"message": cause.message, "extensions": {"code": cause.code}}
    elif isinstance(cause, RateLimited):
        message = f"This was tried too often. Try again in {cause.retry_after} seconds."
        formatted_error |= {"message": message, "extensions": {"code": "RATE_LIMITED", "retryAfter": cause.retry_after}}
    elif isinstance(cause, (Overloaded, Unavailable)):
        message = "The shop cannot answer just now. Try again in a moment."
        formatted_error |= {
            "message": message,
            "extensions": {"code": "SERVICE_UNAVAILABLE", "retryAfter": cause.retry_after},
        }
        log.warning("unavailable", path=error.path, cause=repr(cause.__cause__ or cause))
    elif cause is None and error.extensions and "code" in error.extensions:
        formatted_error["extensions"] = {"code": error.extensions["code"]}
    elif isinstance(error, GraphQLSyntaxError):
        formatted_error["extensions"] = {"code": "GRAPHQL_PARSE_FAILED"}
    elif cause is None:  # raised by graphql-core itself, over a variable or an argument
        formatted_error["extensions"] = {"code": "BAD_USER_INPUT"}
    else:
        log.error("fault", path=error.path, exc_info=cause)
        message = "Something went wrong on our side. Tell us the request's id if it goes on."
        formatted_error |= {
            "message": message,
            "extensions": {"code": "INTERNAL_SERVER_ERROR", "requestId": request_id},
        }
    return formatted_error


def _find_original_error(error: GraphQLError) -> BaseException | None:
    cause: BaseException | None = error.original_error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause
