"""The log of requests: ids and outcomes, never passwords or tokens."""

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

from domain.auth.login_throttle import Throttles
from domain.auth.sessions import SessionTokens
from domain.auth.tokens import AccessToken, derive_key
from domain.email.content import LinkContext
from domain.orders import CheckoutRequest
from domain.query_budget import RateLimiter
from domain.shop import Shop
from graph.context import Context, RefreshCookie
from persistence import accounts
from persistence.accounts import UserRow
from persistence.limits.rate_limits import MemoryStore
from persistence.postgres.database import Database, Transaction
from persistence.postgres.errors import Conflict
from server.oauth import AuthorizationState
from server.observability.logs import configure_logs, create_request_logger
from server.settings import Settings
from tests.support.auth.sessions import LOGIN, LOGOUT, REFRESH, REGISTER
from tests.support.database.fault_proxy import start_fault_proxy
from tests.support.email.emails import run_worker, wait_until_queue_is_empty, with_smtp_url
from tests.support.email.smtp import start_mail_server
from tests.support.http.apps import get_shop, running_client
from tests.support.http.client import ApiClient
from tests.support.processes.servers import start_server
from tests.support.shop.customers import add_customer
from tests.support.shop.factories import add_book

PASSWORD = "quite-a-secret-of-mine"
CHANGE_PASSWORD = """mutation ($old: String, $new: String!) {
    changePassword(input: {currentPassword: $old, newPassword: $new}) { __typename } }"""


async def _exercise_account(client: ApiClient) -> list[str]:
    """Register, log in, refresh and log out, and return all secrets used."""
    email = "reader@example.com"
    first_tokens = (await client.execute(REGISTER, input={"email": email, "password": PASSWORD}))["register"]["tokens"]
    second_tokens = (await client.execute(LOGIN, email=email, password=PASSWORD))["login"]["tokens"]
    await client.execute(LOGIN, email=email, password="wrong-" + PASSWORD)
    refreshed_tokens = (await client.execute(REFRESH, token=second_tokens["refreshToken"]))["refreshSession"]["tokens"]
    await client.execute(REFRESH, token=second_tokens["refreshToken"])
    me = client.with_token(first_tokens["accessToken"])
    await me.execute(CHANGE_PASSWORD, old=PASSWORD, new="new-" + PASSWORD)
    await client.with_token(refreshed_tokens["accessToken"] + "x").execute("query Me { me { id } }")
    await client.execute(LOGOUT, token=first_tokens["refreshToken"])
    input_literal = f'{{email: "{email}", password: "{PASSWORD}", nothing: 1}}'
    async with client.http() as http:
        await http.post(
            "/graphql",
            json={"query": f"mutation {{ login(input: {input_literal}) {{ __typename }} }}"},
        )
        await http.post("/graphql", content=f'{{"query": "{PASSWORD}'.encode(), headers=JSON_HEADERS)
        await http.get(
            "/graphql",
            params={"query": f'{{ node(id: "{refreshed_tokens["refreshToken"]}") {{ id }} }}'},
        )
    tokens = [
        pair[kind]
        for pair in (first_tokens, second_tokens, refreshed_tokens)
        for kind in ("accessToken", "refreshToken")
    ]
    return [PASSWORD, *tokens, *(token.split(".")[-1] for token in tokens)]


JSON_HEADERS = {"content-type": "application/json"}


@dataclass
class Account:
    name: str
    secret: str = field(repr=False)


@pytest.mark.parametrize("text", ["a\u2028b", "\x9b2J", "\u202e", "half a \ud800", 'plain "text"'])
def test_log_lines_are_ascii_json(capsys: pytest.CaptureFixture[str], text: str) -> None:
    configure_logs("info", as_json=True)
    create_request_logger("info", as_json=True)(path=text)
    structlog.get_logger().info("event", path=text)
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["path"] for line in lines] == [text, text]
    assert all(line.isascii() for line in lines)


