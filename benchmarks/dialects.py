"""How a contender is asked, and how its answers are made comparable."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from benchmarks.stage import Stage
from benchmarks.workloads import Question, Workload

Asked = tuple[str, str, bytes | None]
"""Method, path and body."""


class Dialect(Protocol):
    def asked(self, workload: Workload, question: Question) -> Asked: ...

    def told(self, workload: Workload, body: bytes) -> Any:
        """The answer as GraphQL's `data`."""

    def success(self, workload: Workload) -> bytes: ...

    def requests(self, workload: Workload, stage: Stage, key: str, count: int) -> list[bytes]: ...


class Speech:
    """What all dialects have in common: HTTP/1.1, with a token where there is one."""

    def asked(self, workload: Workload, question: Question) -> Asked:
        raise NotImplementedError

    def requests(self, workload: Workload, stage: Stage, key: str, count: int) -> list[bytes]:
        """Whole HTTP requests: as many as are to be asked once, or some hundreds to be asked over and over."""
        questions = workload.questions(stage, key)
        wanted = count if workload.writes else 1_000
        return [
            http(*self.asked(workload, question), question.token, question.address)
            for question in itertools.islice(questions, wanted)
        ]


def http(method: str, path: str, body: bytes | None, token: str | None, address: str | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "accept: application/json"]
    if token:
        lines.append(f"authorization: Bearer {token}")
    if address:
        lines.append(f"x-forwarded-for: {address}")
    if body is not None:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


class GraphQL(Speech):
    def asked(self, workload: Workload, question: Question) -> Asked:
        document = question.document or workload.document
        return "POST", "/graphql", orjson.dumps({"query": document, "variables": question.variables})

    def told(self, _: Workload, body: bytes) -> Any:
        answer = orjson.loads(body)
        return answer["data"] if "errors" not in answer else answer

    def success(self, workload: Workload) -> bytes:
        return workload.success


@dataclass(frozen=True, slots=True)
class Route:
    """One workload as a REST endpoint."""

    asked: Callable[[Any], Asked]
    told: Callable[[Any], Any]


class Rest(Speech):
    """Endpoints that give the same data."""

    def __init__(self, routes: dict[str, Route]) -> None:
        self._routes = routes

    def asked(self, workload: Workload, question: Question) -> Asked:
        return self._routes[workload.name].asked(question.variables)

    def told(self, workload: Workload, body: bytes) -> Any:
        return self._routes[workload.name].told(orjson.loads(body))

    def success(self, _: Workload) -> bytes:
        return b""
