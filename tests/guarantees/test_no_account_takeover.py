"""Nobody takes over an account by being there first, by an address that is not theirs, or by coming at the same moment."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from starlette.applications import Starlette

from domain import one_time_tokens
from domain.accounts import make_administrator
from domain.shop import Shop
from persistence.one_time_tokens import Purpose
from server.settings import Settings
from tests.arrivals import arrived, code_in, known_by, nobody_in, offering, signed_in_with, told
from tests.browser import Browser, browsing
from tests.client import Visitor
from tests.factories import PASSWORD, add_member
from tests.links import REQUEST_VERIFICATION, links_to, reset, reset_link, trade, verify
from tests.locks import holding, until_waiting
from tests.oauth_providers import GitHub, OpenID, at_work
from tests.sessions import REGISTER, Held, is_let_in, log_in, try_to_log_in, try_to_refresh

VICTIM = "mona@example.com"
ACCOUNTS = "SELECT u::text FROM users u UNION ALL SELECT s::text FROM sessions s"
NEW = "a horse of another colour"
CHANGE = """mutation ($current: String!, $new: String!) {
    changePassword(input: {currentPassword: $current, newPassword: $new}) { __typename } }"""


@pytest.fixture(scope="module")
def google() -> Iterator[OpenID]:
    provider = OpenID()
    with at_work(provider):
        yield provider


@pytest.fixture(scope="module")
def github() -> Iterator[GitHub]:
    provider = GitHub()
    with at_work(provider):
        yield provider


@pytest.fixture(scope="module")
async def offered(settings: Settings, google: OpenID, github: GitHub) -> AsyncIterator[Starlette]:
    async with offering(settings, google.address, github.address) as app:
        yield app


@pytest.fixture
async def victim(offered: Starlette, google: OpenID, github: GitHub, shop: Shop) -> AsyncIterator[Browser]:
    """Has the address at both providers, and no account here."""
    google.begin_anew()
    github.begin_anew()
    async with browsing(offered) as browser:
        yield browser


@pytest.fixture
def attacker(offered: Starlette) -> Visitor:
    return Visitor(offered)


async def _registered(attacker: Visitor) -> Held:
    reply = await attacker.ask(REGISTER, input={"email": VICTIM, "password": PASSWORD})
    return Held.of(reply["register"])


async def _is_out(attacker: Visitor, held: Held) -> bool:
    refused = {
        (await try_to_log_in(attacker, VICTIM))["__typename"] == "InvalidCredentials",
        (await try_to_refresh(attacker, held.refresh))["__typename"] == "InvalidToken",
        not await is_let_in(attacker, held.access),
    }
    return refused == {True}


# ── Whoever registered the victim's address first ─────────────────────────────────────────


@pytest.mark.parametrize("provider", ["google", "github"])
async def test_whoever_was_there_first_is_out_when_the_owner_comes(
    victim: Browser, attacker: Visitor, shop: Shop, postgres: asyncpg.Connection, provider: str
) -> None:
    first = await _registered(attacker)
    elsewhere = await log_in(attacker, VICTIM)
    user = await arrived(victim, await victim.http.get(f"/auth/{provider}"))
    assert (user["email"], user["isEmailVerified"], user["hasPassword"]) == (VICTIM, True, False)
    assert user["linkedProviders"] == [provider.upper()]
    for held in (first, elsewhere):
        assert await _is_out(attacker, held)
    assert await postgres.fetchval("SELECT count(*) FROM letters WHERE kind = 'PROVIDER_LINKED'") == 1


async def test_an_administrator_made_with_a_password_keeps_it_when_they_come_through_a_provider(
    victim: Browser, attacker: Visitor, shop: Shop
) -> None:
    await make_administrator(shop, VICTIM, "keeper of many shelves")
    user = await arrived(victim, await victim.http.get("/auth/google"))
    assert (user["email"], user["hasPassword"]) == (VICTIM, True)
    assert (await try_to_log_in(attacker, VICTIM, "keeper of many shelves"))["__typename"] == "LoggedIn"


async def test_links_and_codes_from_before_are_dead(
    victim: Browser, attacker: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    held = await _registered(attacker)
    await attacker.signed_in(held.access).ask(REQUEST_VERIFICATION)
    owner = await postgres.fetchval("SELECT id FROM users")
    async with shop.database.transaction() as tx:
        code = shop.tokens.one_time_token(await one_time_tokens.issue(shop, tx, owner, Purpose.OAUTH_LOGIN))
    link = await reset_link(attacker, shop, postgres, VICTIM)
    verifications = await links_to(shop, postgres, VICTIM, "VERIFY_EMAIL")
    mine = code_in(await victim.http.get("/auth/google"))
    assert (await reset(attacker, link, NEW))["__typename"] == "InvalidToken"
    assert (await trade(attacker, code))["__typename"] == "InvalidToken"
    assert len(verifications) == 2
    for token in verifications:
        assert (await verify(attacker, token))["__typename"] == "InvalidToken"
    assert await signed_in_with(victim, mine)


async def test_a_password_that_is_changed_at_that_very_moment(
    victim: Browser, attacker: Visitor, postgres: asyncpg.Connection, settings: Settings
) -> None:
    """Whichever comes first: in the end the attacker has no key."""
    held = await _registered(attacker)
    assert settings.database_url is not None
    async with holding(settings.database_url, "SELECT FROM users FOR UPDATE"):
        coming = asyncio.create_task(victim.http.get("/auth/google"))
        await until_waiting(postgres, 1)
        signing = asyncio.create_task(try_to_log_in(attacker, VICTIM))
        changing = asyncio.create_task(attacker.signed_in(held.access).ask(CHANGE, current=PASSWORD, new=NEW))
        await until_waiting(postgres, 3)
    user = await arrived(victim, await coming)
    outcome, reply = await signing, await changing
    assert user["hasPassword"] is False
    assert reply["changePassword"]["__typename"] == "InvalidCredentials"
    assert outcome["__typename"] == "InvalidCredentials"
    assert await _is_out(attacker, held)


async def test_a_registration_at_that_very_moment(
    victim: Browser, attacker: Visitor, postgres: asyncpg.Connection, settings: Settings
) -> None:
    assert settings.database_url is not None
    add = "INSERT INTO users (id, email, display_name, password_hash) VALUES (gen_random_uuid(), $1, 'First', 'hash')"
    async with holding(settings.database_url, add, VICTIM):
        coming = asyncio.create_task(victim.http.get("/auth/google"))
        await until_waiting(postgres, 1)
    user = await arrived(victim, await coming)
    assert (user["displayName"], user["hasPassword"], user["isEmailVerified"]) == ("First", False, True)
    assert await postgres.fetchval("SELECT count(*) FROM users") == 1


async def test_a_reset_by_the_owner_throws_whoever_was_first_out(
    victim: Browser, attacker: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    held = await _registered(attacker)
    outcome = await reset(attacker, await reset_link(attacker, shop, postgres, VICTIM), NEW)
    assert outcome["user"]["isEmailVerified"] is True
    assert await _is_out(attacker, held)
    user = await arrived(victim, await victim.http.get("/auth/google"))  # both sides are verified now
    assert (user["hasPassword"], user["linkedProviders"]) == (True, ["GOOGLE"])
    assert await is_let_in(attacker, Held.of(outcome).access)


# ── An address that is not theirs ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_verified", [True, False])
async def test_an_unverified_address_at_the_provider_links_nothing(
    victim: Browser,
    visitor: Visitor,
    google: OpenID,
    github: GitHub,
    shop: Shop,
    postgres: asyncpg.Connection,
    is_verified: bool,
) -> None:
    """Here the attacker is at the provider, and the victim has the account."""
    verified = dt.datetime.now(dt.UTC) if is_verified else None
    member = await add_member(shop, VICTIM, email_verified_at=verified)
    google.claims = {"email_verified": False}
    github.emails = [{"email": VICTIM, "primary": True, "verified": False}]
    before = await postgres.fetch(ACCOUNTS)
    for provider in ("google", "github"):
        assert told(await victim.http.get(f"/auth/{provider}"))["error"] == "email_unverified"
    github.emails = [{"email": "attacker@example.com", "primary": False, "verified": True}]
    github.user["email"] = VICTIM  # what is shown on a profile is anybody's to write
    assert told(await victim.http.get("/auth/github"))["error"] == "email_missing"
    assert await postgres.fetch(ACCOUNTS) == before
    assert await postgres.fetchval("SELECT count(*) FROM identities") == 0
    assert await is_let_in(visitor, member.token)


async def test_an_unverified_address_makes_no_account(
    victim: Browser, google: OpenID, postgres: asyncpg.Connection
) -> None:
    google.claims = {"email_verified": False}
    assert await nobody_in(postgres, await victim.http.get("/auth/google")) == "email_unverified"


async def test_an_address_that_moves_to_another_account_at_the_provider_moves_nothing(
    victim: Browser, google: OpenID
) -> None:
    """The provider's id is who someone is: what its address is today makes no difference."""
    mona = await arrived(victim, await victim.http.get("/auth/google"))
    google.claims = {"sub": "2002", "email": "other@example.com"}
    other = await arrived(victim, await victim.http.get("/auth/google"))
    google.claims = {"sub": "2002", "email": VICTIM}
    assert await arrived(victim, await victim.http.get("/auth/google")) == other
    assert other["id"] != mona["id"]


