"""Passwords and tokens that a test uses, and a look for them in what was logged meanwhile: a test that finds one fails."""

import contextlib
import json
import re
from collections.abc import Generator, Iterator
from typing import Any

import httpx2
import pytest

SECRET = re.compile("password|token|code(?!_challenge)|secret", re.IGNORECASE)
"""How what must not be told is named; a challenge is told to everybody."""
CONSTANT = re.compile("[A-Z_]+")
"""Codes of errors, which may be told."""
SHORTEST = 8
"""What is shorter turns up by chance."""

_used: set[str] = set()


def found_in(log: str) -> list[str]:
    """The secrets of this test that the log tells."""
    return sorted(secret for secret in _used if secret in log)


def keep(told: Any) -> None:
    """Whatever is named like a secret in it, at any depth, must not be logged."""
    _used.update(secret for secret in _secrets(told) if len(secret) >= SHORTEST and not CONSTANT.fullmatch(secret))


def _secrets(told: Any, name: str = "") -> Iterator[str]:
    if isinstance(told, dict):
        for key, value in told.items():
            yield from _secrets(value, key)
    elif isinstance(told, list):
        for value in told:
            yield from _secrets(value, name)
    elif isinstance(told, str) and SECRET.search(name):
        yield told


# ── Over HTTP ─────────────────────────────────────────────────────────────────────────────


async def _sent(request: httpx2.Request) -> None:
    cookies = request.headers.get("cookie", "").split("; ")
    keep({"token": request.headers.get("authorization", "").partition(" ")[2]})
    keep({"token": [cookie.partition("=")[2] for cookie in cookies]})
    keep(dict(request.url.params))
    with contextlib.suppress(httpx2.RequestNotRead, ValueError, RecursionError):  # what only broken clients send
        keep(json.loads(request.content))


async def _received(response: httpx2.Response) -> None:
    keep({"token": list(response.cookies.values())})
    with contextlib.suppress(ValueError):
        keep(json.loads(await response.aread()))


HOOKS: Any = {"request": [_sent], "response": [_received]}
"""For clients whose requests and answers hold secrets."""


# ── In pytest ─────────────────────────────────────────────────────────────────────────────


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    _used.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call" and (told := found_in(report.capstdout + report.capstderr + report.caplog)):
        report.outcome = "failed"
        report.longrepr = f"The log tells {', '.join(map(repr, told))}."
    return report
