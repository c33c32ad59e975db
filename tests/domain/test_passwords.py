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

from domain import sessions
from domain.errors import Busy, InvalidCredentials, Rule
from domain.passwords import MAX_LENGTH, MAX_WAITING, NICENESS, THREADS, Passwords, check_password, common_passwords
from domain.shop import Shop
from domain.validation import Checker
from tests.factories import PASSWORD, PASSWORD_HASH, add_member
from tests.hashers import Gated, Quick

TODAYS = "$argon2id$v=19$m=65536,t=3,p=4$"
EMAIL = "anna@example.com"


def _broken(password: str, *personal: str) -> list[Rule]:
    checker = Checker()
    check_password(checker, ("password",), password, 8, *personal)
    return [issue.rule for issue in checker.issues]


# ── Hashing ───────────────────────────────────────────────────────────────────────────────


async def test_argon2id_as_rfc_9106_has_it() -> None:
    assert (await Passwords().hash(PASSWORD)).startswith(TODAYS)


async def test_no_account_and_no_password_match_nothing() -> None:
    passwords = Passwords(Quick())
    for hash_ in (None, "", "x", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv"):
        for password in ("", PASSWORD, "nobody's password"):
            assert not await passwords.verify(password, hash_)


async def test_an_accent_may_be_typed_as_one_character_or_as_two() -> None:
    passwords = Passwords(Quick())
    composed, decomposed = (unicodedata.normalize(form, "crème brûlée") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert await passwords.verify(decomposed, await passwords.hash(composed))
    assert await passwords.verify(composed, await passwords.hash(decomposed))
    assert not await passwords.verify("creme brulee", await passwords.hash(composed))


_quick = Passwords(Quick())
any_text = st.text(st.characters(), max_size=20)


@settings(deadline=None)
@given(password=any_text, other=any_text)
async def test_a_password_matches_itself_and_nothing_else(password: str, other: str) -> None:
    hash_ = await _quick.hash(password)
    assert await _quick.verify(password, hash_)
    same = unicodedata.normalize("NFC", password) == unicodedata.normalize("NFC", other)
    assert await _quick.verify(other, hash_) is same


# ── A flood ───────────────────────────────────────────────────────────────────────────────


async def test_a_full_queue_turns_away_at_once_and_recovers() -> None:
    hasher = Gated()
    passwords = Passwords(hasher)
    hash_ = hasher.hash(PASSWORD)
    waiting = [asyncio.create_task(passwords.verify(PASSWORD, hash_)) for _ in range(THREADS + MAX_WAITING)]
    await asyncio.sleep(0)  # each of them has taken its place
    try:
        with pytest.raises(Busy) as busy:
            await passwords.verify(PASSWORD, hash_)
        assert busy.value.retry_after == 2
        with pytest.raises(Busy):
            await passwords.hash(PASSWORD)
    finally:
        hasher.gate.set()
    assert await asyncio.gather(*waiting) == [True] * (THREADS + MAX_WAITING)
    assert hasher.most <= THREADS
    assert await passwords.verify(PASSWORD, hash_)


async def test_hashing_leaves_the_processor_to_others() -> None:
    def own() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    nicer = NICENESS if sys.platform == "linux" else 0  # elsewhere threads have no priorities of their own
    assert await Passwords(Quick())._run(own) == min(own() + nicer, 19)


# ── At login ──────────────────────────────────────────────────────────────────────────────


async def test_a_weak_hash_is_made_anew_at_login_and_only_then(shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_member(shop, EMAIL)
    await add_member(shop)
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
    assert _broken("🦉🐢🐙🦀🐝🦋🐞") == [Rule.TOO_SHORT]
    assert _broken("🦉🐢🐙🦀🐝🦋🐞🐌") == []
    assert _broken("🦉🐢🐙🦀🐝🦋🐞🐌" * 16) == []
    assert _broken("🦉🐢🐙🦀🐝🦋🐞🐌" * 16 + "🦉") == [Rule.TOO_LONG]


def test_what_anyone_would_try_first() -> None:
    assert len(common_passwords()) >= 3_000
    assert {_broken(common)[0] for common in common_passwords()} <= {Rule.TOO_SHORT, Rule.NOT_ALLOWED}
    for guessed in ("Anna.Karenina", "anna.karenina1877!", "ANNA.KARENINA@example.com"):
        assert _broken(guessed, "anna.karenina@example.com", "Anna") == [Rule.NOT_ALLOWED]
        assert _broken(guessed) == []


@given(st.text(min_size=8, max_size=MAX_LENGTH).filter(lambda text: len(set(text.lower())) >= 3))
def test_no_character_is_refused_for_itself(password: str) -> None:
    assert _broken(password) == [] or password.lower() in common_passwords()
