"""How often somebody may try: guesses and letters get slower, from seconds to an hour.

A try is counted before anything is hashed or looked up, so parallel tries count too, and is given back when it was right.
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
    """After `free` tries each one doubles the wait, from a second to `longest`. A day without a try forgets them."""

    free_attempts: int
    max_delay: dt.timedelta = HOUR


@dataclass(frozen=True, slots=True)
class ThrottlePolicy:
    """Rules for one sort of try: by account from one address, by account from anywhere, by address for any account."""

    name: str
    pair: Backoff | None = None
    account: Backoff | None = None
    address: Backoff | None = None
    counts_success: bool = False


LOGIN_POLICY = ThrottlePolicy("sign-in", pair=Backoff(5), account=Backoff(50, MINUTE), address=Backoff(50))
"""From anywhere an account waits a minute at most, and where it has been signed in to before, not at all."""
REGISTRATION_POLICY = ThrottlePolicy("registration", address=Backoff(30), counts_success=True)
EMAIL_REQUEST_POLICY = ThrottlePolicy("letter", account=Backoff(3), address=Backoff(30), counts_success=True)
TOKEN_POLICY = ThrottlePolicy("token", address=Backoff(30))
PASSWORD_CHANGE_POLICY = ThrottlePolicy("password-change", account=Backoff(5))


@dataclass(frozen=True, slots=True)
class Throttles:
    """`key` keeps accounts and addresses out of the table in readable form."""

    database: Database
    hash_key: bytes = field(repr=False)

    @asynccontextmanager
    async def attempt(self, policy: ThrottlePolicy, *, account: str = "", address: str = "") -> AsyncIterator[None]:
        """Raises `TooOften`. A refusal in the block stays counted; when the block succeeds, the try was none."""
        account = account.strip().lower()
        known_pair = self._hash("known", account, address)
        attempts = self._build_attempts(policy, account, address)
        async with self.database.transaction() as tx:
            if policy.pair and await throttles.is_known(tx, known_pair):
                attempts.pop("account", None)
            wait = await _record_attempts(tx, attempts.values())
        if wait:  # committed: what was counted stays so
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
        """In the order in which everybody locks them."""
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
        """What was right forgets the wrong tries of its pair, and no others'."""
        async with self.database.transaction() as tx:
            for scope, attempt in attempts.items():
                await throttles.undo_attempt(tx, attempt.key, undo_all=known_pair is not None and scope == "pair")
            if known_pair is not None:
                await throttles.mark_known(tx, known_pair)

    def _hash(self, *parts: str) -> bytes:
        return hmac.digest(self.hash_key, "\0".join(parts).encode("utf-8", "surrogatepass"), hashlib.sha256)


async def _record_attempts(tx: Transaction, attempts: Iterable[Attempt]) -> int:
    """Seconds. What is refused by one count does not burden the next: a neighbour's wrong tries are not the house's."""
    for attempt in attempts:
        if wait := await throttles.record_attempt(tx, attempt):
            return wait
    return 0
