"""Check that all targets return the same data, before one of them is timed."""

import asyncio
import datetime as dt
import difflib
import itertools
import re
from collections.abc import Sequence
from typing import Any

import orjson

from tools.bench.fixtures import Fixtures
from tools.bench.load_clients import Connection
from tools.bench.targets import RunningTarget
from tools.bench.workloads import Request, Workload

REQUESTS = 6
"""Requests of each workload that are compared."""
MAX_LINES = 60
OWN_VALUES = re.compile(rb'"(id|number)":"[^"]*"')
"""What differs in every order."""


class Mismatch(RuntimeError):
    """Two targets responded differently to the same request."""


def check_equivalence(targets: Sequence[RunningTarget], workload: Workload, fixtures: Fixtures) -> None:
    """Compare all targets with the first. Each starts from the same state.

    Raises:
        Mismatch: Two responses differ, or one is an error.
    """
    first, *others = targets
    expected = asyncio.run(_request_all(first, workload, fixtures))
    for target in others:
        actual = asyncio.run(_request_all(target, workload, fixtures))
        for (request, ours), (_, theirs) in zip(expected, actual, strict=True):
            parsed = first.protocol.parse(workload, ours), target.protocol.parse(workload, theirs)
            if normalize(parsed[0]) != normalize(parsed[1]):
                raise Mismatch(_describe(workload, request, first.name, target.name, *parsed))
            if target.exact and first.name == "ours" and _blank(workload, ours) != _blank(workload, theirs):
                raise Mismatch(f"{workload.name}: {target.name} returns other bytes:\n{ours!r}\n{theirs!r}")


async def _request_all(target: RunningTarget, workload: Workload, fixtures: Fixtures) -> list[tuple[Request, bytes]]:
    await asyncio.to_thread(workload.prepare, fixtures, REQUESTS)
    connection, responses = await Connection.connect(target.port), []
    for request in itertools.islice(workload.requests(fixtures, f"equivalence-{target.name}"), REQUESTS):
        body = await _request(connection, target, workload, request)
        responses.append((request, body))
        if cursor := _find_end_cursor(
            target.protocol.parse(workload, body)
        ):  # then the next page must be the same, too
            next_page = Request({**request.variables, "after": cursor}, request.token)
            responses.append((next_page, await _request(connection, target, workload, next_page)))
    connection.close()
    return responses


async def _request(connection: Connection, target: RunningTarget, workload: Workload, request: Request) -> bytes:
    status, body = await connection.request(target.protocol.encode(workload, request))
    if status // 10 != 20:
        raise Mismatch(f"{target.name} responds to {workload.name} with {status}: {body[:1000]!r}")
    return body


def _find_end_cursor(data: Any) -> str | None:
    page = data.get("books", {}).get("pageInfo", {}) if isinstance(data, dict) else {}
    cursor: str | None = page.get("endCursor")
    return cursor


def normalize(data: Any, name: str = "") -> Any:
    """Blank cursors and the numbers and ids of orders, and write times in one form."""
    if isinstance(data, dict):
        own = {"id", "number"} if "status" in data else {"endCursor"}
        return {key: bool(value) if key in own else normalize(value, key) for key, value in data.items()}
    if isinstance(data, list):
        return [normalize(item, name) for item in data]
    if name == "createdAt":
        return dt.datetime.fromisoformat(data).astimezone(dt.UTC).isoformat(timespec="milliseconds")
    return data


def _blank(workload: Workload, body: bytes) -> bytes:
    return OWN_VALUES.sub(rb'"\1"', body) if workload.name == "W5" else body


def _describe(workload: Workload, request: Request, first: str, second: str, ours: Any, theirs: Any) -> str:
    diff = difflib.unified_diff(_format(ours), _format(theirs), first, second, lineterm="", n=2)
    lines = "\n".join(itertools.islice(diff, MAX_LINES))
    return f"{workload.name}: {first} and {second} differ for {request.variables}:\n{lines}"


def _format(data: Any) -> list[str]:
    option = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
    return orjson.dumps(normalize(data), option=option).decode().splitlines()