# ── At the same moment ────────────────────────────────────────────────────────────────────


async def test_two_first_callbacks_at_once_make_one_user(
    victim: Browser, offered: Starlette, postgres: asyncpg.Connection, settings: Settings
) -> None:
    assert settings.database_url is not None
    async with browsing(offered) as other:
        async with holding(settings.database_url, "LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE"):
            coming = [asyncio.create_task(browser.http.get("/auth/google")) for browser in (victim, other)]
            await until_waiting(postgres, 2)
        codes = [code_in(response) for response in await asyncio.gather(*coming)]
    assert await postgres.fetchval("SELECT count(DISTINCT user_id) FROM one_time_tokens") == 1
    assert await signed_in_with(victim, codes[0])
    assert [await postgres.fetchval(f"SELECT count(*) FROM {table}") for table in ("users", "identities")] == [1, 1]


async def test_two_first_callbacks_at_once_link_once(
    victim: Browser, attacker: Visitor, offered: Starlette, postgres: asyncpg.Connection, settings: Settings
) -> None:
    held = await _registered(attacker)
    assert settings.database_url is not None
    async with browsing(offered) as other:
        async with holding(settings.database_url, "SELECT FROM users FOR UPDATE"):
            coming = [
                asyncio.create_task(victim.http.get("/auth/google")),
                asyncio.create_task(other.http.get("/auth/google")),
                asyncio.create_task(other.http.get("/auth/github")),
            ]
            await until_waiting(postgres, 3)
        codes = [code_in(response) for response in await asyncio.gather(*coming)]
    user = await known_by(victim, (await signed_in_with(victim, codes[1]))["accessToken"])
    assert (user["linkedProviders"], user["hasPassword"]) == (["GITHUB", "GOOGLE"], False)
    assert await postgres.fetchval("SELECT count(*) FROM users") == 1
    assert await postgres.fetchval("SELECT count(*) FROM letters WHERE kind = 'PROVIDER_LINKED'") == 2
    assert await _is_out(attacker, held)


async def test_of_many_who_hold_a_code_one_comes_in(
    victim: Browser, attacker: Visitor, postgres: asyncpg.Connection, settings: Settings
) -> None:
    code = code_in(await victim.http.get("/auth/google"))
    assert settings.database_url is not None
    async with holding(settings.database_url, "SELECT FROM users FOR UPDATE"):
        tries = [asyncio.create_task(trade(attacker, code)) for _ in range(3)]
        await until_waiting(postgres, 3)
    outcomes: list[dict[str, Any]] = await asyncio.gather(*tries)
    assert sorted(each["__typename"] for each in outcomes) == ["InvalidToken", "InvalidToken", "LoggedIn"]
    assert await postgres.fetchval("SELECT count(*) FROM sessions") == 1
