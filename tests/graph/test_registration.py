"""Opening an account: one for each address, a name to show, and a password nobody would guess first."""

import asyncio
from typing import Any

import asyncpg
import pytest
from argon2 import PasswordHasher
from hypothesis import HealthCheck, given
from hypothesis import settings as testing
from hypothesis import strategies as st

from domain.shop import Shop
from tests.client import Visitor
from tests.factories import PASSWORD, add_member
from tests.locks import holding, until_waiting
from tests.sessions import REGISTER, Held, is_let_in, log_in, try_to_log_in

ADD_USER = "INSERT INTO users (id, email, display_name) VALUES (gen_random_uuid(), $1, 'First')"
ANIMALS = "🦉🐢🐙🦀🐝🦋🐞🐌"  # eight code points, thirty-two bytes


async def _register(visitor: Visitor, email: str, password: str = PASSWORD, **more: Any) -> dict[str, Any]:
    reply = await visitor.ask(REGISTER, input={"email": email, "password": password, **more})
    outcome: dict[str, Any] = reply["register"]
    return outcome


def _broken(outcome: dict[str, Any]) -> list[tuple[list[str], str]]:
    assert outcome["__typename"] == "InvalidInput", outcome
    assert all(issue["message"] for issue in outcome["issues"])
    return [(issue["path"], issue["rule"]) for issue in outcome["issues"]]


async def _addresses(postgres: asyncpg.Connection) -> list[str]:
    return [row["email"] for row in await postgres.fetch("SELECT email FROM users ORDER BY id")]


# ── Refusals ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("password", "rule"),
    [
        ("", "TOO_SHORT"),
        ("kQ7#vb2", "TOO_SHORT"),
        (ANIMALS[:7], "TOO_SHORT"),
        ("kQ7#vb2x" * 16 + "!", "TOO_LONG"),
        ("x" * 90_000, "TOO_LONG"),
        ("password", "NOT_ALLOWED"),
        ("PassWord1", "NOT_ALLOWED"),
        ("12345678", "NOT_ALLOWED"),
        ("aaaaaaaaaa", "NOT_ALLOWED"),
        ("Bookstore2026!", "NOT_ALLOWED"),
        ("new.reader@example.com", "NOT_ALLOWED"),
        ("New.Reader99", "NOT_ALLOWED"),
    ],
)
async def test_a_password_that_is_refused(
    visitor: Visitor, postgres: asyncpg.Connection, password: str, rule: str
) -> None:
    assert _broken(await _register(visitor, "new.reader@example.com", password)) == [(["password"], rule)]
    assert await _addresses(postgres) == []


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "REQUIRED"),
        (" \t ", "REQUIRED"),
        ("A", "TOO_SHORT"),
        ("A" * 51, "TOO_LONG"),
        ("Anna\x00", "MALFORMED"),
        ("An\nna", "MALFORMED"),
    ],
)
async def test_a_name_that_is_refused(visitor: Visitor, postgres: asyncpg.Connection, name: str, rule: str) -> None:
    assert _broken(await _register(visitor, "anna@example.com", displayName=name)) == [(["displayName"], rule)]
    assert await _addresses(postgres) == []


@pytest.mark.parametrize(
    ("email", "rule"),
    [
        ("", "REQUIRED"),
        ("  ", "REQUIRED"),
        ("anna", "MALFORMED"),
        ("anna@", "MALFORMED"),
        ("anna@localhost", "MALFORMED"),
        ("anna@example.com, bob@example.com", "MALFORMED"),
        ("Anna <anna@example.com>", "MALFORMED"),
        ("anna@example.com\r\nBcc: all@example.com", "MALFORMED"),
        ("an\x00na@example.com", "MALFORMED"),
        ("a" * 250 + "@example.com", "TOO_LONG"),
    ],
)
async def test_an_address_that_is_refused(
    visitor: Visitor, postgres: asyncpg.Connection, email: str, rule: str
) -> None:
    assert _broken(await _register(visitor, email)) == [(["email"], rule)]
    assert await _addresses(postgres) == []


async def test_all_issues_are_named_at_once(visitor: Visitor, postgres: asyncpg.Connection) -> None:
    outcome = await _register(visitor, "no address", "short", displayName="A")
    assert outcome["code"] == "INVALID_INPUT"
    assert outcome["issues"] == [
        {"path": ["email"], "rule": "MALFORMED", "message": "This is no email address."},
        {"path": ["displayName"], "rule": "TOO_SHORT", "message": "displayName must have at least 2 characters."},
        {"path": ["password"], "rule": "TOO_SHORT", "message": "The password must have at least 8 characters."},
    ]
    assert await _addresses(postgres) == []


@pytest.mark.parametrize("email", ["anna@example.com", "ANNA@example.com", "anna@EXAMPLE.com", " Anna@Example.Com\n"])
async def test_an_address_has_one_account_whatever_its_case(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, email: str
) -> None:
    await add_member(shop, "anna@example.com", display_name="The first")
    outcome = await _register(visitor, email, "another password of hers")
    assert (outcome["__typename"], outcome["code"]) == ("EmailTaken", "AUTH_EMAIL_TAKEN")
    [kept] = await postgres.fetch("SELECT email, display_name FROM users")
    assert tuple(kept) == ("anna@example.com", "The first")
    assert (await try_to_log_in(visitor, "anna@example.com", PASSWORD))["__typename"] == "LoggedIn"


