"""Registration: one account per email, a display name, and a password that is not easy to guess."""

import asyncio
from typing import Any

import asyncpg
import pytest
from argon2 import PasswordHasher
from hypothesis import HealthCheck, given
from hypothesis import settings as testing
from hypothesis import strategies as st

from domain.shop import Shop
from tests.support.auth.sessions import REGISTER, TokenPair, is_authenticated, log_in, try_login
from tests.support.database.locks import hold_lock, wait_for_blocked
from tests.support.http.client import ApiClient
from tests.support.shop.factories import PASSWORD, add_user

ADD_USER = "INSERT INTO users (id, email, display_name) VALUES (gen_random_uuid(), $1, 'First')"
ANIMALS = "🦉🐢🐙🦀🐝🦋🐞🐌"  # eight code points, thirty-two bytes


async def _register(client: ApiClient, email: str, password: str = PASSWORD, **more_fields: Any) -> dict[str, Any]:
    response = await client.execute(REGISTER, input={"email": email, "password": password, **more_fields})
    result: dict[str, Any] = response["register"]
    return result


def _list_issues(result: dict[str, Any]) -> list[tuple[list[str], str]]:
    assert result["__typename"] == "InvalidInput", result
    assert all(issue["message"] for issue in result["issues"])
    return [(issue["path"], issue["rule"]) for issue in result["issues"]]


async def _list_emails(postgres: asyncpg.Connection) -> list[str]:
    return [row["email"] for row in await postgres.fetch("SELECT email FROM users ORDER BY id")]


# ── User errors ───────────────────────────────────────────────────────────────────────────


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
async def test_invalid_password_is_rejected(
    client: ApiClient, postgres: asyncpg.Connection, password: str, rule: str
) -> None:
    assert _list_issues(await _register(client, "new.reader@example.com", password)) == [(["password"], rule)]
    assert await _list_emails(postgres) == []


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "REQUIRED"),
        (" \t ", "REQUIRED"),
        ("A" * 51, "TOO_LONG"),
        ("Anna\x00", "MALFORMED"),
        ("An\nna", "MALFORMED"),
        ("\u2066Anna\u2069", "MALFORMED"),
        ("\u0483", "REQUIRED"),
    ],
)
async def test_invalid_name_is_rejected(client: ApiClient, postgres: asyncpg.Connection, name: str, rule: str) -> None:
    assert _list_issues(await _register(client, "anna@example.com", displayName=name)) == [(["displayName"], rule)]
    assert await _list_emails(postgres) == []


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
async def test_invalid_email_address_is_rejected(
    client: ApiClient, postgres: asyncpg.Connection, email: str, rule: str
) -> None:
    assert _list_issues(await _register(client, email)) == [(["email"], rule)]
    assert await _list_emails(postgres) == []


async def test_all_validation_errors_are_reported(client: ApiClient, postgres: asyncpg.Connection) -> None:
    result = await _register(client, "no address", "short", displayName=" ")
    assert result["code"] == "INVALID_INPUT"
    assert result["issues"] == [
        {"path": ["email"], "rule": "MALFORMED", "message": "This is not a valid email address."},
        {"path": ["displayName"], "rule": "REQUIRED", "message": "displayName must not be blank."},
        {"path": ["password"], "rule": "TOO_SHORT", "message": "The password must have at least 8 characters."},
    ]
    assert await _list_emails(postgres) == []


@pytest.mark.parametrize("email", ["anna@example.com", "ANNA@example.com", "anna@EXAMPLE.com", " Anna@Example.Com\n"])
async def test_email_address_is_unique_ignoring_case(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, email: str
) -> None:
    await add_user(shop, "anna@example.com", display_name="The first")
    result = await _register(client, email, "another password of hers")
    assert (result["__typename"], result["code"]) == ("EmailTaken", "AUTH_EMAIL_TAKEN")
    [row] = await postgres.fetch("SELECT email, display_name FROM users")
    assert tuple(row) == ("anna@example.com", "The first")
    assert (await try_login(client, "anna@example.com", PASSWORD))["__typename"] == "LoggedIn"


