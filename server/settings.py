"""Settings from the environment or `.env`, and the refusals of what production may not have."""

import contextlib
import datetime as dt
import os
import re
import secrets
import tempfile
from email.headerregistry import Address
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from babel.numbers import get_currency_precision, list_currencies
from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain.shop import Policy
from persistence.limits.rate_limits import Rate
from persistence.linked_accounts import Provider
from persistence.postgres.database import PoolSettings
from server.mail.smtp_url import SmtpServer, is_local

MIN_SECRET_BYTES = 32  # bytes
MIN_DISTINCT_CHARACTERS = 8  # different characters
WEAK_SECRETS = ("changeme", "change-me", "secret", "password", "development", "insecure", "example", "your-secret")

OptionalSecret = Annotated[str | None, Field(repr=False)]
"""What is, or may have in it, a password."""


class Environment(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    environment: Environment | None = None
    database_url: OptionalSecret = None
    database_read_url: OptionalSecret = None
    database_direct_url: OptionalSecret = None
    prepared_statements: bool = True
    pool_size: Annotated[int, Field(ge=1, le=200)] = 5
    pool_max_overflow: Annotated[int, Field(ge=0, le=200)] = 10
    pool_recycle_seconds: Annotated[int, Field(ge=1)] = 1800
    pool_timeout_seconds: Annotated[float, Field(gt=0)] = 2
    secret_key: Annotated[list[str], NoDecode, Field(repr=False)] = []
    public_url: str | None = None
    frontend_url: str | None = None
    currency: str = "EUR"
    time_zone: str = "UTC"
    access_token_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 15
    refresh_token_days: Annotated[int, Field(ge=1, le=365)] = 7
    session_max_days: Annotated[int, Field(ge=1, le=365)] = 30
    refresh_grace_seconds: Annotated[int, Field(ge=0, le=60)] = 0
    refresh_token_cookie: bool | None = None
    google_client_id: str | None = None
    google_client_secret: OptionalSecret = None
    google_issuer: str = "https://accounts.google.com"
    github_client_id: str | None = None
    github_client_secret: OptionalSecret = None
    github_url: str = "https://github.com"
    github_api_url: str = "https://api.github.com"
    smtp_url: OptionalSecret = None
    mail_from: str = "shop@localhost"
    mail_suppress_send: bool = False
    mail_folder: Path = Path(".bookstore/mail")
    worker: bool = True
    password_min_length: Annotated[int, Field(ge=8, le=64)] = 8
    graphiql: bool | None = None
    introspection: bool | None = None
    engine: bool = True
    trusted_documents: Path | None = None
    trusted_documents_only: bool = False
    cache_seconds: Annotated[int | None, Field(ge=0, le=86_400)] = None
    cors_origins: Annotated[list[str], NoDecode] = []
    trusted_proxies: Annotated[list[str], NoDecode] = []
    rate_limit_storage: OptionalSecret = None
    rate_limit_burst: Annotated[int, Field(ge=20_000, le=1_000_000_000)] = 50_000
    rate_limit_per_second: Annotated[int, Field(ge=0, le=1_000_000)] = 1_000
    low_stock_threshold: Annotated[int, Field(ge=1, le=1_000_000)] = 5
    sweep_after_seconds: Annotated[int, Field(ge=1)] = 120
    sweep_every_seconds: Annotated[float, Field(gt=0)] = 5
    drain_seconds: Annotated[float, Field(ge=0, le=120)] = 0
    log_level: Annotated[str, Field(pattern="(?i)^(debug|info|warning|error)$")] = "info"
    log_format: Annotated[str | None, Field(pattern="^(pretty|json)$")] = None
    otel_exporter_otlp_endpoint: str | None = None
    otel_service_name: str = "bookstore"
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 1.0
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000

    @field_validator("secret_key", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _validate_origins(cls, values: list[str]) -> list[str]:
        for value in values:
            if not _ORIGIN_PATTERN.fullmatch(value):
                raise ValueError(f"must be origins such as https://www.example.com, and {value!r} is none")
        return values

    @field_validator("trusted_proxies")
    @classmethod
    def _validate_networks(cls, values: list[str]) -> list[str]:
        for value in values:
            try:
                ip_network(value)
            except ValueError:
                raise ValueError(f"must be addresses or networks such as 10.0.0.0/8, and {value!r} is none") from None
        return values

    @field_validator("rate_limit_storage")
    @classmethod
    def _validate_storage(cls, value: str | None) -> str | None:
        if value not in (None, "memory", "postgresql") and not value.startswith(("redis://", "rediss://")):
            raise ValueError("must be memory, postgresql, or an address such as redis://localhost:6379/0")
        return value

    @field_validator("currency")
    @classmethod
    def _validate_currency(cls, value: str) -> str:
        if value not in list_currencies():
            raise ValueError("is not an ISO 4217 code such as EUR")
        if get_currency_precision(value) != 2:
            raise ValueError("is a currency without two decimals, which prices here have")
        return value

    @field_validator("time_zone")
    @classmethod
    def _validate_time_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):  # unknown, no name of one, or a folder of them
            raise ValueError("is not a time zone such as Europe/Berlin") from None
        return value

    @field_validator("smtp_url")
    @classmethod
    def _validate_smtp_url(cls, value: str | None) -> str | None:
        if value is not None:
            SmtpServer.parse(value)
        return value

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _validate_otlp_endpoint(cls, value: str | None) -> str | None:
        if value is not None and not (value.startswith(("http://", "https://")) and urlsplit(value).hostname):
            raise ValueError("must be an address such as http://localhost:4318, where OTLP is spoken over HTTP")
        return value

    @field_validator("mail_from")
    @classmethod
    def _validate_mail_from(cls, value: str) -> str:
        _parse_mailbox(value)
        return value

    @model_validator(mode="after")
    def _validate_database_urls(self) -> Self:
        for name in ("database_url", "database_read_url", "database_direct_url"):
            url = getattr(self, name)
            if url and not url.startswith(("postgresql://", "postgres://", "postgresql+asyncpg://")):
                raise ValueError(f"{name.upper()} must begin with postgresql://")
            if url and not self.database_url:
                raise ValueError(f"{name.upper()} stands beside DATABASE_URL, where writes go: set that, too")
        if not self.prepared_statements and not self.database_direct_url:
            raise ValueError(
                "PREPARED_STATEMENTS=false is for a pooler at DATABASE_URL: set DATABASE_DIRECT_URL"
                " to the address past it, for migrations and for the letters"
            )
        return self

    @model_validator(mode="after")
    def _validate_production(self) -> Self:
        for secret in self.secret_key:
            if len(secret.encode()) < MIN_SECRET_BYTES:
                raise ValueError(
                    f"SECRET_KEY must have at least {MIN_SECRET_BYTES} bytes: try `openssl rand -base64 48`"
                )
            if len(set(secret)) < MIN_DISTINCT_CHARACTERS or any(word in secret.lower() for word in WEAK_SECRETS):
                raise ValueError("SECRET_KEY is one that can be guessed: try `openssl rand -base64 48`")
        if self.is_production:
            if not self.database_url:
                raise ValueError("DATABASE_URL must be set in production")
            if not self.secret_key:
                raise ValueError("SECRET_KEY must be set in production: try `openssl rand -base64 48`")
            if not self.public_url:
                raise ValueError("PUBLIC_URL must be set in production, such as https://api.example.com")
        for name in ("public_url", "frontend_url", "google_issuer", "github_url", "github_api_url"):
            url = getattr(self, name)
            if url and not _is_secure_url(url):
                raise ValueError(f"{name.upper()} must begin with https://, unless its host is localhost")
        for provider in ("GOOGLE", "GITHUB"):
            id_, secret = f"{provider}_CLIENT_ID", f"{provider}_CLIENT_SECRET"
            if bool(getattr(self, id_.lower())) != bool(getattr(self, secret.lower())):
                raise ValueError(f"{id_} and {secret} must be set together, or neither of them")
        if self.trusted_documents_only and not self.trusted_documents:
            raise ValueError("TRUSTED_DOCUMENTS must name the list when TRUSTED_DOCUMENTS_ONLY is on")
        if self.trusted_documents_only and self.graphiql:
            raise ValueError("GRAPHIQL asks what is on no list: turn it off, or TRUSTED_DOCUMENTS_ONLY")
        return self

    @property
    def is_production(self) -> bool:
        return (
            self.environment or (Environment.PRODUCTION if self.database_url else Environment.DEVELOPMENT)
        ) == "production"

    @property
    def serves_graphiql(self) -> bool:
        is_default = not self.is_production and not self.trusted_documents_only
        return is_default if self.graphiql is None else self.graphiql

    @property
    def allows_introspection(self) -> bool:
        return not self.is_production if self.introspection is None else self.introspection

    @property
    def uses_json_logs(self) -> bool:
        return (self.log_format or ("json" if self.is_production else "pretty")) == "json"

    @property
    def issuer(self) -> str:
        return self.public_url or f"http://localhost:{self.port}"

    @property
    def sender(self) -> Address:
        return _parse_mailbox(self.mail_from)

    @property
    def uses_refresh_cookie(self) -> bool:
        return self.is_production if self.refresh_token_cookie is None else self.refresh_token_cookie

    @property
    def providers(self) -> tuple[Provider, ...]:
        """Those that are configured, in the order of the buttons."""
        configured = {Provider.GOOGLE: self.google_client_id, Provider.GITHUB: self.github_client_id}
        return tuple(provider for provider, client_id in configured.items() if client_id)

    @property
    def pool(self) -> PoolSettings:
        return PoolSettings(
            self.pool_size, self.pool_max_overflow, self.pool_recycle_seconds, self.pool_timeout_seconds
        )

    @property
    def rate_limit(self) -> Rate | None:
        """`None` where callers have no budgets."""
        return Rate(self.rate_limit_burst, self.rate_limit_per_second) if self.rate_limit_per_second else None

    @property
    def policy(self) -> Policy:
        return Policy(
            currency=self.currency,
            low_stock_threshold=self.low_stock_threshold,
            password_min_length=self.password_min_length,
            access_token_lifetime=dt.timedelta(minutes=self.access_token_minutes),
            refresh_token_lifetime=dt.timedelta(days=self.refresh_token_days),
            session_lifetime=dt.timedelta(days=self.session_max_days),
            refresh_grace=dt.timedelta(seconds=self.refresh_grace_seconds),
            sweep_after=dt.timedelta(seconds=self.sweep_after_seconds),
            public_url=self.issuer.rstrip("/"),
            frontend_url=self.frontend_url,
            time_zone=self.time_zone,
            providers=self.providers,
        )


def _parse_mailbox(text: str) -> Address:
    """Raises `ValueError` for what is not exactly one, written as in a header."""
    match = _MAILBOX_PATTERN.fullmatch(text.strip())
    if match is None or not text.isprintable():
        raise ValueError("must be one address, such as shop@example.com or Bookstore <shop@example.com>")
    name, bracketed, bare = match.groups()
    username, _, domain = (bracketed or bare).partition("@")
    return Address((name or "").strip(' "') or "Bookstore", username, domain)


_EMAIL_PATTERN = r"[\w.!#$%&'*+/=?^`{|}~-]+@[A-Za-z0-9.-]+"
_MAILBOX_PATTERN = re.compile(rf"([^<>@]*)<({_EMAIL_PATTERN})>|({_EMAIL_PATTERN})", re.ASCII)


_ORIGIN_PATTERN = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?", re.ASCII)
"""As browsers write it: in small letters, without a path. `*` is none: the shop's own cookie would be read anywhere."""


def _is_secure_url(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_local(parts.hostname or ""))
    )


def load_or_create_secret(data: Path) -> str:
    """Made once beside the embedded data, readable by its owner alone."""
    path = data / "secret_key"
    data.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=data, prefix="secret_key.") as file:  # its owner's alone, 0600
            file.write(secrets.token_urlsafe(48))
            file.flush()
            with contextlib.suppress(FileExistsError):  # somebody else's was first
                os.link(file.name, path)  # whole, or not at all
    return path.read_text()
