"""Passwords: the same keys give the same bytes, a flood is turned away, and old hashes grow stronger at login."""

import asyncio
import os
import sys
import threading
import unicodedata

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.auth import sessions
from domain.auth.passwords import (
    MAX_PASSWORD_LENGTH,
    MAX_QUEUED,
    NICE_INCREMENT,
    THREADS,
    Passwords,
    load_common_passwords,
    validate_password,
)
from domain.errors import Constraint, InvalidCredentials, Overloaded
from domain.shop import Shop
from domain.validation import Validator
from tests.support.auth.hashers import BlockingHasher, FastHasher
from tests.support.shop.factories import PASSWORD, PASSWORD_HASH, add_user

TODAYS = "$argon2id$v=19$m=65536,t=3,p=4$"
EMAIL = "anna@example.com"


def _broken(password: str, *personal: str) -> list[Constraint]:
    checker = Validator()
    validate_password(checker, ("password",), password, 8, *personal)
    return [issue.rule for issue in checker.errors]


# ── Hashing ───────────────────────────────────────────────────────────────────────────────


async def test_argon2id_matches_rfc_9106_vectors() -> None:
    assert (await Passwords().hash(PASSWORD)).startswith(TODAYS)


async def test_no_account_and_no_password_match_nothing() -> None:
    passwords = Passwords(FastHasher())
    for hash_ in (None, "", "x", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv"):
        for password in ("", PASSWORD, "nobody's password"):
            assert not await passwords.verify(password, hash_)


async def test_composed_and_decomposed_accents_match() -> None:
    passwords = Passwords(FastHasher())
    composed, decomposed = (unicodedata.normalize(form, "crème brûlée") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert await passwords.verify(decomposed, await passwords.hash(composed))
    assert await passwords.verify(composed, await passwords.hash(decomposed))
    assert not await passwords.verify("creme brulee", await passwords.hash(composed))


_quick = Passwords(FastHasher())
any_text = st.text(st.characters(), max_size=20)


@settings(deadline=None)
@given(password=any_text, other=any_text)
async def test_a_password_matches_itself_and_nothing_else(password: str, other: str) -> None:
    hash_ = await _quick.hash(password)
    assert await _quick.verify(password, hash_)
    same = unicodedata.normalize("NFC", password) == unicodedata.normalize("NFC", other)
    assert await _quick.verify(other, hash_) is same


# ── A flood ───────────────────────────────────────────────────────────────────────────────


async def test_full_hashing_queue_rejects_at_once_and_recovers() -> None:
    hasher = BlockingHasher()
    passwords = Passwords(hasher)
    hash_ = hasher.hash(PASSWORD)
    waiting = [asyncio.create_task(passwords.verify(PASSWORD, hash_)) for _ in range(THREADS + MAX_QUEUED)]
    await asyncio.sleep(0)  # each of them has taken its place
    try:
        with pytest.raises(Overloaded) as busy:
            await passwords.verify(PASSWORD, hash_)
        assert busy.value.retry_after == 2
        with pytest.raises(Overloaded):
            await passwords.hash(PASSWORD)
    finally:
        hasher.may_continue.set()
    assert await asyncio.gather(*waiting) == [True] * (THREADS + MAX_QUEUED)
    assert hasher.max_in_progress <= THREADS
    assert await passwords.verify(PASSWORD, hash_)


async def test_hashing_threads_have_lower_priority() -> None:
    def own() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    nicer = NICE_INCREMENT if sys.platform == "linux" else 0  # elsewhere threads have no priorities of their own
    assert await Passwords(FastHasher())._run(own) == min(own() + nicer, 19)


# ── At login ──────────────────────────────────────────────────────────────────────────────


async def test_weak_hash_is_upgraded_at_login_only(shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_user(shop, EMAIL)
    await add_user(shop)
    assert shop.passwords.is_outdated(PASSWORD_HASH)
    with pytest.raises(InvalidCredentials):
        await sessions.login(shop, EMAIL, "not the password", None)
    assert await postgres.fetchval("SELECT bool_and(password_hash = $1) FROM users", PASSWORD_HASH)
    await sessions.login(shop, EMAIL, PASSWORD, None)
    fresh = await postgres.fetchval("SELECT password_hash FROM users WHERE email = $1", EMAIL)
    assert fresh.startswith(TODAYS)
    await sessions.login(shop, EMAIL, PASSWORD, None)
    assert await postgres.fetchval("SELECT password_hash FROM users WHERE email = $1", EMAIL) == fresh
    assert await postgres.fetchval("SELECT count(*) FROM users WHERE password_hash = $1", PASSWORD_HASH) == 1


# ── What may be chosen ────────────────────────────────────────────────────────────────────


def test_length_is_counted_in_code_points() -> None:
    assert _broken("🦉🐢🐙🦀🐝🦋🐞") == [Constraint.TOO_SHORT]
    assert _broken("🦉🐢🐙🦀🐝🦋🐞🐌") == []
    assert _broken("🦉🐢🐙🦀🐝🦋🐞🐌" * 16) == []
    assert _broken("🦉🐢🐙🦀🐝🦋🐞🐌" * 16 + "🦉") == [Constraint.TOO_LONG]


def test_common_passwords_are_rejected() -> None:
    assert len(load_common_passwords()) >= 3_000
    assert {_broken(common)[0] for common in load_common_passwords()} <= {Constraint.TOO_SHORT, Constraint.NOT_ALLOWED}
    for guessed in ("Anna.Karenina", "anna.karenina1877!", "ANNA.KARENINA@example.com"):
        assert _broken(guessed, "anna.karenina@example.com", "Anna") == [Constraint.NOT_ALLOWED]
        assert _broken(guessed) == []


@given(st.text(min_size=8, max_size=MAX_PASSWORD_LENGTH).filter(lambda text: len(set(text.lower())) >= 3))
def test_any_character_is_accepted(password: str) -> None:
    assert _broken(password) == [] or password.lower() in load_common_passwords()
