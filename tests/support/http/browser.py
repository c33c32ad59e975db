"""A browser, which keeps cookies and follows redirects between hosts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.support.graphql.differential_transport import DifferentialTransport
from tests.support.http.client import WITHOUT_TLS
from tests.support.observability.log_secrets import EVENT_HOOKS

SHOP_URL = "https://shop.test"
FRONTEND_URL = "https://front.test/welcome?theme=dark"


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser on the frontend's page."""

    http: httpx2.AsyncClient

    async def execute(self, document: str, /, **variables: Any) -> dict[str, Any]:
        """Return the data of a response without errors."""
        return (await self.execute_with_response(document, **variables))[0]

    async def execute_with_response(self, document: str, /, **variables: Any) -> tuple[dict[str, Any], httpx2.Response]:
        """Return the data of a response without errors, and the HTTP response."""
        response = await self.http.post("/graphql", json={"query": document, "variables": variables})
        body = response.json()
        assert "errors" not in body, body
        data: dict[str, Any] = body["data"]
        return data, response


async def _frontend_page(_: Request) -> Response:
    return PlainTextResponse("the frontend")


@asynccontextmanager
async def open_browser(app: Starlette) -> AsyncIterator[Browser]:
    """Open a browser for which SHOP_URL is the application and the frontend exists; other hosts are on the network."""
    frontend = Starlette(routes=[Route("/{path:path}", _frontend_page)])
    hosts = {SHOP_URL: DifferentialTransport(app), "https://front.test": httpx2.ASGITransport(frontend)}
    async with httpx2.AsyncClient(
        base_url=SHOP_URL, mounts=hosts, follow_redirects=True, timeout=30, event_hooks=EVENT_HOOKS, **WITHOUT_TLS
    ) as http:
        yield Browser(http)
