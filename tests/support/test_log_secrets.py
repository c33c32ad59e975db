"""A secret in the log fails the test that used it, or the test whose server logged it."""

import asyncio
import sys
from pathlib import Path

import pytest
from structlog import get_logger
from structlog.testing import capture_logs

from domain.shop import Shop
from server.http import endpoint
from server.settings import Settings
from tests.support.auth.sessions import ME_QUERY, REFRESH, log_in, try_login
from tests.support.http.client import ApiClient
from tests.support.observability.log_secrets import (
    find_secrets,
    pytest_runtest_makereport,
    pytest_runtest_setup,
    register_secrets,
)
from tests.support.processes.servers import start_server
from tests.support.shop.factories import PASSWORD, add_user

EMAIL = "anna@example.com"

LEAKING_TESTS = """
import logging, sys
from tests.support.observability.log_secrets import register_secrets

def test_printed_secret():
    register_secrets({"input": {"password": "quite-a-secret"}})
    print("requested with quite-a-secret")

def test_secret_on_stderr():
    register_secrets({"input": {"password": "quite-a-secret"}})
    sys.stderr.write("requested with quite-a-secret")

def test_logged_secret():
    register_secrets({"input": {"password": "quite-a-secret"}})
    logging.getLogger("example").warning("requested with quite-a-secret")

def test_secret_of_another_test():
    print("requested with quite-a-secret")

def test_without_secret():
    register_secrets({"input": {"password": "quite-a-secret"}})
    print("requested with ****")
"""


async def test_secrets_sent_over_http_are_registered(client: ApiClient, shop: Shop) -> None:
    await add_user(shop, EMAIL)
    tokens = await log_in(client, EMAIL)
    await try_login(client, EMAIL, "not the password")
    await client.with_token("forged-token").execute(ME_QUERY)
    async with client.http() as http:
        cookie = {"cookie": "refresh=from-a-cookie; other=x"}
        await http.post("/graphql", json={"query": REFRESH, "variables": {"token": "in-a-variable"}}, headers=cookie)
        await http.get("/graphql", params={"query": "{ __typename }", "code": "in-an-address"})
    secrets = [PASSWORD, tokens.access_token, tokens.refresh_token, "not the password", "forged-token"]
    secrets += ["from-a-cookie", "in-a-variable", "in-an-address"]
    assert find_secrets("\n".join(secrets)) == sorted(secrets)


@pytest.mark.parametrize(
    "values",
    [
        {"code": "AUTH_INVALID_CREDENTIALS"},
        {"password": "1234567"},
        {"email": EMAIL, "title": "The Secret Agent"},
        {"token": None, "password": 12345678},
    ],
)
def test_non_secrets_are_not_registered(values: dict[str, object]) -> None:
    register_secrets({"data": [values]})
    assert find_secrets(f"{EMAIL} AUTH_INVALID_CREDENTIALS 12345678 The Secret Agent None") == []


async def test_app_that_logs_tokens_is_detected(client: ApiClient, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    token, parse_bearer_token = (await add_user(shop)).token, endpoint._parse_bearer_token

    def log_header(header: bytes | None) -> str | None:
        get_logger().info("authorizing", authorization=header)
        return parse_bearer_token(header)

    with capture_logs() as log:
        assert not (await client.with_token(token).execute(ME_QUERY)).errors
    assert (log[-1]["event"], find_secrets(str(log))) == ("request", [])
    monkeypatch.setattr(endpoint, "_parse_bearer_token", log_header)
    with capture_logs() as log:
        assert not (await client.with_token(token).execute(ME_QUERY)).errors
    assert find_secrets(str(log)) == [token]


async def test_server_process_that_logs_a_password_is_detected(settings: Settings, shop: Shop, tmp_path: Path) -> None:
    async def serve_and_log() -> None:
        async with start_server(settings, tmp_path) as server:
            await try_login(server.client, EMAIL, "quite-a-secret")
            with server.log.open("a") as log:
                log.write("requested with quite-a-secret\n")

    with pytest.raises(AssertionError, match="the log contains secrets"):
        await serve_and_log()


def test_every_test_is_checked(request: pytest.FixtureRequest) -> None:
    """conftest.py must register the hooks."""
    plugins = request.config.pluginmanager.get_plugins()
    assert any(getattr(plugin, "pytest_runtest_makereport", None) is pytest_runtest_makereport for plugin in plugins)
    assert any(getattr(plugin, "pytest_runtest_setup", None) is pytest_runtest_setup for plugin in plugins)


async def test_leaking_test_fails(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "test_leaks.py").write_text(LEAKING_TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "tests.support.observability.log_secrets",
            "-p",
            "no:cacheprovider",
            str(tmp_path),
        ),
        cwd=repository,
        stdout=asyncio.subprocess.PIPE,
    )
    stdout, _ = await process.communicate()
    output = stdout.decode()
    assert "3 failed, 2 passed" in output, output
    assert "The log contains 'quite-a-secret'." in output
