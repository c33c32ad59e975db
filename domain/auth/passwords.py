"""Passwords: argon2id off the event loop, on a pool so small that a flood of logins cannot take the memory."""

import asyncio
import os
import sys
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from domain.errors import Constraint, Overloaded
from domain.validation import InputPath, Validator

T = TypeVar("T")

MAX_PASSWORD_LENGTH = 128
THREADS = 2
MAX_QUEUED = 30
NICE_INCREMENT = 10
"""Of the threads that hash: whoever only browses does not wait for the processor while others sign in."""
STORE_WORDS = ("bookstore", "bookshop", "books", "library", "reader", "reading")


class Passwords:
    """Hashes with argon2-cffi's defaults (RFC 9106, low memory): 64 MiB, three passes, four lanes."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2", initializer=_lower_priority)
        self._pending_count = 0
        self._dummy_hash = self._hasher.hash("nobody's password")

    async def hash(self, password: str) -> str:
        return await self._run(lambda: self._hasher.hash(_encode(password)))

    async def verify(self, password: str, hash_: str | None) -> bool:
        """Takes as long for an account without a password, or no account at all, as for a wrong password."""
        return await self._run(lambda: self._matches(password, hash_ or self._dummy_hash)) and bool(hash_)

    def is_outdated(self, hash_: str) -> bool:
        """Whether it was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(hash_)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _matches(self, password: str, hash_: str) -> bool:
        try:
            return self._hasher.verify(hash_, _encode(password))
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._pending_count >= THREADS + MAX_QUEUED:
            raise Overloaded(retry_after=2)
        self._pending_count += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._pending_count -= 1


def _lower_priority() -> None:
    if sys.platform == "linux":  # where threads have priorities of their own, and argon2's lanes inherit them
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICE_INCREMENT)


def validate_password(validator: Validator, path: InputPath, password: str, min_length: int, *user_inputs: str) -> None:
    """Any characters, counted by code point, no composition rules; only what everybody guesses is refused."""
    if len(password) < min_length:
        validator.add_error(path, Constraint.TOO_SHORT, f"The password must have at least {min_length} characters.")
    elif len(password) > MAX_PASSWORD_LENGTH:
        validator.add_error(
            path, Constraint.TOO_LONG, f"The password must have at most {MAX_PASSWORD_LENGTH} characters."
        )
    elif _is_guessable(password, user_inputs):
        validator.add_error(
            path, Constraint.NOT_ALLOWED, "This password is among the first that anyone would try. Choose another."
        )


def _is_guessable(password: str, user_inputs: tuple[str, ...]) -> bool:
    lower = password.lower()
    base_word = lower.rstrip("0123456789!?.*#$")
    words = {*STORE_WORDS, *(part for text in user_inputs for part in (text.lower(), text.lower().partition("@")[0]))}
    return lower in load_common_passwords() or len(set(lower)) < 3 or lower in words or base_word in words


@cache
def load_common_passwords() -> frozenset[str]:
    """The thirty thousand most used ones, from zxcvbn's list."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # five megabytes that most commands do not need

    return frozenset(FREQUENCY_LISTS["passwords"])


def _encode(password: str) -> bytes:
    # NFC, so that the same keys typed on another machine give the same bytes
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
