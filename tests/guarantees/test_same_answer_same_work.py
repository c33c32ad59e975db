"""A login that fails, or a reset that is asked for, tells nobody whether there is an account: same answer, same work."""

from collections.abc import AsyncIterator
from typing import Any, Literal

import asyncpg
import pytest
from argon2 import Parameters, PasswordHasher, extract_parameters

from domain.passwords import MAX_LENGTH
from domain.shop import Shop
from server.app import create_app
from server.settings import Settings
from tests.client import Visitor
from tests.factories import PASSWORD, add_member
from tests.links import ask_for_reset
from tests.sessions import try_to_log_in
from tests.wire import Wire, tapped

REFUSED = {
    "__typename": "InvalidCredentials",
    "code": "AUTH_INVALID_CREDENTIALS",
    "message": "The email or the password is wrong.",
}
KNOWN, PROVIDER_ONLY, OUT = (
    "known@example.com",
    "provider@example.com",
    "out@example.com",
)
FAILING = [
    pytest.param("nobody@example.com", PASSWORD, id="unknown address"),
    pytest.param(KNOWN, "not the password", id="wrong password"),
    pytest.param(PROVIDER_ONLY, PASSWORD, id="account without a password"),
    pytest.param(PROVIDER_ONLY, "nobody's password", id="the password of nobody"),
    pytest.param(PROVIDER_ONLY, "", id="account without a password, and none given"),
    pytest.param(OUT, "not the password", id="deactivated, wrong password"),
]
MALFORMED = [
    pytest.param("no address", PASSWORD, id="no address"),
    pytest.param("", PASSWORD, id="empty address"),
    pytest.param(KNOWN + "\x00", PASSWORD, id="NUL"),
    pytest.param("a" * 9_000 + "@example.com", PASSWORD, id="endless address"),
    pytest.param(KNOWN, PASSWORD + "x" * MAX_LENGTH, id="too long a password"),
    pytest.param(KNOWN, "x" * 90_000, id="endless password"),
]


class Recorder(PasswordHasher):
    """Notes what argon2 is put to: its parameters, and how many bytes it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.verified: list[Parameters] = []
        self.longest = 0
        self.hashed = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
        assert isinstance(hash, str)
        self.verified.append(extract_parameters(hash))
        self.longest = max(self.longest, len(password))
        return super().verify(hash, password)

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.hashed += 1
        return super().hash(password, salt=salt)


@pytest.fixture
async def accounts(shop: Shop) -> None:
    """One with a password, one without, one deactivated; hashed as the shop hashes today."""
    todays = await shop.passwords.hash(PASSWORD)
    await add_member(shop, KNOWN, password_hash=todays)
    await add_member(shop, PROVIDER_ONLY, password_hash=None)
    await add_member(shop, OUT, password_hash=todays, is_active=False)


@pytest.fixture
def argon2(shop: Shop, accounts: None, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(shop.passwords, "_hasher", recorder)
    return recorder


@pytest.mark.parametrize(("email", "password"), FAILING + MALFORMED)
async def test_the_same_answer_after_one_hash_with_todays_parameters(
    visitor: Visitor, argon2: Recorder, email: str, password: str
) -> None:
    assert await try_to_log_in(visitor, email, password) == REFUSED
    assert argon2.verified == [extract_parameters(PasswordHasher().hash("any"))]
    assert argon2.hashed == 0
    assert argon2.longest <= MAX_LENGTH + 1


@pytest.fixture
async def wire(settings: Settings, accounts: None) -> AsyncIterator[tuple[Wire, Visitor]]:
    assert settings.database_url is not None
    async with tapped(settings.database_url) as wire:
        app = create_app(settings.model_copy(update={"database_url": wire.url}))
        async with app.router.lifespan_context(app):
            visitor = Visitor(app)
            await try_to_log_in(visitor, "first@example.com")  # opens the connection
            yield wire, visitor


STATEMENTS = 7  # one for the account; the others count the try, and begin and end its transactions


@pytest.mark.parametrize(("email", "password"), FAILING)
async def test_the_same_statements(wire: tuple[Wire, Visitor], email: str, password: str) -> None:
    tap, visitor = wire
    before = tap.statements
    assert await try_to_log_in(visitor, email, password) == REFUSED
    assert tap.statements - before == STATEMENTS


async def test_a_reset_that_is_asked_for_sends_the_same_statements(
    wire: tuple[Wire, Visitor], postgres: asyncpg.Connection
) -> None:
    tap, visitor = wire
    await ask_for_reset(visitor, "first@example.com")  # opens the connection
    sent, jobs = set(), await postgres.fetchval("SELECT count(*) FROM pgqueuer")
    for email in ("nobody@example.com", KNOWN, PROVIDER_ONLY, OUT, "nobody.either@example.com"):
        before = tap.statements
        assert await ask_for_reset(visitor, email) == {"__typename": "PasswordResetRequested", "email": email}
        sent.add(tap.statements - before)
    assert len(sent) == 1
    assert await postgres.fetchval("SELECT count(*) FROM pgqueuer") == jobs + 5
    assert await postgres.fetchval("SELECT count(*) FROM letters") == 3


async def test_only_the_right_password_is_told_of_a_deactivation(visitor: Visitor, accounts: None) -> None:
    outcome: dict[str, Any] = await try_to_log_in(visitor, OUT)
    assert (outcome["__typename"], outcome["code"]) == (
        "AccountDeactivated",
        "AUTH_ACCOUNT_DEACTIVATED",
    )


async def test_the_right_password_lets_in(visitor: Visitor, argon2: Recorder) -> None:
    assert (await try_to_log_in(visitor, f" {KNOWN.upper()} "))["__typename"] == "LoggedIn"
    assert len(argon2.verified) == 1
