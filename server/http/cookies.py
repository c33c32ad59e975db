"""Read and set the cookie of the refresh token, which scripts and other sites cannot read."""

import datetime as dt

from starlette.requests import Request
from starlette.responses import Response

from graph.context import RefreshCookie

COOKIE_NAME = "refresh_token"


def read_refresh_cookie(request: Request) -> RefreshCookie:
    """Return the cookie of a request, with the token or without."""
    return RefreshCookie(request.cookies.get(COOKIE_NAME))


def set_refresh_cookie(response: Response, cookie: RefreshCookie, path: str) -> None:
    """Set a new token, or delete the cookie if the session ended. It is `Secure` even on localhost, which browsers trust."""
    if cookie.response_tokens is not None:
        max_age = int((cookie.response_tokens.refresh_expires_at - dt.datetime.now(dt.UTC)).total_seconds())
        response.set_cookie(
            COOKIE_NAME,
            cookie.response_tokens.refresh,
            max_age,
            path=path,
            secure=True,
            httponly=True,
            samesite="strict",
        )
    elif cookie.is_changed:
        response.delete_cookie(COOKIE_NAME, path, secure=True, httponly=True, samesite="strict")