def test_hidden_dataclass_fields_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", as_json=True)
    structlog.get_logger().info("event", by=Account("Ann", secret=PASSWORD))
    assert PASSWORD not in capsys.readouterr().err


NOW = dt.datetime.now(dt.UTC)
TOKENS = SessionTokens(AccessToken(PASSWORD, NOW), PASSWORD, NOW)


@pytest.mark.parametrize(
    "value",
    [
        Throttles(Database(PASSWORD), PASSWORD.encode()),
        RateLimiter(MemoryStore(), None, PASSWORD.encode()),
        TOKENS,
        RefreshCookie(PASSWORD, response_tokens=TOKENS),
        LinkContext(f"https://shop.example.com/?token={PASSWORD}", PASSWORD, NOW),
        CheckoutRequest("key", payment_token=PASSWORD),
        UserRow(uuid.uuid4(), "ann@example.com", "Ann", PASSWORD, "USER", True, NOW, None),
        AuthorizationState(state=PASSWORD, nonce=PASSWORD, verifier=PASSWORD),
    ],
    ids=lambda value: type(value).__name__,
)
def test_repr_hides_secrets(value: object) -> None:
    assert PASSWORD not in repr(value)


def test_repr_of_shop_and_settings_hides_secrets(settings: Settings, shop: Shop) -> None:
    address = f"postgresql://shop:{PASSWORD}@db.example.com/bookstore"
    values = {
        **dict.fromkeys(("database_url", "database_read_url", "database_direct_url"), address),
        "secret_key": [PASSWORD],
        "smtp_url": f"smtps://shop:{PASSWORD}@mail.example.com",
        "google_client_secret": PASSWORD,
        "github_client_secret": PASSWORD,
    }
    assert PASSWORD not in repr(settings.model_copy(update=values))
    assert find_leaked_keys(repr(Context(shop, "1", access_token=PASSWORD)), settings) == []


def find_leaked_keys(log: str, settings: Settings) -> list[str]:
    """Return the secrets and derived keys that appear in a log."""
    purposes = ("access-token", "refresh-token", "one-time-token", "throttles", "rate-limits", "sign-in-cookie")
    keys = [derive_key(secret, purpose) for secret in settings.secret_key for purpose in purposes]
    encodings = [secret for key in keys for secret in (repr(key)[2:-1], key.hex())]
    unescaped_log = log.replace("\\\\", "\\")  # JSON escapes backslashes
    return [secret for secret in (*settings.secret_key, *encodings, PASSWORD) if secret in unescaped_log]


