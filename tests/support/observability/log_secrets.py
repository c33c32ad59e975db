"""Passwords and tokens that a test uses, and a look for them in what was logged meanwhile: a test that finds one fails."""

import contextlib
import json
import re
from collections.abc import Generator, Iterator
from typing import Any

import httpx2
import pytest

SECRET_NAME = re.compile("password|token|code(?!_challenge)|secret", re.IGNORECASE)
"""How what must not be told is named; a challenge is told to everybody."""
ERROR_CODE = re.compile("[A-Z_]+")
"""Codes of errors, which may be told."""
MIN_SECRET_LENGTH = 8
"""What is shorter turns up by chance."""

_known_secrets: set[str] = set()


def find_secrets(log: str) -> list[str]:
    """The secrets of this test that the log tells."""
    return sorted(secret for secret in _known_secrets if secret in log)


def register_secrets(payload: Any) -> None:
    """Whatever is named like a secret in it, at any depth, must not be logged."""
    _known_secrets.update(
        secret
        for secret in _extract_secrets(payload)
        if len(secret) >= MIN_SECRET_LENGTH and not ERROR_CODE.fullmatch(secret)
    )


def _extract_secrets(payload: Any, name: str = "") -> Iterator[str]:
    if isinstance(payload, dict):
        for key, value in payload.items():
            yield from _extract_secrets(value, key)
    elif isinstance(payload, list):
        for value in payload:
            yield from _extract_secrets(value, name)
    elif isinstance(payload, str) and SECRET_NAME.search(name):
        yield payload


# ── Over HTTP ─────────────────────────────────────────────────────────────────────────────


async def _on_request(request: httpx2.Request) -> None:
    cookies = request.headers.get("cookie", "").split("; ")
    register_secrets({"token": request.headers.get("authorization", "").partition(" ")[2]})
    register_secrets({"token": [cookie.partition("=")[2] for cookie in cookies]})
    register_secrets(dict(request.url.params))
    with contextlib.suppress(httpx2.RequestNotRead, ValueError, RecursionError):  # what only broken clients send
        register_secrets(json.loads(request.content))


async def _on_response(response: httpx2.Response) -> None:
    register_secrets({"token": list(response.cookies.values())})
    with contextlib.suppress(ValueError):
        register_secrets(json.loads(await response.aread()))


EVENT_HOOKS: Any = {"request": [_on_request], "response": [_on_response]}
"""For clients whose requests and answers hold secrets."""


# ── In pytest ─────────────────────────────────────────────────────────────────────────────


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    _known_secrets.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call" and (leaked := find_secrets(report.capstdout + report.capstderr + report.caplog)):
        report.outcome = "failed"
        report.longrepr = f"The log tells {', '.join(map(repr, leaked))}."
    return report
