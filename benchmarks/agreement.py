"""Everybody must answer the same before anybody is timed."""

import datetime as dt
import difflib
import itertools
import re
import socket
from collections.abc import Sequence
from typing import Any

import orjson

from benchmarks.contenders import Running
from benchmarks.dialects import http
from benchmarks.stage import Stage
from benchmarks.workloads import Question, Workload

TRIES = 6
"""Questions of each workload that are compared."""
OWN = re.compile(rb'"(id|number)":"[^"]*"')
"""What every order has of its own."""


class Disagreement(Exception):
    """Two contenders answered the same question differently."""


def agree(contenders: Sequence[Running], workload: Workload, stage: Stage) -> None:
    """Raises `Disagreement`. Writes are asked one at a time, each from the same state."""
    first, *others = contenders
    expected = _answers(first, workload, stage)
    for contender in others:
        for (question, ours), (_, theirs) in zip(expected, _answers(contender, workload, stage), strict=True):
            told = [one.dialect.told(workload, body) for one, body in ((first, ours), (contender, theirs))]
            if comparable(told[0]) != comparable(told[1]):
                raise Disagreement(_difference(workload, question, first.name, contender.name, *told))
            if contender.exact and first.name == "ours" and _bytes(workload, ours) != _bytes(workload, theirs):
                raise Disagreement(f"{workload.name}: {contender.name} answers other bytes:\n{ours!r}\n{theirs!r}")


def _answers(contender: Running, workload: Workload, stage: Stage) -> list[tuple[Question, bytes]]:
    workload.prepare(stage, TRIES)
    questions = itertools.islice(workload.questions(stage, f"agree-{contender.name}"), TRIES)
    answers = []
    for question in questions:
        answer = _ask(contender, workload, question)
        answers.append((question, answer))
        cursor = _end_cursor(contender.dialect.told(workload, answer))
        if cursor:  # the page after it must be the same, too, and not only the cursor's shape
            next_page = Question({**question.variables, "after": cursor}, question.token)
            answers.append((next_page, _ask(contender, workload, next_page)))
    return answers


def _end_cursor(told: Any) -> str | None:
    page = told.get("books", {}).get("pageInfo", {}) if isinstance(told, dict) else {}
    cursor: str | None = page.get("endCursor")
    return cursor


def _ask(contender: Running, workload: Workload, question: Question) -> bytes:
    method, path, body = contender.dialect.asked(workload, question)
    with socket.create_connection(("127.0.0.1", contender.port), timeout=30) as connection:
        request = http(method, path, body, question.token)
        connection.sendall(request.replace(b"\r\nhost:", b"\r\nconnection: close\r\nhost:", 1))
        heard = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, answer = heard.partition(b"\r\n\r\n")
    if head[9:11] != b"20":
        raise Disagreement(f"{contender.name} answers {workload.name} with {heard[:1000]!r}")
    return answer


def comparable(told: Any, name: str = "") -> Any:
    """Cursors, order numbers and orders' ids are everybody's own; instants may be written in several ways."""
    if isinstance(told, dict):
        own = {"id", "number"} if "status" in told else {"endCursor"}
        return {key: bool(value) if key in own else comparable(value, key) for key, value in told.items()}
    if isinstance(told, list):
        return [comparable(item, name) for item in told]
    if name == "createdAt":
        return dt.datetime.fromisoformat(told).astimezone(dt.UTC).isoformat(timespec="milliseconds")
    return told


def _bytes(workload: Workload, answer: bytes) -> bytes:
    return OWN.sub(rb'"\1"', answer) if workload.name == "W5" else answer


def _difference(workload: Workload, question: Question, first: str, second: str, ours: Any, theirs: Any) -> str:
    difference = difflib.unified_diff(_lines(ours), _lines(theirs), first, second, lineterm="", n=2)
    shown = "\n".join(itertools.islice(difference, 60))
    return f"{workload.name}: {first} and {second} differ for {question.variables}:\n{shown}"


def _lines(told: Any) -> list[str]:
    option = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
    return orjson.dumps(comparable(told), option=option).decode().splitlines()