@pytest.mark.parametrize("extra_fields", [{"role": "ADMIN"}, {"isActive": True}, {"id": "x"}, {"password_hash": "x"}])
async def test_registration_always_creates_a_customer(
    client: ApiClient, postgres: asyncpg.Connection, extra_fields: dict[str, Any]
) -> None:
    fields_input = {"email": "anna@example.com", "password": PASSWORD, **extra_fields}
    response = await client.execute(REGISTER, input=fields_input)
    assert (response.data, response.codes) == (None, ["BAD_USER_INPUT"])
    fields = ", ".join(f'{name}: "{value}"' for name, value in fields_input.items())
    response = await client.execute(f"mutation {{ register(input: {{{fields}}}) {{ __typename }} }}")
    assert (response.data, response.codes) == (None, ["GRAPHQL_VALIDATION_FAILED"])
    assert await _list_emails(postgres) == []


# ── One account per email ─────────────────────────────────────────────────────────────────


async def test_concurrent_registrations_create_one_account(client: ApiClient, postgres: asyncpg.Connection) -> None:
    emails = [f"{'Anna' if number % 2 else 'anna'}@example.com" for number in range(20)]
    results = await asyncio.gather(*(_register(client, email) for email in emails))
    assert sorted(result["__typename"] for result in results) == ["EmailTaken"] * 19 + ["LoggedIn"]
    assert await _list_emails(postgres) == ["anna@example.com"]


async def test_racing_registrations_create_one_account(
    client: ApiClient, shop: Shop, database_url: str, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop.passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    async with hold_lock(database_url, ADD_USER, "anna@example.com") as connection:
        registrations = [asyncio.create_task(_register(client, "anna@example.com")) for _ in range(10)]
        await wait_for_blocked(postgres, 10)
        await connection.execute("DELETE FROM users")  # the locked account is deleted before the others continue
    results = await asyncio.gather(*registrations)
    assert sorted(result["__typename"] for result in results) == ["EmailTaken"] * 9 + ["LoggedIn"]
    assert await _list_emails(postgres) == ["anna@example.com"]
    assert await postgres.fetchval("SELECT count(*) FROM carts") == 1
    assert await postgres.fetchval("SELECT count(*) FROM sessions") == 1


# ── Results ───────────────────────────────────────────────────────────────────────────────


async def test_new_user_is_signed_in(client: ApiClient) -> None:
    result = await _register(client, "  Anna@EXAMPLE.com ", displayName="  Anna K. ")
    assert result["__typename"] == "LoggedIn"
    public_fields = {name: result["user"][name] for name in ("email", "displayName", "role")}
    assert public_fields == {"email": "anna@example.com", "displayName": "Anna K.", "role": "USER"}
    tokens = TokenPair.from_result(result)
    assert (await client.with_token(tokens.access_token).execute("{ me { id hasPassword isActive } }"))["me"] == {
        "id": result["user"]["id"],
        "hasPassword": True,
        "isActive": True,
    }
    assert await is_authenticated(client, (await log_in(client, "ANNA@example.COM")).access_token)


@pytest.mark.parametrize("more_fields", [{}, {"displayName": None}])
async def test_default_display_name(client: ApiClient, more_fields: dict[str, Any]) -> None:
    assert (await _register(client, "anna@example.com", **more_fields))["user"]["displayName"] == "Reader"


@pytest.mark.parametrize("name", ["Al", "A" * 50, "Ὀδυσσεύς", "李小龙", "O’Neill-Ærø"])
async def test_valid_display_name_is_stored_unchanged(client: ApiClient, name: str) -> None:
    assert (await _register(client, "anna@example.com", displayName=name))["user"]["displayName"] == name


@pytest.mark.parametrize(
    "password", ["kQ7#vb2x", "kQ7#vb2x" * 16, ANIMALS, "  two spaces  ", "correct\thorse\n", "пароль с пробелами"]
)
async def test_password_is_used_exactly_as_typed(client: ApiClient, password: str) -> None:
    await _register(client, "anna@example.com", password)
    assert (await try_login(client, "anna@example.com", password[:-1]))["__typename"] == "InvalidCredentials"
    assert (await try_login(client, "anna@example.com", password + " "))["__typename"] == "InvalidCredentials"
    assert (await try_login(client, "anna@example.com", password.swapcase() + "x"))[
        "__typename"
    ] == "InvalidCredentials"
    assert (await try_login(client, "anna@example.com", password))["__typename"] == "LoggedIn"


@testing(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(email=st.text(max_size=60), name=st.none() | st.text(max_size=60), password=st.text(max_size=7))
async def test_arbitrary_input_gets_a_typed_response(
    client: ApiClient, postgres: asyncpg.Connection, email: str, name: str | None, password: str
) -> None:
    result = await _register(client, email, password, displayName=name)
    assert (["password"], "TOO_SHORT") in _list_issues(result)
    assert await _list_emails(postgres) == []
