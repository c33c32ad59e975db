"""Headers that every answer has, whatever it is and wherever it comes from."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Where an answer has its own, as the playground has, that one stays."""
ONE_YEAR = "max-age=31536000; includeSubDomains"


class SecurityHeaders:
    """`https` says that browsers reach us by TLS alone."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        headers = EVERYWHERE | ({"strict-transport-security": ONE_YEAR} if https else {})
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._names = frozenset(name for name, _ in self._headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message["headers"]
                names = self._names.intersection(dict(own))
                message["headers"] = own + [header for header in self._headers if header[0] not in names]
            await send(message)

        await self._app(scope, receive, with_headers)
