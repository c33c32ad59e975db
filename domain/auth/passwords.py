"""Password hashing with argon2id, on a small thread pool that bounds memory under a flood of logins."""

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
"""Added to the niceness of hashing threads, so that logins do not slow down other requests."""
DUMMY_PASSWORD = "nobody's password"
STORE_WORDS = ("bookstore", "bookshop", "books", "library", "reader", "reading")


@cache
def _hash_dummy_password() -> str:
    """Return a hash with the default parameters; computed once for all applications in a process."""
    return PasswordHasher().hash(DUMMY_PASSWORD)


class Passwords:
    """Hashes and verifies passwords with argon2-cffi's defaults (RFC 9106, low memory): 64 MiB, 3 passes, 4 lanes."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2", initializer=_lower_priority)
        self._pending_count = 0
        self._dummy_hash = hasher.hash(DUMMY_PASSWORD) if hasher else _hash_dummy_password()

    async def hash(self, password: str) -> str:
        """Return the encoded argon2id hash.

        Raises:
            Overloaded: Too many passwords are queued.
        """
        return await self._run(lambda: self._hasher.hash(_encode(password)))

    async def verify(self, password: str, hash_: str | None) -> bool:
        """Return whether the password matches the hash.

        A missing hash (no account or no password) takes as long as a wrong password.

        Raises:
            Overloaded: Too many passwords are queued.
        """
        return await self._run(lambda: self._matches(password, hash_ or self._dummy_hash)) and bool(hash_)

    def is_outdated(self, hash_: str) -> bool:
        """Return whether the hash has other parameters than the hasher, so that it should be recomputed."""
        return self._hasher.check_needs_rehash(hash_)

    def close(self) -> None:
        """Cancel queued hashes and let the threads end."""
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
    if sys.platform == "linux":  # Linux has priorities per thread, which argon2's lanes inherit
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICE_INCREMENT)


def validate_password(validator: Validator, path: InputPath, password: str, min_length: int, *user_inputs: str) -> None:
    """Add an error when the password is too short, too long or easy to guess.

    Length is counted in code points. There are no composition rules. `user_inputs`, such as the email address, are easy
    to guess too.
    """
    if len(password) < min_length:
        validator.add_error(path, Constraint.TOO_SHORT, f"The password must have at least {min_length} characters.")
    elif len(password) > MAX_PASSWORD_LENGTH:
        validator.add_error(
            path, Constraint.TOO_LONG, f"The password must have at most {MAX_PASSWORD_LENGTH} characters."
        )
    elif _is_guessable(password, user_inputs):
        validator.add_error(path, Constraint.NOT_ALLOWED, "This password is easy to guess. Choose another.")


def _is_guessable(password: str, user_inputs: tuple[str, ...]) -> bool:
    lower = password.lower()
    base_word = lower.rstrip("0123456789!?.*#$")
    words = {*STORE_WORDS, *(part for text in user_inputs for part in (text.lower(), text.lower().partition("@")[0]))}
    return lower in load_common_passwords() or len(set(lower)) < 3 or lower in words or base_word in words


@cache
def load_common_passwords() -> frozenset[str]:
    """Return the 30,000 most common passwords in lower case, from zxcvbn's list."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # 5 MB; most commands do not need it

    return frozenset(FREQUENCY_LISTS["passwords"])


def _encode(password: str) -> bytes:
    # NFC, because platforms encode the same typed characters differently
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
