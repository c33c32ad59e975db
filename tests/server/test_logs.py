"""What the log tells of a request: its id and how it went, never a password or a token."""

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
import structlog

from domain.shop import Shop
from persistence import accounts
from persistence.database import Transaction
from persistence.faults import Conflict
from server.logs import configure_logs, request_line
from server.settings import Settings
from tests.client import Visitor
from tests.processes import serving
from tests.sessions import LOGIN, LOGOUT, REFRESH, REGISTER

PASSWORD = "quite-a-secret-of-mine"
CHANGE = """mutation ($old: String, $new: String!) {
    changePassword(input: {currentPassword: $old, newPassword: $new}) { __typename } }"""


async def _a_day_of_an_account(visitor: Visitor) -> list[str]:
    """Everything that must not be told."""
    email = "reader@example.com"
    registered = (await visitor.ask(REGISTER, input={"email": email, "password": PASSWORD}))["register"]["tokens"]
    logged_in = (await visitor.ask(LOGIN, email=email, password=PASSWORD))["login"]["tokens"]
    await visitor.ask(LOGIN, email=email, password="wrong-" + PASSWORD)
    fresh = (await visitor.ask(REFRESH, token=logged_in["refreshToken"]))["refreshSession"]["tokens"]
    await visitor.ask(REFRESH, token=logged_in["refreshToken"])
    me = visitor.signed_in(registered["accessToken"])
    await me.ask(CHANGE, old=PASSWORD, new="new-" + PASSWORD)
    await visitor.signed_in(fresh["accessToken"] + "x").ask("query Me { me { id } }")
    await visitor.ask(LOGOUT, token=registered["refreshToken"])
    literal = f'{{email: "{email}", password: "{PASSWORD}", nothing: 1}}'
    async with visitor.http() as http:
        await http.post(
            "/graphql",
            json={"query": f"mutation {{ login(input: {literal}) {{ __typename }} }}"},
        )
        await http.post("/graphql", content=f'{{"query": "{PASSWORD}'.encode(), headers=JSON)
        await http.get(
            "/graphql",
            params={"query": f'{{ node(id: "{fresh["refreshToken"]}") {{ id }} }}'},
        )
    tokens = [held[kind] for held in (registered, logged_in, fresh) for kind in ("accessToken", "refreshToken")]
    return [PASSWORD, *tokens, *(token.split(".")[-1] for token in tokens)]


JSON = {"content-type": "application/json"}


@dataclass
class Account:
    name: str
    secret: str = field(repr=False)


@pytest.mark.parametrize("told", ["a\u2028b", "\x9b2J", "\u202e", "half a \ud800", 'plain "text"'])
def test_lines_are_json_in_ascii(capsys: pytest.CaptureFixture[str], told: str) -> None:
    configure_logs("info", as_json=True)
    request_line("info", as_json=True)(path=told)
    structlog.get_logger().info("seen", path=told)
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["path"] for line in lines] == [told, told]
    assert all(line.isascii() for line in lines)


def test_what_a_dataclass_keeps_to_itself_stays_there(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", as_json=True)
    structlog.get_logger().info("seen", by=Account("Ann", secret=PASSWORD))
    assert PASSWORD not in capsys.readouterr().err


@pytest.mark.parametrize("log_format", ["json", "pretty"])
async def test_neither_passwords_nor_tokens_are_logged(
    settings: Settings, shop: Shop, tmp_path: Path, log_format: str
) -> None:
    async with serving(settings, tmp_path, LOG_LEVEL="debug", LOG_FORMAT=log_format) as server:
        secrets = await _a_day_of_an_account(server.visitor)
    [log] = [path.read_text("utf-8") for path in tmp_path.glob("*.log")]
    assert log.count("/graphql") >= 11
    assert [secret for secret in secrets if secret in log] == []


@pytest.mark.parametrize("as_json", [True, False])
async def test_a_retry_and_a_fault_tell_no_secrets_either(
    visitor: Visitor,
    postgres: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    add_user, tries = accounts.add_user, iter((Conflict(), None))

    async def add_user_at_the_second_try(tx: Transaction, **details: Any) -> uuid.UUID | None:
        if error := next(tries):
            raise error
        return await add_user(tx, **details)

    monkeypatch.setattr(accounts, "add_user", add_user_at_the_second_try)
    usual = structlog.get_config()
    configure_logs("debug", as_json=as_json)
    try:
        account = {"email": "once@example.com", "password": PASSWORD}
        assert (await visitor.ask(REGISTER, input=account))["register"]["__typename"] == "LoggedIn"
        monkeypatch.setattr(accounts, "add_user", add_user)
        await postgres.execute("ALTER TABLE users ADD CONSTRAINT broken CHECK (email <> 'broken@example.com')")
        broken = await visitor.ask(REGISTER, input={"email": "broken@example.com", "password": PASSWORD})
    finally:
        await postgres.execute("ALTER TABLE users DROP CONSTRAINT IF EXISTS broken")
        structlog.configure(**usual)
    assert broken.codes == ["INTERNAL_SERVER_ERROR"]
    log = capsys.readouterr().err
    assert "stamina.retry_scheduled" in log
    assert 'violates check constraint "broken"' in log.replace("\\", "")
    assert [secret for secret in (PASSWORD, "$argon2id$", "broken@example.com") if secret in log] == []


async def _logged(folder: Path, request_id: str) -> str:
    """The log once the request has its line, which is written after its answer."""
    [path] = folder.glob("*.log")
    async with asyncio.timeout(20):
        while request_id not in (log := path.read_text("utf-8")):
            await asyncio.sleep(0.01)
    return log


async def test_each_request_has_a_line_with_its_id(settings: Settings, shop: Shop, tmp_path: Path) -> None:
    async with (
        serving(settings, tmp_path, LOG_FORMAT="json") as server,
        httpx2.AsyncClient() as http,
    ):
        asked = {"query": "query Browse { genres { id } nothing: node(id: 1) { id } }"}
        response = await http.post(f"{server.url}/graphql", json=asked)
        log = await _logged(tmp_path, response.headers["x-request-id"])
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    [line] = [line for line in lines if line.get("request_id") == response.headers["x-request-id"]]
    told = {name: line[name] for name in ("method", "path", "status", "operation", "codes")}
    assert told == {
        "method": "POST",
        "path": "/graphql",
        "status": 200,
        "operation": "Browse",
        "codes": ["BAD_USER_INPUT"],
    }
