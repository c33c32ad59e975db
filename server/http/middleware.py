"""Add a request id and security headers to each response, log it, and mask internal errors."""

import secrets
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.observability.logs import LogRequest, current_request_id

RequestObserver = Callable[[Scope, int, float], None]
"""Called after each response with the scope, the status and the duration in seconds."""

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Defaults; a response can set its own, as GraphiQL does."""
HSTS = "max-age=31536000; includeSubDomains"


class RequestMiddleware:
    """Wraps the application. With `https` browsers are told to use TLS only; `observe` receives metrics."""

    def __init__(
        self, app: ASGIApp, *, https: bool, log_request: LogRequest, observe: RequestObserver | None = None
    ) -> None:
        self._app, self._log_request, self._observe = app, log_request, observe
        headers = SECURITY_HEADERS | ({"strict-transport-security": HSTS} if https else {})
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._header_names = frozenset(name for name, _ in self._headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        started_at, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status, headers = message["status"], message["headers"]
                names = self._header_names.intersection(dict(headers))
                missing = [header for header in self._headers if header[0] not in names]
                message["headers"] = [*headers, *missing, (b"x-request-id", request_id.encode())]
            await send(message)

        token = current_request_id.set(request_id)
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if not status:
                await (await internal_error(Request(scope), error))(scope, receive, send_with_headers)
            raise  # so that uvicorn logs the traceback
        finally:
            seconds, status = time.perf_counter() - started_at, status or 500
            self._log_request(
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=round(seconds * 1000, 1),
                **{name: state[name] for name in ("operation", "codes") if name in state},
            )
            if self._observe is not None:
                self._observe(scope, status, seconds)
            current_request_id.reset(token)


async def internal_error(request: Request, _: Exception) -> Response:
    """Return the masked response for an exception outside of any field; the traceback is in the log."""
    extensions = {"code": "INTERNAL_SERVER_ERROR", "requestId": request.state.request_id}
    error = {"message": "Internal error. If it persists, report the request ID.", "extensions": extensions}
    return JSONResponse({"errors": [error]}, 500, headers={"cache-control": "no-store"})
