"""The refresh token's cookie: out of the reach of scripts and other sites, sent to the endpoint alone."""

import datetime as dt

from starlette.requests import Request
from starlette.responses import Response

from graph.context import RefreshCookie

NAME = "refresh_token"


def received(request: Request) -> RefreshCookie:
    return RefreshCookie(request.cookies.get(NAME))


def put(response: Response, cookie: RefreshCookie, path: str) -> None:
    """Secure even on localhost, which browsers trust."""
    if cookie.kept is not None:
        seconds = int((cookie.kept.refresh_expires_at - dt.datetime.now(dt.UTC)).total_seconds())
        response.set_cookie(
            NAME, cookie.kept.refresh, seconds, path=path, secure=True, httponly=True, samesite="strict"
        )
    elif cookie.changed:
        response.delete_cookie(NAME, path, secure=True, httponly=True, samesite="strict")