@pytest.mark.parametrize("as_json", [True, False])
async def test_worker_logs_no_keys_or_addresses_during_an_outage(
    shop: Shop,
    settings: Settings,
    postgres: asyncpg.Connection,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    configuration = structlog.get_config()
    log = ""
    async with start_fault_proxy(database_url) as proxy, start_mail_server() as mailbox:
        worker_settings = with_smtp_url(mailbox, settings).model_copy(update={"database_url": proxy.url})
        async with running_client(worker_settings) as visitor:
            book = await add_book(shop, stock=3)
            customers = [await add_customer(visitor, shop, (book, 1)) for _ in range(3)]
            failed_recipient, delayed_recipient, sent_recipient = [customer.user.row.email for customer in customers]
            mailbox.recipient_responses[failed_recipient] = f"550 5.1.1 <{failed_recipient}>: Nobody here by that name"
            mailbox.recipient_responses[delayed_recipient] = f"451 4.3.0 <{delayed_recipient}>: Not now"
            mailbox.may_accept = asyncio.Event()
            configure_logs("debug", as_json=as_json)
            try:
                async with run_worker(get_shop(visitor), worker_settings):
                    for customer in customers:
                        await customer.checkout()
                    await mailbox.wait_for(1, mailbox.submitted_recipients)
                    await mailbox.wait_for(2, mailbox.rejected_recipients)
                    proxy.break_connections()
                    mailbox.may_accept.set()
                    async with asyncio.timeout(40):
                        while "stamina.retry_scheduled" not in log:
                            log += capsys.readouterr().err
                            await asyncio.sleep(0.02)
                    mailbox.recipient_responses.clear()
                    proxy.restore()
                    assert sorted(status for _, status in await wait_until_queue_is_empty(postgres)) == [
                        "FAILED",
                        "SENT",
                        "SENT",
                    ]
            finally:
                structlog.configure(**configuration)
    log += capsys.readouterr().err
    assert "Nobody here by that name" in log
    assert [email for email in (failed_recipient, delayed_recipient, sent_recipient) if email in log] == []
    assert find_leaked_keys(log, settings) == []


@pytest.mark.parametrize("log_format", ["json", "pretty"])
async def test_neither_passwords_nor_tokens_are_logged(
    settings: Settings, shop: Shop, tmp_path: Path, log_format: str
) -> None:
    async with start_server(settings, tmp_path, LOG_LEVEL="debug", LOG_FORMAT=log_format) as server:
        secrets = await _exercise_account(server.client)
    [log] = [path.read_text("utf-8") for path in tmp_path.glob("*.log")]
    assert log.count("/graphql") >= 11
    assert [secret for secret in secrets if secret in log] == []


@pytest.mark.parametrize("as_json", [True, False])
async def test_retries_and_internal_errors_log_no_secrets(
    client: ApiClient,
    postgres: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    add_user, outcomes = accounts.add_user, iter((Conflict(), None))

    async def fail_first_add_user(tx: Transaction, **details: Any) -> uuid.UUID | None:
        if error := next(outcomes):
            raise error
        return await add_user(tx, **details)

    monkeypatch.setattr(accounts, "add_user", fail_first_add_user)
    configuration = structlog.get_config()
    configure_logs("debug", as_json=as_json)
    try:
        account = {"email": "once@example.com", "password": PASSWORD}
        assert (await client.execute(REGISTER, input=account))["register"]["__typename"] == "LoggedIn"
        monkeypatch.setattr(accounts, "add_user", add_user)
        await postgres.execute("ALTER TABLE users ADD CONSTRAINT broken CHECK (email <> 'broken@example.com')")
        response = await client.execute(REGISTER, input={"email": "broken@example.com", "password": PASSWORD})
    finally:
        await postgres.execute("ALTER TABLE users DROP CONSTRAINT IF EXISTS broken")
        structlog.configure(**configuration)
    assert response.codes == ["INTERNAL_SERVER_ERROR"]
    log = capsys.readouterr().err
    assert "stamina.retry_scheduled" in log
    assert 'violates check constraint "broken"' in log.replace("\\", "")
    assert [secret for secret in (PASSWORD, "$argon2id$", "broken@example.com") if secret in log] == []


async def _read_log_lines(folder: Path, request_id: str) -> str:
    """Return the log once it has the line of the request, which follows the response."""
    [path] = folder.glob("*.log")
    async with asyncio.timeout(20):
        while request_id not in (log := path.read_text("utf-8")):
            await asyncio.sleep(0.01)
    return log


async def test_each_request_is_logged_with_its_id(settings: Settings, shop: Shop, tmp_path: Path) -> None:
    async with (
        start_server(settings, tmp_path, LOG_FORMAT="json") as server,
        httpx2.AsyncClient() as http,
    ):
        payload = {"query": "query Browse { genres { id } nothing: node(id: 1) { id } }"}
        response = await http.post(f"{server.url}/graphql", json=payload)
        log = await _read_log_lines(tmp_path, response.headers["x-request-id"])
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    [line] = [line for line in lines if line.get("request_id") == response.headers["x-request-id"]]
    text = {name: line[name] for name in ("method", "path", "status", "operation", "codes")}
    assert text == {
        "method": "POST",
        "path": "/graphql",
        "status": 200,
        "operation": "Browse",
        "codes": ["BAD_USER_INPUT"],
    }
