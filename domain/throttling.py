"""How often somebody may try: guesses and letters get slower, from seconds to an hour.

A try is counted before anything is hashed or looked up, so parallel tries count too, and is given back when it was right.
"""

import datetime as dt
import hashlib
import hmac
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from domain.errors import Refusal, TooOften
from persistence import throttles
from persistence.database import Database, Transaction
from persistence.throttles import Claim

HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """After `free` tries each one doubles the wait, from a second to `longest`. A day without a try forgets them."""

    free: int
    longest: dt.timedelta = HOUR


@dataclass(frozen=True, slots=True)
class Kind:
    """Rules for one sort of try: by account from one address, by account from anywhere, by address for any account."""

    name: str
    pair: Rule | None = None
    account: Rule | None = None
    address: Rule | None = None
    counts_success: bool = False


SIGN_IN = Kind("sign-in", pair=Rule(5), account=Rule(50, MINUTE), address=Rule(50))
"""From anywhere an account waits a minute at most, and where it has been signed in to before, not at all."""
REGISTRATION = Kind("registration", address=Rule(30), counts_success=True)
LETTER = Kind("letter", account=Rule(3), address=Rule(30), counts_success=True)
TOKEN = Kind("token", address=Rule(30))
PASSWORD_CHANGE = Kind("password-change", account=Rule(5))


@dataclass(frozen=True, slots=True)
class Throttles:
    """`key` keeps accounts and addresses out of the table in readable form."""

    database: Database
    key: bytes = field(repr=False)

    @asynccontextmanager
    async def trying(self, kind: Kind, *, account: str = "", address: str = "") -> AsyncIterator[None]:
        """Raises `TooOften`. A refusal in the block stays counted; when the block succeeds, the try was none."""
        account = account.strip().lower()
        known = self._digest("known", account, address)
        claims = self._claims(kind, account, address)
        async with self.database.transaction() as tx:
            if kind.pair and await throttles.is_there(tx, known):
                claims.pop("account", None)
            wait = await _first_wait(tx, claims.values())
        if wait:  # committed: what was counted stays so
            raise TooOften(wait)
        try:
            yield
        except Refusal:
            raise
        except BaseException:
            await self._give_back(claims)
            raise
        if not kind.counts_success:
            await self._give_back(claims, known if kind.pair else None)

    def _claims(self, kind: Kind, account: str, address: str) -> dict[str, Claim]:
        """In the order in which everybody locks them."""
        scopes = {
            "pair": (kind.pair, account, address),
            "account": (kind.account, account, ""),
            "address": (kind.address, "", address),
        }
        return {
            scope: Claim(self._digest(kind.name, scope, *whose), rule.free, rule.longest)
            for scope, (rule, *whose) in scopes.items()
            if rule
        }

    async def _give_back(self, claims: dict[str, Claim], known: bytes | None = None) -> None:
        """What was right forgets the wrong tries of its pair, and no others'."""
        async with self.database.transaction() as tx:
            for scope, claim in claims.items():
                await throttles.give_back(tx, claim.key, wholly=known is not None and scope == "pair")
            if known is not None:
                await throttles.remember(tx, known)

    def _digest(self, *parts: str) -> bytes:
        return hmac.digest(self.key, "\0".join(parts).encode("utf-8", "surrogatepass"), hashlib.sha256)


async def _first_wait(tx: Transaction, claims: Iterable[Claim]) -> int:
    """Seconds. What is refused by one count does not burden the next: a neighbour's wrong tries are not the house's."""
    for claim in claims:
        if wait := await throttles.claim(tx, claim):
            return wait
    return 0
