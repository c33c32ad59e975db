"""The shop: what its domain functions are handed to work with."""

import asyncio
import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from domain.auth.login_throttle import Throttles
from domain.auth.passwords import Passwords
from domain.auth.secret_key_check import SecretKeyCheck
from domain.auth.tokens import Tokens
from domain.counters import Counters
from domain.payments import PaymentProvider
from domain.query_budget import RateLimiter
from persistence.browse.ttl_cache import SingleFlightCache
from persistence.linked_accounts import Provider
from persistence.postgres.database import Database


@dataclass(frozen=True, slots=True)
class Policy:
    """What a shopkeeper may decide differently."""

    currency: str = "EUR"
    low_stock_threshold: int = 5
    password_min_length: int = 8
    access_token_lifetime: dt.timedelta = dt.timedelta(minutes=15)
    refresh_token_lifetime: dt.timedelta = dt.timedelta(days=7)
    session_lifetime: dt.timedelta = dt.timedelta(days=30)
    refresh_grace: dt.timedelta = dt.timedelta(0)
    sweep_after: dt.timedelta = dt.timedelta(minutes=2)
    public_url: str = "http://localhost:8000"
    frontend_url: str | None = None
    time_zone: str = "UTC"
    providers: tuple[Provider, ...] = ()

    def build_login_url(self, provider: Provider) -> str:
        """Where a sign-in through a provider begins; the provider sends the browser back to `/callback` below it."""
        return f"{self.public_url}/auth/{provider.lower()}"


@dataclass(frozen=True, slots=True)
class Shop:
    database: Database
    payments: PaymentProvider
    passwords: Passwords
    tokens: Tokens
    throttles: Throttles
    rate_limiter: RateLimiter
    secret_key_check: SecretKeyCheck
    policy: Policy = Policy()
    count_cache: SingleFlightCache = field(default_factory=SingleFlightCache)
    counters: Counters = field(default_factory=Counters)
    checkout_slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(5))
    """How many checkouts may be in the database at once: a book that all want must leave connections for the rest."""
    pending_payments: set[asyncio.Task[Any]] = field(default_factory=set)
    """Payments whose customers may have gone; they are finished before the shop closes."""
