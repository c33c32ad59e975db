"""Throttling of logins and email requests: repeated attempts wait longer, from seconds to an hour.

An attempt is counted before any hash or lookup, so that parallel attempts count too. Success undoes the count.
"""

import datetime as dt
import hashlib
import hmac
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from domain.errors import RateLimited, UserError
from persistence.limits import throttles
from persistence.limits.throttles import Attempt
from persistence.postgres.database import Database, Transaction

HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff of one counter.

    After `free_attempts`, each attempt doubles the wait, from one second up to `max_delay`. The count expires after a
    day without attempts.
    """

    free_attempts: int
    max_delay: dt.timedelta = HOUR


@dataclass(frozen=True, slots=True)
class ThrottlePolicy:
    """Backoffs for one kind of attempt.

    `pair` counts by account and network address, `account` by account from any address, and `address` by network
    address for any account. Unless `counts_success` is set, a successful attempt is not counted.
    """

    name: str
    pair: Backoff | None = None
    account: Backoff | None = None
    address: Backoff | None = None
    counts_success: bool = False


LOGIN_POLICY = ThrottlePolicy("sign-in", pair=Backoff(5), account=Backoff(50, MINUTE), address=Backoff(50))
"""The account backoff is at most a minute and does not apply to addresses from which the account has logged in."""
REGISTRATION_POLICY = ThrottlePolicy("registration", address=Backoff(30), counts_success=True)
EMAIL_REQUEST_POLICY = ThrottlePolicy("letter", account=Backoff(3), address=Backoff(30), counts_success=True)
TOKEN_POLICY = ThrottlePolicy("token", address=Backoff(30))
PASSWORD_CHANGE_POLICY = ThrottlePolicy("password-change", account=Backoff(5))


@dataclass(frozen=True, slots=True)
class Throttles:
    """Counts attempts in the database, which stores only keyed hashes of accounts and addresses."""

    database: Database
    hash_key: bytes = field(repr=False)

    @asynccontextmanager
    async def attempt(self, policy: ThrottlePolicy, *, account: str = "", address: str = "") -> AsyncIterator[None]:
        """Count an attempt around the block.

        A user error raised in the block leaves the attempt counted. Any other exception undoes it, and so does success
        unless the policy counts successes.

        Raises:
            RateLimited: The caller has to wait before the next attempt.
        """
        account = account.strip().lower()
        known_pair = self._hash("known", account, address)
        attempts = self._build_attempts(policy, account, address)
        async with self.database.transaction() as tx:
            if policy.pair and await throttles.is_known(tx, known_pair):
                attempts.pop("account", None)
            wait = await _record_attempts(tx, attempts.values())
        if wait:  # raised after the commit, so that the counts stay
            raise RateLimited(wait)
        try:
            yield
        except UserError:
            raise
        except BaseException:
            await self._undo_attempts(attempts)
            raise
        if not policy.counts_success:
            await self._undo_attempts(attempts, known_pair if policy.pair else None)

    def _build_attempts(self, policy: ThrottlePolicy, account: str, address: str) -> dict[str, Attempt]:
        """Build the attempts of the policy by scope, in lock order."""
        scopes = {
            "pair": (policy.pair, account, address),
            "account": (policy.account, account, ""),
            "address": (policy.address, "", address),
        }
        return {
            scope: Attempt(self._hash(policy.name, scope, *identifiers), backoff.free_attempts, backoff.max_delay)
            for scope, (backoff, *identifiers) in scopes.items()
            if backoff
        }

    async def _undo_attempts(self, attempts: dict[str, Attempt], known_pair: bytes | None = None) -> None:
        """Undo one attempt per counter; a successful login resets its pair's counter and marks the pair as known."""
        async with self.database.transaction() as tx:
            for scope, attempt in attempts.items():
                await throttles.undo_attempt(tx, attempt.key, undo_all=known_pair is not None and scope == "pair")
            if known_pair is not None:
                await throttles.mark_known(tx, known_pair)

    def _hash(self, *parts: str) -> bytes:
        return hmac.digest(self.hash_key, "\0".join(parts).encode("utf-8", "surrogatepass"), hashlib.sha256)


async def _record_attempts(tx: Transaction, attempts: Iterable[Attempt]) -> int:
    """Record the attempts until one has to wait, and return that wait in seconds, or 0.

    An attempt that one counter rejects does not increase the next, so that one account's failures do not block others
    at the same address.
    """
    for attempt in attempts:
        if wait := await throttles.record_attempt(tx, attempt):
            return wait
    return 0
