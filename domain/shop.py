"""The shop: services and settings that the domain functions work with."""

import asyncio
import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from domain.auth.login_throttle import Throttles
from domain.auth.passwords import Passwords
from domain.auth.secret_key_check import SecretKeyCheck
from domain.auth.tokens import Tokens
from domain.payments import PaymentProvider
from domain.query_budget import RateLimiter
from persistence.browse.ttl_cache import SingleFlightCache
from persistence.linked_accounts import Provider
from persistence.postgres.database import Database


@dataclass(frozen=True, slots=True)
class Policy:
    """Business settings that the operator can change."""

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
        """Return the URL where a login with a provider starts; the provider redirects to `/callback` below it."""
        return f"{self.public_url}/auth/{provider.lower()}"


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts of events since the process started, for metrics."""

    user_errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By mutation and error code."""
    emails: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By kind, and by final status or `POSTPONED`, which counts each scheduled retry."""
    failed_oauth_logins: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By provider and reason."""


@dataclass(frozen=True, slots=True)
class Shop:
    """Services, settings and state of one server process."""

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
    """Limits concurrent checkouts, so that lock waits on a popular book leave connections for other requests."""
    pending_payments: set[asyncio.Task[Any]] = field(default_factory=set)
    """Payments in progress, whose clients may have disconnected. Shutdown waits for them."""
