"""Fails a test whose output contains a password or token that the test has used."""

import contextlib
import json
import re
from collections.abc import Generator, Iterator
from typing import Any

import httpx2
import pytest

SECRET_NAME = re.compile("password|token|code(?!_challenge)|secret", re.IGNORECASE)
"""Names of secret values; a code challenge is public."""
ERROR_CODE = re.compile("[A-Z_]+")
"""Codes of errors are public."""
MIN_SECRET_LENGTH = 8
"""Characters; shorter values occur by chance."""

_known_secrets: set[str] = set()


def find_secrets(log: str) -> list[str]:
    """Return the secrets of the running test that the log contains."""
    return sorted(secret for secret in _known_secrets if secret in log)


def register_secrets(payload: Any) -> None:
    """Register the strings of the payload, at any depth, whose names are those of secrets."""
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
    with contextlib.suppress(httpx2.RequestNotRead, ValueError, RecursionError):  # bodies that are not JSON
        register_secrets(json.loads(request.content))


async def _on_response(response: httpx2.Response) -> None:
    register_secrets({"token": list(response.cookies.values())})
    with contextlib.suppress(ValueError):
        register_secrets(json.loads(await response.aread()))


EVENT_HOOKS: Any = {"request": [_on_request], "response": [_on_response]}
"""Hooks of HTTP clients that register the secrets in requests and responses."""


# ── In pytest ─────────────────────────────────────────────────────────────────────────────


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    _known_secrets.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call" and (leaked_secrets := find_secrets(report.capstdout + report.capstderr + report.caplog)):
        report.outcome = "failed"
        report.longrepr = f"The log contains {', '.join(map(repr, leaked_secrets))}."
    return report
