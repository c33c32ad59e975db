"""Administrators are made and unmade on the command line, with a password that is asked for or given."""

import asyncio
import os
import pty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from domain.shop import Shop
from server.settings import Settings
from tests.client import Visitor
from tests.commands import PATIENCE, Bookstore, Ended, refused, started
from tests.factories import PASSWORD, add_administrator, add_member

GOOD = "a-long-and-winding-sentence"
LOGIN = """mutation ($email: String!, $password: String!) {
    login(input: {email: $email, password: $password}) { ... on LoggedIn { user { role } } ... on UserError { code } }
}"""
USERS = "SELECT email, role, is_active, password_hash FROM users ORDER BY email"


@pytest.mark.parametrize(
    ("email", "password", "complaint"),
    [
        ("ann at example.com", GOOD, "This is no email address."),
        ("ann@example.com", "2short", "The password must have at least 8 characters."),
        ("ann@example.com", "", "There is no such account yet. Set BOOKSTORE_ADMIN_PASSWORD to make it."),
    ],
)
async def test_an_administrator_who_cannot_be(
    in_process: Bookstore, postgres: asyncpg.Connection, email: str, password: str, complaint: str
) -> None:
    assert await refused(in_process("admin", "create", email, BOOKSTORE_ADMIN_PASSWORD=password)) == complaint
    assert await postgres.fetch(USERS) == []


async def test_an_administrator_with_a_new_account_can_sign_in(bookstore: Bookstore, visitor: Visitor) -> None:
    ended = await bookstore("admin", "create", "Ann@Example.com", BOOKSTORE_ADMIN_PASSWORD=GOOD)

    assert ended == Ended(0, "ann@example.com is an administrator with a new account.\n", "")
    assert (await visitor.ask(LOGIN, email="ann@example.com", password=GOOD))["login"] == {"user": {"role": "ADMIN"}}


async def test_an_account_that_exists_becomes_an_administrator_and_keeps_its_password(
    bookstore: Bookstore, shop: Shop, visitor: Visitor
) -> None:
    await add_member(shop, "ben@example.com")
    ended = await bookstore("admin", "create", "ben@example.com")

    assert ended == Ended(0, "ben@example.com is an administrator now.\n", "")
    assert (await visitor.ask(LOGIN, email="ben@example.com", password=PASSWORD))["login"] == {
        "user": {"role": "ADMIN"}
    }


async def test_an_administrator_is_a_customer_again(
    bookstore: Bookstore, shop: Shop, postgres: asyncpg.Connection
) -> None:
    administrator = await add_administrator(shop)
    email = administrator.user.email
    ended = await bookstore("admin", "revoke", email)

    assert ended == Ended(0, f"{email} is a customer again.\n", "")
    assert await postgres.fetchval("SELECT role FROM users") == "USER"
    assert await refused(bookstore("admin", "revoke", email)) == f"{email} is no administrator."


@pytest.mark.parametrize("email", ["nobody@example.com", "no address", "[/]"])
async def test_nobody_is_revoked_who_is_no_administrator(in_process: Bookstore, email: str) -> None:
    assert await refused(in_process("admin", "revoke", email)) == f"{email} is no administrator."


@asynccontextmanager
async def asked(*arguments: str, folder: Path, url: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """The command on a terminal, waiting for an answer, and where to type it."""
    keyboard, terminal = pty.openpty()
    try:
        async with started(*arguments, folder=folder, settings={"DATABASE_URL": url}, stdin=terminal) as process:
            assert process.stderr is not None
            async with asyncio.timeout(PATIENCE):
                await process.stderr.readexactly(1)  # the last of the prompt: from now on it listens
                yield process, keyboard
    finally:
        os.close(keyboard)
        os.close(terminal)


async def test_the_password_is_asked_for_on_a_terminal(
    shop: Shop, settings: Settings, visitor: Visitor, tmp_path: Path
) -> None:
    url = str(settings.database_url)
    async with asked("admin", "create", "ann@example.com", folder=tmp_path, url=url) as (process, keyboard):
        os.write(keyboard, f"{GOOD}\n".encode())
        out, err = await process.communicate()

    assert process.returncode == 0
    assert GOOD.encode() not in out + err
    assert (await visitor.ask(LOGIN, email="ann@example.com", password=GOOD))["login"] == {"user": {"role": "ADMIN"}}


async def test_whoever_ends_the_question_changes_nothing(
    shop: Shop, settings: Settings, postgres: asyncpg.Connection, tmp_path: Path
) -> None:
    await add_member(shop, "ben@example.com")
    before = await postgres.fetch(USERS)
    url = str(settings.database_url)
    async with asked("admin", "create", "ben@example.com", folder=tmp_path, url=url) as (process, keyboard):
        os.write(keyboard, b"\x04")
        _, err = await process.communicate()

    assert (process.returncode, err.decode().split()) == (1, ["Aborted."])
    assert await postgres.fetch(USERS) == before
