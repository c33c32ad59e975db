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


def _from_anywhere(app: ASGIApp) -> httpx2.ASGITransport:
    """From an address of its own, so that what tests do by the hundred is not slowed as one caller's would be."""
    return httpx2.ASGITransport(app, client=(str(IPv4Address("10.0.0.0") + next(_addresses)), 4711))


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
        if isinstance(self._app, str):
            return HTTPXAsyncTransport(f"{self._app}/graphql", headers=self._headers, timeout=30)
        return HTTPXAsyncTransport(
            "http://shop.test/graphql", headers=self._headers, transport=_from_anywhere(self._app), timeout=30
        )

    def http(self) -> httpx2.AsyncClient:
        """For what GraphQL clients never send."""
        if isinstance(self._app, str):
            return httpx2.AsyncClient(base_url=self._app, headers=self._headers, timeout=30)
        return httpx2.AsyncClient(
            base_url="http://shop.test", headers=self._headers, transport=_from_anywhere(self._app), timeout=30
        )
