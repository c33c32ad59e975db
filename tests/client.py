"""Clients of the API as a frontend would write them: GraphQL over HTTP, with `gql`."""

import itertools
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

import httpx2
from gql import Client, GraphQLRequest, gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from starlette.types import ASGIApp

from tests.secrecy import HOOKS
from tests.twice import Twice


@dataclass(frozen=True, slots=True)
class Reply:
    data: dict[str, Any] | None
    errors: list[dict[str, Any]] = field(default_factory=list)

    @property
    def codes(self) -> list[str]:
        return [error["extensions"]["code"] for error in self.errors]

    def __getitem__(self, name: str) -> Any:
        """A field of an answer that must have no errors."""
        assert not self.errors, self.errors
        assert self.data is not None
        return self.data[name]


_addresses = itertools.count()


def _from_anywhere(app: ASGIApp) -> Twice:
    """From an address of its own, so that what tests do by the hundred is not slowed as one caller's would be."""
    return Twice(app, client=(str(IPv4Address("10.0.0.0") + next(_addresses)), 4711))


class Visitor:
    """Asks without an account, or with an access token. `app` is an ASGI application or the URL of a running server."""

    def __init__(self, app: ASGIApp | str, token: str | None = None) -> None:
        self._app = app
        self._headers = {"Authorization": f"Bearer {token}"} if token is not None else {}

    def signed_in(self, token: str) -> "Visitor":
        return Visitor(self._app, token)

    async def ask(self, document: str, /, **variables: Any) -> Reply:
        async with Client(transport=self._transport(), execute_timeout=30) as session:
            request: GraphQLRequest = gql(document)
            request.variable_values = variables
            try:
                return Reply(await session.execute(request))
            except TransportQueryError as error:
                return Reply(error.data, error.errors or [])

    def _transport(self) -> HTTPXAsyncTransport:
        return HTTPXAsyncTransport(f"{self._address}/graphql", **self._details)

    def http(self) -> httpx2.AsyncClient:
        """For what GraphQL clients never send."""
        return httpx2.AsyncClient(base_url=self._address, **self._details)

    @property
    def _address(self) -> str:
        return self._app if isinstance(self._app, str) else "http://shop.test"

    @property
    def _details(self) -> dict[str, Any]:
        transport = None if isinstance(self._app, str) else _from_anywhere(self._app)
        return {"headers": self._headers, "transport": transport, "timeout": 30, "event_hooks": HOOKS}
