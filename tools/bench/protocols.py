"""How a workload becomes HTTP requests to a target, and how its responses become comparable."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from tools.bench.fixtures import Fixtures
from tools.bench.load_clients import bearer, encode_request
from tools.bench.workloads import Request, Workload

HttpRequest = tuple[str, str, bytes | None]
"""Method, path and body."""
REPEATED_REQUESTS = 1_000
"""So many requests of a read-only workload are prepared, and sent again and again."""


class GraphQL:
    """GraphQL over HTTP, which most targets speak."""

    def to_http(self, workload: Workload, request: Request) -> HttpRequest:
        """Return a request of the workload as the target wants it."""
        document = request.document or workload.document
        return "POST", "/graphql", orjson.dumps({"query": document, "variables": request.variables})

    def parse(self, _: Workload, body: bytes) -> Any:
        """Return a response as GraphQL's `data`; the whole response if it has errors."""
        response = orjson.loads(body)
        return response["data"] if "errors" not in response else response

    def success_marker(self, workload: Workload) -> bytes:
        """Return bytes that every good response contains."""
        return workload.success_marker

    def encode(self, workload: Workload, request: Request) -> bytes:
        """Return a request as bytes."""
        headers = {"accept": "application/json", **bearer(request.token)}
        if request.address:
            headers["x-forwarded-for"] = request.address
        return encode_request(*self.to_http(workload, request), headers)

    def encode_requests(self, workload: Workload, fixtures: Fixtures, key: str, count: int) -> list[bytes]:
        """Return the requests of one measurement: `count` of a workload that writes, or some to repeat."""
        requests = workload.requests(fixtures, key)
        number = count if workload.writes else REPEATED_REQUESTS
        return [self.encode(workload, request) for request in itertools.islice(requests, number)]


@dataclass(frozen=True, slots=True)
class Route:
    """One workload as a REST endpoint."""

    to_http: Callable[[Any], HttpRequest]
    parse: Callable[[Any], Any]


class Rest(GraphQL):
    """Endpoints that return the same data, one for each workload."""

    def __init__(self, routes: dict[str, Route]) -> None:
        self._routes = routes

    def to_http(self, workload: Workload, request: Request) -> HttpRequest:
        return self._routes[workload.name].to_http(request.variables)

    def parse(self, workload: Workload, body: bytes) -> Any:
        return self._routes[workload.name].parse(orjson.loads(body))

    def success_marker(self, _: Workload) -> bytes:
        return b""  # the status says it
