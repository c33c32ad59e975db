"""The settings of the HTTP server and the GraphQL endpoint."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, Field, field_validator, model_validator
from pydantic_settings import NoDecode

if TYPE_CHECKING:
    from persistence.limits.rate_limits import Rate


ORIGIN_PATTERN = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?", re.ASCII)
"""An origin as browsers send it: lower case, without a path. `*` is not accepted: every site could use the cookie."""


class HttpSettings(BaseModel):
    """HTTP and GraphQL."""

    host: str = Field("127.0.0.1", description="Address to listen on. `0.0.0.0` listens on all interfaces.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    public_url: str | None = Field(
        None,
        description="URL of this server as browsers see it. Required in production.",
        examples=["https://api.example.com"],
    )
    frontend_url: str | None = Field(
        None,
        description=(
            "URL of the frontend. Sign-ins through a provider end there, with a code or an error; emails link to its"
            " /verify-email, /reset-password and /books/SLUG. Unset: callbacks respond with JSON, and emails show tokens."
        ),
        examples=["https://www.example.com"],
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        [],
        description="Origins whose scripts may send requests and read responses, separated by commas.",
        examples=["https://www.example.com,https://admin.example.com"],
    )
    trusted_proxies: Annotated[list[str], NoDecode] = Field(
        [],
        description="Addresses or networks of proxies whose X-Forwarded-For is trusted, separated by commas.",
        examples=["10.0.0.0/8"],
    )
    graphiql: bool | None = Field(
        None, description="Serve GraphiQL at the endpoint. Unset: in development only.", examples=[True]
    )
    introspection: bool | None = Field(
        None,
        description="Allow introspection, and suggest names in errors. Unset: in development only.",
        examples=[True],
    )
    trusted_documents: Path | None = Field(
        None,
        description=(
            "List of the frontends' documents, written by `bookstore schema documents`"
            " (docs/how-to/trusted-documents.md)."
        ),
        examples=["trusted.json"],
    )
    trusted_documents_only: bool = Field(
        False, description="Reject documents that are not in TRUSTED_DOCUMENTS.", examples=[True]
    )
    engine: bool = Field(
        True, description="Compile documents. `false` executes them with graphql-core, several times slower."
    )
    rate_limit_burst: int = Field(
        50_000,
        ge=20_000,
        le=1_000_000_000,
        description="Cost units that a caller can spend at once (docs/reference/limits.md).",
    )
    rate_limit_per_second: int = Field(
        1_000, ge=0, le=1_000_000, description="Cost units that a caller regains per second. 0 disables rate limits."
    )
    rate_limit_storage: str | None = Field(
        None,
        repr=False,
        description=(
            "Where budgets are counted: `memory` for one process, `postgresql` for several."
            " Unset: `memory`, or `postgresql` for `serve --workers N`."
        ),
        examples=["postgresql"],
    )
    cache_seconds: int | None = Field(
        None,
        ge=0,
        le=86_400,
        description=(
            "How long caches may store anonymous GET responses (docs/how-to/cache.md)."
            " Unset: the lifetimes that fields declare."
        ),
        examples=[1],
    )
    drain_seconds: float = Field(
        0,
        ge=0,
        le=120,
        description=(
            "How long requests are accepted after SIGTERM while /ready responds 503."
            " Set it to more than the load balancer takes to notice."
        ),
    )

    @field_validator("cors_origins")
    @classmethod
    def _validate_origins(cls, values: list[str]) -> list[str]:
        for value in values:
            if not ORIGIN_PATTERN.fullmatch(value):
                raise ValueError(f"must be origins such as https://www.example.com, but {value!r} is not one")
        return values

    @field_validator("trusted_proxies")
    @classmethod
    def _validate_networks(cls, values: list[str]) -> list[str]:
        for value in values:
            try:
                ip_network(value)
            except ValueError:
                raise ValueError(
                    f"must be addresses or networks such as 10.0.0.0/8, but {value!r} is not one"
                ) from None
        return values

    @field_validator("rate_limit_storage")
    @classmethod
    def _validate_storage(cls, value: str | None) -> str | None:
        if value not in (None, "memory", "postgresql"):
            hint = "; the Redis storage was removed, use postgresql" if "://" in str(value) else ""
            raise ValueError(f"must be memory or postgresql{hint}")
        return value

    @model_validator(mode="after")
    def _validate_trusted_documents(self) -> Self:
        if self.trusted_documents_only and not self.trusted_documents:
            raise ValueError("TRUSTED_DOCUMENTS must name a list if TRUSTED_DOCUMENTS_ONLY is on")
        if self.trusted_documents_only and self.graphiql:
            raise ValueError("GRAPHIQL cannot be used with TRUSTED_DOCUMENTS_ONLY: turn one of them off")
        return self

    @property
    def rate_limit(self) -> "Rate | None":
        """The budget of each caller, or `None` if budgets are disabled."""
        from persistence.limits.rate_limits import Rate

        return Rate(self.rate_limit_burst, self.rate_limit_per_second) if self.rate_limit_per_second else None
