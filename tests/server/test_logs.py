"""What the log tells of a request: its id and how it went, never a password or a token."""

import asyncio
import datetime as dt
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
import structlog

from domain.contents import LinkFacts
from domain.orders import Purchase
from domain.rate_limiting import RateLimiter
from domain.sessions import SessionTokens
from domain.shop import Shop
from domain.throttling import Throttles
from domain.tokens import AccessToken, derived_key
from graph.context import Context, RefreshCookie
from persistence import accounts
from persistence.accounts import User
from persistence.database import Database, Transaction
from persistence.faults import Conflict
from persistence.rate_limits import InMemory
from server.logs import configure_logs, request_line
from server.providers import Attempt
from server.settings import Settings
from tests.client import Visitor
from tests.customers import add_customer
from tests.factories import add_book
from tests.faulty import shop_of, shop_with
from tests.letters import at, posting, until_settled
from tests.network import between
from tests.processes import serving
from tests.sessions import LOGIN, LOGOUT, REFRESH, REGISTER
from tests.smtp import mail_server

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


NOW = dt.datetime.now(dt.UTC)
TOKENS = SessionTokens(AccessToken(PASSWORD, NOW), PASSWORD, NOW)


@pytest.mark.parametrize(
    "kept",
    [
        Throttles(Database(PASSWORD), PASSWORD.encode()),
        RateLimiter(InMemory(), None, PASSWORD.encode()),
        TOKENS,
        RefreshCookie(PASSWORD, kept=TOKENS),
        LinkFacts(f"https://shop.example.com/?token={PASSWORD}", PASSWORD, NOW),
        Purchase("key", payment_token=PASSWORD),
        User(uuid.uuid4(), "ann@example.com", "Ann", PASSWORD, "USER", True, NOW, None),
        Attempt(state=PASSWORD, nonce=PASSWORD, verifier=PASSWORD),
    ],
    ids=lambda kept: type(kept).__name__,
)
def test_what_holds_a_secret_does_not_show_it(kept: object) -> None:
    assert PASSWORD not in repr(kept)


def test_an_open_shop_and_its_settings_show_none_of_theirs(settings: Settings, shop: Shop) -> None:
    address = f"postgresql://shop:{PASSWORD}@db.example.com/bookstore"
    secretive = {
        **dict.fromkeys(("database_url", "database_read_url", "database_direct_url"), address),
        "secret_key": [PASSWORD],
        "smtp_url": f"smtps://shop:{PASSWORD}@mail.example.com",
        "rate_limit_storage": f"redis://shop:{PASSWORD}@redis.example.com",
        "google_client_secret": PASSWORD,
        "github_client_secret": PASSWORD,
    }
    assert PASSWORD not in repr(settings.model_copy(update=secretive))
    assert found(repr(Context(shop, "1", access_token=PASSWORD)), settings) == []


def found(log: str, settings: Settings) -> list[str]:
    """The keys that it shows of those that are derived from the shop's secrets, and the secrets."""
    purposes = ("access-token", "refresh-token", "one-time-token", "throttles", "rate-limits", "sign-in-cookie")
    keys = [derived_key(secret, purpose) for secret in settings.secret_key for purpose in purposes]
    shown = [it for key in keys for it in (repr(key)[2:-1], key.hex())]
    plain = log.replace("\\\\", "\\")  # as JSON has it
    return [it for it in (*settings.secret_key, *shown, PASSWORD) if it in plain]


@pytest.mark.parametrize("as_json", [True, False])
async def test_letters_on_their_way_tell_no_keys_and_no_addresses_while_the_database_is_away(
    shop: Shop,
    settings: Settings,
    postgres: asyncpg.Connection,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    usual = structlog.get_config()
    logged = ""
    async with between(database_url) as network, mail_server() as mailbox:
        ours = at(mailbox, settings).model_copy(update={"database_url": network.url})
        async with shop_with(ours) as visitor:
            book = await add_book(shop, stock=3)
            customers = [await add_customer(visitor, shop, (book, 1)) for _ in range(3)]
            refused, postponed, sent = [customer.member.user.email for customer in customers]
            mailbox.on_recipient[refused] = f"550 5.1.1 <{refused}>: Nobody here by that name"
            mailbox.on_recipient[postponed] = f"451 4.3.0 <{postponed}>: Not now"
            mailbox.gate = asyncio.Event()
            configure_logs("debug", as_json=as_json)
            try:
                async with posting(shop_of(visitor), ours):
                    for customer in customers:
                        await customer.buys()
                    await mailbox.until(1, mailbox.on_their_way)
                    await mailbox.until(2, mailbox.turned_away)
                    network.breaks()
                    mailbox.gate.set()
                    async with asyncio.timeout(40):
                        while "stamina.retry_scheduled" not in logged:
                            logged += capsys.readouterr().err
                            await asyncio.sleep(0.02)
                    mailbox.on_recipient.clear()
                    network.is_mended()
                    assert sorted(status for _, status in await until_settled(postgres)) == ["FAILED", "SENT", "SENT"]
            finally:
                structlog.configure(**usual)
    logged += capsys.readouterr().err
    assert "Nobody here by that name" in logged
    assert [it for it in (refused, postponed, sent) if it in logged] == []
    assert found(logged, settings) == []


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
