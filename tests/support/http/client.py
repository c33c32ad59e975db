"""A GraphQL client of the API over HTTP, like that of a frontend."""

import itertools
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address
from typing import Any

import httpx2
from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from graphql import DocumentNode, parse, print_ast
from starlette.types import ASGIApp

from tests.support.graphql.differential_transport import DifferentialTransport
from tests.support.observability.log_secrets import EVENT_HOOKS


@dataclass(frozen=True, slots=True)
class GraphQLResponse:
    """The data and the errors of a response."""

    data: dict[str, Any] | None
    errors: list[dict[str, Any]] = field(default_factory=list)

    @property
    def codes(self) -> list[str]:
        return [error["extensions"]["code"] for error in self.errors]

    def __getitem__(self, name: str) -> Any:
        """Return a root field of a response without errors."""
        assert not self.errors, self.errors
        assert self.data is not None
        return self.data[name]


WITHOUT_TLS: dict[str, Any] = {"verify": False}
"""Options of clients of plain HTTP: loading the certificates of authorities takes 80 ms for each client."""

_address_numbers = itertools.count()


@cache
def _parse(document: str) -> DocumentNode:
    return parse(document)


@cache
def _print(document: str) -> str:
    return print_ast(_parse(document))


class _CachedRequest(GraphQLRequest):
    """A request whose document is parsed and printed once, however often it is sent."""

    def __init__(self, document: str, variables: dict[str, Any]) -> None:
        super().__init__(_parse(document), variable_values=variables)
        self._text = _print(document)

    @property
    def payload(self) -> dict[str, Any]:
        return {"query": self._text, "variables": self.variable_values}


def _transport_from_own_address(app: ASGIApp) -> DifferentialTransport:
    """Return a transport with an address of its own, so that rate limits and throttles count a separate caller."""
    return DifferentialTransport(app, client=(str(IPv4Address("10.0.0.0") + next(_address_numbers)), 4711))


class ApiClient:
    """A client of an ASGI application, or of the server at a URL; anonymous without an access token."""

    def __init__(self, app: ASGIApp | str, token: str | None = None) -> None:
        self._app = app
        self._headers = {"Authorization": f"Bearer {token}"} if token is not None else {}

    def with_token(self, token: str) -> "ApiClient":
        """Return a client of the same server with this access token."""
        return ApiClient(self._app, token)

    async def execute(self, document: str, /, **variables: Any) -> GraphQLResponse:
        """Send the document's only operation with these variables."""
        async with Client(transport=self._transport(), execute_timeout=30) as session:
            request = _CachedRequest(document, variables)
            try:
                return GraphQLResponse(await session.execute(request))
            except TransportQueryError as error:
                return GraphQLResponse(error.data, error.errors or [])

    def _transport(self) -> HTTPXAsyncTransport:
        return HTTPXAsyncTransport(f"{self._base_url}/graphql", **self._http_options)

    def http(self) -> httpx2.AsyncClient:
        """Return a plain HTTP client, for requests that a GraphQL client never sends."""
        return httpx2.AsyncClient(base_url=self._base_url, **self._http_options)

    @property
    def _base_url(self) -> str:
        return self._app if isinstance(self._app, str) else "http://shop.test"

    @property
    def _http_options(self) -> dict[str, Any]:
        options = {"headers": self._headers, "timeout": 30, "event_hooks": EVENT_HOOKS}
        if isinstance(self._app, str):
            return options | WITHOUT_TLS
        return options | {"transport": _transport_from_own_address(self._app)}
