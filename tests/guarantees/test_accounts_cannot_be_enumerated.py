"""A failed login and a password reset do not reveal whether an account exists: same response, same work."""

from collections.abc import AsyncIterator
from typing import Any, Literal

import asyncpg
import pytest
from argon2 import Parameters, PasswordHasher, extract_parameters

from domain.auth.passwords import MAX_PASSWORD_LENGTH
from domain.shop import Shop
from server.settings import Settings
from tests.support.auth.sessions import try_login
from tests.support.database.query_counter import CountingProxy, start_counting_proxy
from tests.support.email.email_links import request_password_reset
from tests.support.http.apps import running_client
from tests.support.http.client import ApiClient
from tests.support.shop.factories import PASSWORD, add_user

INVALID_CREDENTIALS = {
    "__typename": "InvalidCredentials",
    "code": "AUTH_INVALID_CREDENTIALS",
    "message": "The email or the password is wrong.",
}
WITH_PASSWORD, PROVIDER_ONLY, DEACTIVATED = (
    "known@example.com",
    "provider@example.com",
    "out@example.com",
)
FAILING_LOGINS = [
    pytest.param("nobody@example.com", PASSWORD, id="unknown address"),
    pytest.param(WITH_PASSWORD, "not the password", id="wrong password"),
    pytest.param(PROVIDER_ONLY, PASSWORD, id="account without a password"),
    pytest.param(PROVIDER_ONLY, "nobody's password", id="password of the dummy hash"),
    pytest.param(PROVIDER_ONLY, "", id="account without a password, empty password"),
    pytest.param(DEACTIVATED, "not the password", id="deactivated, wrong password"),
]
MALFORMED_LOGINS = [
    pytest.param("no address", PASSWORD, id="invalid address"),
    pytest.param("", PASSWORD, id="empty address"),
    pytest.param(WITH_PASSWORD + "\x00", PASSWORD, id="NUL"),
    pytest.param("a" * 9_000 + "@example.com", PASSWORD, id="oversized address"),
    pytest.param(WITH_PASSWORD, PASSWORD + "x" * MAX_PASSWORD_LENGTH, id="password over the limit"),
    pytest.param(WITH_PASSWORD, "x" * 90_000, id="oversized password"),
]


class RecordingHasher(PasswordHasher):
    """Records the parameters of each argon2 verification and the longest password in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.verified_parameters: list[Parameters] = []
        self.max_length = 0
        self.hash_count = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
        assert isinstance(hash, str)
        self.verified_parameters.append(extract_parameters(hash))
        self.max_length = max(self.max_length, len(password))
        return super().verify(hash, password)

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.hash_count += 1
        return super().hash(password, salt=salt)


@pytest.fixture(scope="module")
async def current_hash(open_shop: Shop) -> str:
    """Hash the password once with the product's parameters, which takes a quarter of a second."""
    return await open_shop.passwords.hash(PASSWORD)


@pytest.fixture
async def accounts(shop: Shop, current_hash: str) -> None:
    """Add an account with a password, an account without a password, and a deactivated account."""
    await add_user(shop, WITH_PASSWORD, password_hash=current_hash)
    await add_user(shop, PROVIDER_ONLY, password_hash=None)
    await add_user(shop, DEACTIVATED, password_hash=current_hash, is_active=False)


@pytest.fixture
def recording_hasher(shop: Shop, accounts: None, monkeypatch: pytest.MonkeyPatch) -> RecordingHasher:
    hasher = RecordingHasher()
    monkeypatch.setattr(shop.passwords, "_hasher", hasher)
    return hasher


@pytest.mark.parametrize(("email", "password"), FAILING_LOGINS + MALFORMED_LOGINS)
async def test_failed_logins_have_equal_responses_and_one_hash(
    client: ApiClient, recording_hasher: RecordingHasher, email: str, password: str
) -> None:
    assert await try_login(client, email, password) == INVALID_CREDENTIALS
    assert recording_hasher.verified_parameters == [extract_parameters(PasswordHasher().hash("any"))]
    assert recording_hasher.hash_count == 0
    assert recording_hasher.max_length <= MAX_PASSWORD_LENGTH + 1


@pytest.fixture
async def proxy_and_client(settings: Settings, accounts: None) -> AsyncIterator[tuple[CountingProxy, ApiClient]]:
    assert settings.database_url is not None
    async with (
        start_counting_proxy(settings.database_url) as proxy,
        running_client(settings, database_url=proxy.url) as client,
    ):
        await try_login(client, "first@example.com")  # opens the connection
        yield proxy, client


EXPECTED_STATEMENTS = 7  # one statement reads the account; the others count the attempt in transactions


@pytest.mark.parametrize(("email", "password"), FAILING_LOGINS)
async def test_failed_logins_send_equal_statements(
    proxy_and_client: tuple[CountingProxy, ApiClient], email: str, password: str
) -> None:
    proxy, client = proxy_and_client
    before = proxy.statements
    assert await try_login(client, email, password) == INVALID_CREDENTIALS
    assert proxy.statements - before == EXPECTED_STATEMENTS


async def test_password_reset_requests_send_equal_statements(
    proxy_and_client: tuple[CountingProxy, ApiClient], postgres: asyncpg.Connection
) -> None:
    proxy, client = proxy_and_client
    await request_password_reset(client, "first@example.com")  # opens the connection
    statement_counts, job_count = set(), await postgres.fetchval("SELECT count(*) FROM pgqueuer")
    for email in ("nobody@example.com", WITH_PASSWORD, PROVIDER_ONLY, DEACTIVATED, "nobody.either@example.com"):
        before = proxy.statements
        assert await request_password_reset(client, email) == {"__typename": "PasswordResetRequested", "email": email}
        statement_counts.add(proxy.statements - before)
    assert len(statement_counts) == 1
    assert await postgres.fetchval("SELECT count(*) FROM pgqueuer") == job_count + 5
    assert await postgres.fetchval("SELECT count(*) FROM letters") == 3


async def test_deactivation_is_revealed_to_the_correct_password_only(client: ApiClient, accounts: None) -> None:
    result: dict[str, Any] = await try_login(client, DEACTIVATED)
    assert (result["__typename"], result["code"]) == (
        "AccountDeactivated",
        "AUTH_ACCOUNT_DEACTIVATED",
    )


async def test_correct_password_logs_in(client: ApiClient, recording_hasher: RecordingHasher) -> None:
    assert (await try_login(client, f" {WITH_PASSWORD.upper()} "))["__typename"] == "LoggedIn"
    assert len(recording_hasher.verified_parameters) == 1
