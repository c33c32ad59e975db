"""A log that tells a secret is noticed: by the test that used it, or by the one that served it."""

import asyncio
import sys
from pathlib import Path

import pytest
from structlog import get_logger
from structlog.testing import capture_logs

from domain.shop import Shop
from server import http
from server.settings import Settings
from tests.client import Visitor
from tests.factories import PASSWORD, add_member
from tests.processes import serving
from tests.secrecy import found_in, keep
from tests.sessions import ME, REFRESH, log_in, try_to_log_in

EMAIL = "anna@example.com"

TELLING = """
import logging, sys
from tests.secrecy import keep

def test_which_prints():
    keep({"input": {"password": "quite-a-secret"}})
    print("asked with quite-a-secret")

def test_which_writes():
    keep({"input": {"password": "quite-a-secret"}})
    sys.stderr.write("asked with quite-a-secret")

def test_which_logs():
    keep({"input": {"password": "quite-a-secret"}})
    logging.getLogger("anybody").warning("asked with quite-a-secret")

def test_which_tells_what_another_has_used():
    print("asked with quite-a-secret")

def test_which_tells_nothing():
    keep({"input": {"password": "quite-a-secret"}})
    print("asked with ****")
"""


async def test_what_goes_over_the_wire_is_kept(visitor: Visitor, shop: Shop) -> None:
    await add_member(shop, EMAIL)
    held = await log_in(visitor, EMAIL)
    await try_to_log_in(visitor, EMAIL, "not the password")
    await visitor.signed_in("forged-token").ask(ME)
    async with visitor.http() as client:
        cookie = {"cookie": "refresh=from-a-cookie; other=x"}
        await client.post("/graphql", json={"query": REFRESH, "variables": {"token": "in-a-variable"}}, headers=cookie)
        await client.get("/graphql", params={"query": "{ __typename }", "code": "in-an-address"})
    secrets = [PASSWORD, held.access, held.refresh, "not the password", "forged-token"]
    secrets += ["from-a-cookie", "in-a-variable", "in-an-address"]
    assert found_in("\n".join(secrets)) == sorted(secrets)


@pytest.mark.parametrize(
    "told",
    [
        {"code": "AUTH_INVALID_CREDENTIALS"},
        {"password": "1234567"},
        {"email": EMAIL, "title": "The Secret Agent"},
        {"token": None, "password": 12345678},
    ],
)
def test_what_may_be_told_is_not(told: dict[str, object]) -> None:
    keep({"data": [told]})
    assert found_in(f"{EMAIL} AUTH_INVALID_CREDENTIALS 12345678 The Secret Agent None") == []


async def test_a_shop_that_logs_its_callers_tokens(
    visitor: Visitor, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, bearer = (await add_member(shop)).token, http._bearer

    def telling(header: bytes | None) -> str | None:
        get_logger().info("asked", authorization=header)
        return bearer(header)

    with capture_logs() as log:
        assert not (await visitor.signed_in(token).ask(ME)).errors
    assert (log[-1]["event"], found_in(str(log))) == ("request", [])
    monkeypatch.setattr(http, "_bearer", telling)
    with capture_logs() as log:
        assert not (await visitor.signed_in(token).ask(ME)).errors
    assert found_in(str(log)) == [token]


async def test_a_served_shop_that_logs_a_password(settings: Settings, shop: Shop, tmp_path: Path) -> None:
    async def serves() -> None:
        async with serving(settings, tmp_path) as server:
            await try_to_log_in(server.visitor, EMAIL, "quite-a-secret")
            with server.log.open("a") as log:
                log.write("asked with quite-a-secret\n")

    with pytest.raises(AssertionError, match="the log tells secrets"):
        await serves()


async def test_a_test_whose_log_tells_a_secret_fails(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "test_telling.py").write_text(TELLING)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "tests.secrecy", "-p", "no:cacheprovider", str(tmp_path)),
        cwd=repository,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    told = out.decode()
    assert "3 failed, 2 passed" in told, told
    assert "The log tells 'quite-a-secret'." in told
