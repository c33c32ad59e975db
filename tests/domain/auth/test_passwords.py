"""Passwords: normalization, the limit of the hashing queue, and rehashing at login."""

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

CURRENT_PARAMETERS = "$argon2id$v=19$m=65536,t=3,p=4$"
EMAIL = "anna@example.com"


def _get_violations(password: str, *user_inputs: str) -> list[Constraint]:
    validator = Validator()
    validate_password(validator, ("password",), password, 8, *user_inputs)
    return [error.rule for error in validator.errors]


# ── Hashing ───────────────────────────────────────────────────────────────────────────────


async def test_argon2id_matches_rfc_9106_vectors() -> None:
    assert (await Passwords().hash(PASSWORD)).startswith(CURRENT_PARAMETERS)


async def test_dummy_and_invalid_hashes_match_no_password() -> None:
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


_fast_passwords = Passwords(FastHasher())
any_text = st.text(st.characters(), max_size=20)


@settings(deadline=None)
@given(password=any_text, other=any_text)
async def test_a_password_matches_only_itself(password: str, other: str) -> None:
    hash_ = await _fast_passwords.hash(password)
    assert await _fast_passwords.verify(password, hash_)
    is_equal = unicodedata.normalize("NFC", password) == unicodedata.normalize("NFC", other)
    assert await _fast_passwords.verify(other, hash_) is is_equal


# ── Queue limit ───────────────────────────────────────────────────────────────────────────


async def test_full_hashing_queue_rejects_immediately_and_recovers() -> None:
    hasher = BlockingHasher()
    passwords = Passwords(hasher)
    hash_ = hasher.hash(PASSWORD)
    verifications = [asyncio.create_task(passwords.verify(PASSWORD, hash_)) for _ in range(THREADS + MAX_QUEUED)]
    await asyncio.sleep(0)  # every task is queued
    try:
        with pytest.raises(Overloaded) as error_info:
            await passwords.verify(PASSWORD, hash_)
        assert error_info.value.retry_after == 2
        with pytest.raises(Overloaded):
            await passwords.hash(PASSWORD)
    finally:
        hasher.may_continue.set()
    assert await asyncio.gather(*verifications) == [True] * (THREADS + MAX_QUEUED)
    assert hasher.max_in_progress <= THREADS
    assert await passwords.verify(PASSWORD, hash_)


async def test_hashing_threads_have_lower_priority() -> None:
    def get_own_priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    increment = NICE_INCREMENT if sys.platform == "linux" else 0  # other systems have no priority per thread
    assert await Passwords(FastHasher())._run(get_own_priority) == min(get_own_priority() + increment, 19)


# ── At login ──────────────────────────────────────────────────────────────────────────────


async def test_weak_hash_is_upgraded_at_login_only(shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_user(shop, EMAIL)
    await add_user(shop)
    assert shop.passwords.is_outdated(PASSWORD_HASH)
    with pytest.raises(InvalidCredentials):
        await sessions.login(shop, EMAIL, "not the password", None)
    assert await postgres.fetchval("SELECT bool_and(password_hash = $1) FROM users", PASSWORD_HASH)
    await sessions.login(shop, EMAIL, PASSWORD, None)
    new_hash = await postgres.fetchval("SELECT password_hash FROM users WHERE email = $1", EMAIL)
    assert new_hash.startswith(CURRENT_PARAMETERS)
    await sessions.login(shop, EMAIL, PASSWORD, None)
    assert await postgres.fetchval("SELECT password_hash FROM users WHERE email = $1", EMAIL) == new_hash
    assert await postgres.fetchval("SELECT count(*) FROM users WHERE password_hash = $1", PASSWORD_HASH) == 1


# ── Validation ────────────────────────────────────────────────────────────────────────────


def test_length_is_counted_in_code_points() -> None:
    assert _get_violations("🦉🐢🐙🦀🐝🦋🐞") == [Constraint.TOO_SHORT]
    assert _get_violations("🦉🐢🐙🦀🐝🦋🐞🐌") == []
    assert _get_violations("🦉🐢🐙🦀🐝🦋🐞🐌" * 16) == []
    assert _get_violations("🦉🐢🐙🦀🐝🦋🐞🐌" * 16 + "🦉") == [Constraint.TOO_LONG]


def test_common_passwords_are_rejected() -> None:
    assert len(load_common_passwords()) >= 3_000
    assert {_get_violations(common)[0] for common in load_common_passwords()} <= {
        Constraint.TOO_SHORT,
        Constraint.NOT_ALLOWED,
    }
    for password in ("Anna.Karenina", "anna.karenina1877!", "ANNA.KARENINA@example.com"):
        assert _get_violations(password, "anna.karenina@example.com", "Anna") == [Constraint.NOT_ALLOWED]
        assert _get_violations(password) == []


@given(st.text(min_size=8, max_size=MAX_PASSWORD_LENGTH).filter(lambda text: len(set(text.lower())) >= 3))
def test_any_character_is_accepted(password: str) -> None:
    assert _get_violations(password) == [] or password.lower() in load_common_passwords()
