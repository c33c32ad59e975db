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

from tests.support.graphql.differential_transport import DifferentialTransport
from tests.support.observability.log_secrets import EVENT_HOOKS


@dataclass(frozen=True, slots=True)
class GraphQLResponse:
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


_address_numbers = itertools.count()


def _transport_from_own_address(app: ASGIApp) -> DifferentialTransport:
    """From an address of its own, so that what tests do by the hundred is not slowed as one caller's would be."""
    return DifferentialTransport(app, client=(str(IPv4Address("10.0.0.0") + next(_address_numbers)), 4711))


class ApiClient:
    """Asks without an account, or with an access token. `app` is an ASGI application or the URL of a running server."""

    def __init__(self, app: ASGIApp | str, token: str | None = None) -> None:
        self._app = app
        self._headers = {"Authorization": f"Bearer {token}"} if token is not None else {}

    def with_token(self, token: str) -> "ApiClient":
        return ApiClient(self._app, token)

    async def execute(self, document: str, /, **variables: Any) -> GraphQLResponse:
        async with Client(transport=self._transport(), execute_timeout=30) as session:
            request: GraphQLRequest = gql(document)
            request.variable_values = variables
            try:
                return GraphQLResponse(await session.execute(request))
            except TransportQueryError as error:
                return GraphQLResponse(error.data, error.errors or [])

    def _transport(self) -> HTTPXAsyncTransport:
        return HTTPXAsyncTransport(f"{self._base_url}/graphql", **self._http_options)

    def http(self) -> httpx2.AsyncClient:
        """For what GraphQL clients never send."""
        return httpx2.AsyncClient(base_url=self._base_url, **self._http_options)

    @property
    def _base_url(self) -> str:
        return self._app if isinstance(self._app, str) else "http://shop.test"

    @property
    def _http_options(self) -> dict[str, Any]:
        transport = None if isinstance(self._app, str) else _transport_from_own_address(self._app)
        return {"headers": self._headers, "transport": transport, "timeout": 30, "event_hooks": EVENT_HOOKS}