@pytest.mark.parametrize("extra", [{"role": "ADMIN"}, {"isActive": True}, {"id": "x"}, {"password_hash": "x"}])
async def test_nobody_registers_as_more_than_a_customer(
    visitor: Visitor, postgres: asyncpg.Connection, extra: dict[str, Any]
) -> None:
    wanted = {"email": "anna@example.com", "password": PASSWORD, **extra}
    reply = await visitor.ask(REGISTER, input=wanted)
    assert (reply.data, reply.codes) == (None, ["BAD_USER_INPUT"])
    fields = ", ".join(f'{name}: "{value}"' for name, value in wanted.items())
    reply = await visitor.ask(f"mutation {{ register(input: {{{fields}}}) {{ __typename }} }}")
    assert (reply.data, reply.codes) == (None, ["GRAPHQL_VALIDATION_FAILED"])
    assert await _addresses(postgres) == []


# ── One account ───────────────────────────────────────────────────────────────────────────


async def test_twenty_at_once_make_one_account(visitor: Visitor, postgres: asyncpg.Connection) -> None:
    spellings = [f"{'Anna' if number % 2 else 'anna'}@example.com" for number in range(20)]
    outcomes = await asyncio.gather(*(_register(visitor, email) for email in spellings))
    assert sorted(outcome["__typename"] for outcome in outcomes) == ["EmailTaken"] * 19 + ["LoggedIn"]
    assert await _addresses(postgres) == ["anna@example.com"]


async def test_ten_who_all_saw_the_address_free_make_one_account(
    visitor: Visitor, shop: Shop, database_url: str, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop.passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    async with holding(database_url, ADD_USER, "anna@example.com") as first:
        others = [asyncio.create_task(_register(visitor, "anna@example.com")) for _ in range(10)]
        await until_waiting(postgres, 10)
        await first.execute("DELETE FROM users")  # the first one thinks better of it
    outcomes = await asyncio.gather(*others)
    assert sorted(outcome["__typename"] for outcome in outcomes) == ["EmailTaken"] * 9 + ["LoggedIn"]
    assert await _addresses(postgres) == ["anna@example.com"]
    assert await postgres.fetchval("SELECT count(*) FROM carts") == 1
    assert await postgres.fetchval("SELECT count(*) FROM sessions") == 1


# ── Who gets in ───────────────────────────────────────────────────────────────────────────


async def test_a_new_reader_is_signed_in(visitor: Visitor) -> None:
    outcome = await _register(visitor, "  Anna@EXAMPLE.com ", displayName="  Anna K. ")
    assert outcome["__typename"] == "LoggedIn"
    shown = {name: outcome["user"][name] for name in ("email", "displayName", "role")}
    assert shown == {"email": "anna@example.com", "displayName": "Anna K.", "role": "USER"}
    held = Held.of(outcome)
    assert (await visitor.signed_in(held.access).ask("{ me { id hasPassword isActive } }"))["me"] == {
        "id": outcome["user"]["id"],
        "hasPassword": True,
        "isActive": True,
    }
    assert await is_let_in(visitor, (await log_in(visitor, "ANNA@example.COM")).access)


@pytest.mark.parametrize("more", [{}, {"displayName": None}])
async def test_who_gives_no_name_is_a_reader(visitor: Visitor, more: dict[str, Any]) -> None:
    assert (await _register(visitor, "anna@example.com", **more))["user"]["displayName"] == "Reader"


@pytest.mark.parametrize("name", ["Al", "A" * 50, "Ὀδυσσεύς", "李小龙", "O’Neill-Ærø"])
async def test_a_name_is_kept_as_given(visitor: Visitor, name: str) -> None:
    assert (await _register(visitor, "anna@example.com", displayName=name))["user"]["displayName"] == name


@pytest.mark.parametrize(
    "password", ["kQ7#vb2x", "kQ7#vb2x" * 16, ANIMALS, "  two spaces  ", "correct\thorse\n", "пароль с пробелами"]
)
async def test_a_password_of_any_characters_is_taken_to_the_letter(visitor: Visitor, password: str) -> None:
    await _register(visitor, "anna@example.com", password)
    assert (await try_to_log_in(visitor, "anna@example.com", password[:-1]))["__typename"] == "InvalidCredentials"
    assert (await try_to_log_in(visitor, "anna@example.com", password + " "))["__typename"] == "InvalidCredentials"
    assert (await try_to_log_in(visitor, "anna@example.com", password.swapcase() + "x"))[
        "__typename"
    ] == "InvalidCredentials"
    assert (await try_to_log_in(visitor, "anna@example.com", password))["__typename"] == "LoggedIn"


@testing(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(email=st.text(max_size=60), name=st.none() | st.text(max_size=60), password=st.text(max_size=7))
async def test_whatever_is_typed_is_answered(
    visitor: Visitor, postgres: asyncpg.Connection, email: str, name: str | None, password: str
) -> None:
    outcome = await _register(visitor, email, password, displayName=name)
    assert (["password"], "TOO_SHORT") in _broken(outcome)
    assert await _addresses(postgres) == []
