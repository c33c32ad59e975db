"""The settings, read from the environment or `.env`, and the checks that they must pass.

The groups describe every setting. `just settings` writes `.env.example` and `docs/reference/settings.md` from them.
"""

import datetime as dt
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from server.settings.accounts import AccountSettings
from server.settings.database import DatabaseSettings
from server.settings.email import EmailSettings
from server.settings.http import HttpSettings
from server.settings.observability import ObservabilitySettings
from server.settings.shop import ShopSettings
from server.urls import is_secure_url

if TYPE_CHECKING:
    from domain.shop import Policy


class Environment(StrEnum):
    """Whether the server trusts its surroundings."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Settings(  # pydantic collects the fields of the last base first
    ObservabilitySettings, ShopSettings, EmailSettings, AccountSettings, HttpSettings, DatabaseSettings, BaseSettings
):
    """All settings of a process. Creating them raises `ValidationError` for invalid or missing ones."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    environment: Environment | None = Field(
        None,
        description="`development` or `production`. Unset: `production` if DATABASE_URL is set, else `development`.",
        examples=["development"],
    )

    @field_validator("secret_key", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _validate_production(self) -> Self:
        if self.is_production:
            if not self.database_url:
                raise ValueError("DATABASE_URL must be set in production")
            if not self.secret_key:
                raise ValueError("SECRET_KEY must be set in production: try `openssl rand -base64 48`")
            if not self.public_url:
                raise ValueError("PUBLIC_URL must be set in production, such as https://api.example.com")
        return self

    @model_validator(mode="after")
    def _validate_urls(self) -> Self:
        for name in ("public_url", "frontend_url", "google_issuer", "github_url", "github_api_url"):
            url = getattr(self, name)
            if url and not is_secure_url(url):
                raise ValueError(f"{name.upper()} must begin with https://, unless its host is localhost")
        return self

    @property
    def is_production(self) -> bool:
        """Whether the environment is production, by ENVIRONMENT or by a DATABASE_URL."""
        default = Environment.PRODUCTION if self.database_url else Environment.DEVELOPMENT
        return (self.environment or default) == Environment.PRODUCTION

    @property
    def serves_graphiql(self) -> bool:
        """Whether browsers get GraphiQL at the endpoint."""
        is_default = not self.is_production and not self.trusted_documents_only
        return is_default if self.graphiql is None else self.graphiql

    @property
    def allows_introspection(self) -> bool:
        """Whether clients can read the schema."""
        return not self.is_production if self.introspection is None else self.introspection

    @property
    def uses_json_logs(self) -> bool:
        """Whether log lines are JSON objects."""
        return (self.log_format or ("json" if self.is_production else "pretty")) == "json"

    @property
    def uses_refresh_cookie(self) -> bool:
        """Whether refresh tokens are sent in a cookie."""
        return self.is_production if self.refresh_token_cookie is None else self.refresh_token_cookie

    @property
    def issuer(self) -> str:
        """The server's own URL, also the issuer of access tokens."""
        return self.public_url or f"http://localhost:{self.port}"

    @property
    def policy(self) -> "Policy":
        """The settings that business rules depend on."""
        from domain.shop import Policy

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
