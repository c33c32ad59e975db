"""The commands `admin create` and `admin revoke`."""

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
from tests.support.http.client import ApiClient
from tests.support.processes.cli import COMMAND_TIMEOUT, CompletedCommand, RunCommand, get_error_line, start_command
from tests.support.shop.factories import PASSWORD, add_admin, add_user

VALID_PASSWORD = "a-long-and-winding-sentence"
LOGIN = """mutation ($email: String!, $password: String!) {
    login(input: {email: $email, password: $password}) { ... on LoggedIn { user { role } } ... on UserError { code } }
}"""
SELECT_USERS = "SELECT email, role, is_active, password_hash FROM users ORDER BY email"


@pytest.mark.parametrize(
    ("email", "password", "error_message"),
    [
        ("ann at example.com", VALID_PASSWORD, "This is not a valid email address."),
        ("ann@example.com", "2short", "The password must have at least 8 characters."),
        ("ann@example.com", "", "There is no account with this email. Set BOOKSTORE_ADMIN_PASSWORD to create it."),
    ],
)
async def test_invalid_admin_is_rejected(
    bookstore_in_process: RunCommand, postgres: asyncpg.Connection, email: str, password: str, error_message: str
) -> None:
    assert (
        await get_error_line(bookstore_in_process("admin", "create", email, BOOKSTORE_ADMIN_PASSWORD=password))
        == error_message
    )
    assert await postgres.fetch(SELECT_USERS) == []


async def test_new_admin_can_log_in(bookstore: RunCommand, client: ApiClient) -> None:
    result = await bookstore("admin", "create", "Ann@Example.com", BOOKSTORE_ADMIN_PASSWORD=VALID_PASSWORD)

    assert result == CompletedCommand(0, "ann@example.com is an administrator with a new account.\n", "")
    assert (await client.execute(LOGIN, email="ann@example.com", password=VALID_PASSWORD))["login"] == {
        "user": {"role": "ADMIN"}
    }


async def test_existing_account_becomes_admin_and_keeps_its_password(
    bookstore: RunCommand, shop: Shop, client: ApiClient
) -> None:
    await add_user(shop, "ben@example.com")
    result = await bookstore("admin", "create", "ben@example.com")

    assert result == CompletedCommand(0, "ben@example.com is an administrator now.\n", "")
    assert (await client.execute(LOGIN, email="ben@example.com", password=PASSWORD))["login"] == {
        "user": {"role": "ADMIN"}
    }


async def test_revoked_admin_is_a_customer(bookstore: RunCommand, shop: Shop, postgres: asyncpg.Connection) -> None:
    admin = await add_admin(shop)
    email = admin.row.email
    result = await bookstore("admin", "revoke", email)

    assert result == CompletedCommand(0, f"{email} is a customer again.\n", "")
    assert await postgres.fetchval("SELECT role FROM users") == "USER"
    assert await get_error_line(bookstore("admin", "revoke", email)) == f"{email} is not an administrator."


@pytest.mark.parametrize("email", ["nobody@example.com", "no address", "[/]"])
async def test_revoking_a_non_admin_fails(bookstore_in_process: RunCommand, email: str) -> None:
    assert await get_error_line(bookstore_in_process("admin", "revoke", email)) == f"{email} is not an administrator."


@asynccontextmanager
async def start_in_terminal(
    *arguments: str, directory: Path, url: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Start the command in a pseudo-terminal, and wait until it prompts for the password."""
    keyboard, terminal = pty.openpty()
    try:
        async with start_command(
            *arguments, directory=directory, settings={"DATABASE_URL": url}, stdin=terminal
        ) as process:
            assert process.stderr is not None
            async with asyncio.timeout(COMMAND_TIMEOUT):
                await process.stderr.readexactly(1)  # the end of the prompt
                yield process, keyboard
    finally:
        os.close(keyboard)
        os.close(terminal)


async def test_password_prompt_on_a_terminal(shop: Shop, settings: Settings, client: ApiClient, tmp_path: Path) -> None:
    url = str(settings.database_url)
    async with start_in_terminal("admin", "create", "ann@example.com", directory=tmp_path, url=url) as (
        process,
        keyboard,
    ):
        os.write(keyboard, f"{VALID_PASSWORD}\n".encode())
        stdout, stderr = await process.communicate()

    assert process.returncode == 0
    assert VALID_PASSWORD.encode() not in stdout + stderr
    assert (await client.execute(LOGIN, email="ann@example.com", password=VALID_PASSWORD))["login"] == {
        "user": {"role": "ADMIN"}
    }


async def test_aborted_prompt_changes_nothing(
    shop: Shop, settings: Settings, postgres: asyncpg.Connection, tmp_path: Path
) -> None:
    await add_user(shop, "ben@example.com")
    before = await postgres.fetch(SELECT_USERS)
    url = str(settings.database_url)
    async with start_in_terminal("admin", "create", "ben@example.com", directory=tmp_path, url=url) as (
        process,
        keyboard,
    ):
        os.write(keyboard, b"\x04")
        _, stderr = await process.communicate()

    assert (process.returncode, stderr.decode().split()) == (1, ["Aborted."])
    assert await postgres.fetch(SELECT_USERS) == before
