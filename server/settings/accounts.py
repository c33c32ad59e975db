"""The settings of keys, sessions and sign-in providers."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, Field, model_validator
from pydantic_settings import NoDecode

if TYPE_CHECKING:
    from persistence.linked_accounts import Provider


MIN_SECRET_BYTES = 32  # bytes
MIN_DISTINCT_CHARACTERS = 8
WEAK_SECRETS = ("changeme", "change-me", "secret", "password", "development", "insecure", "example", "your-secret")


class AccountSettings(BaseModel):
    """Accounts and sessions."""

    secret_key: Annotated[list[str], NoDecode] = Field(
        [],
        repr=False,
        description=(
            "At least 32 random bytes, such as `openssl rand -base64 48`; several keys separated by commas: the first"
            " signs, all verify (docs/how-to/rotate-keys.md). Required in production."
        ),
        examples=[""],
    )
    access_token_minutes: int = Field(15, ge=1, le=24 * 60, description="Lifetime of an access token.")
    refresh_token_days: int = Field(7, ge=1, le=365, description="Lifetime of a refresh token.")
    session_max_days: int = Field(30, ge=1, le=365, description="Lifetime of a session, however often it is refreshed.")
    refresh_grace_seconds: int = Field(
        0, ge=0, le=60, description="How long a used refresh token is accepted again, for clients that lose responses."
    )
    refresh_token_cookie: bool | None = Field(
        None,
        description="Send refresh tokens in a cookie that scripts cannot read. Unset: in production only.",
        examples=[True],
    )
    password_min_length: int = Field(8, ge=8, le=64, description="Minimum length of a password, in characters.")
    google_client_id: str | None = Field(
        None,
        description="OAuth client of Google. Register PUBLIC_URL/auth/google/callback as its redirect URI.",
        examples=[""],
    )
    google_client_secret: str | None = Field(
        None, repr=False, description="Secret of the client of Google.", examples=[""]
    )
    google_issuer: str = Field("https://accounts.google.com", description="Issuer of Google's ID tokens.")
    github_client_id: str | None = Field(
        None,
        description="OAuth client of GitHub. Register PUBLIC_URL/auth/github/callback as its callback URL.",
        examples=[""],
    )
    github_client_secret: str | None = Field(
        None, repr=False, description="Secret of the client of GitHub.", examples=[""]
    )
    github_url: str = Field("https://github.com", description="URL of GitHub's sign-in pages.")
    github_api_url: str = Field("https://api.github.com", description="URL of GitHub's API.")

    @model_validator(mode="after")
    def _validate_secret_keys(self) -> Self:
        for secret in self.secret_key:
            if len(secret.encode()) < MIN_SECRET_BYTES:
                raise ValueError(
                    f"SECRET_KEY must have at least {MIN_SECRET_BYTES} bytes: try `openssl rand -base64 48`"
                )
            if len(set(secret)) < MIN_DISTINCT_CHARACTERS or any(word in secret.lower() for word in WEAK_SECRETS):
                raise ValueError("SECRET_KEY can be guessed: try `openssl rand -base64 48`")
        return self

    @model_validator(mode="after")
    def _validate_providers(self) -> Self:
        for provider in ("GOOGLE", "GITHUB"):
            id_, secret = f"{provider}_CLIENT_ID", f"{provider}_CLIENT_SECRET"
            if bool(getattr(self, id_.lower())) != bool(getattr(self, secret.lower())):
                raise ValueError(f"{id_} and {secret} must be set together, or neither of them")
        return self

    @property
    def providers(self) -> "tuple[Provider, ...]":
        """The configured sign-in providers, in the order of their buttons."""
        from persistence.linked_accounts import Provider

        configured = {Provider.GOOGLE: self.google_client_id, Provider.GITHUB: self.github_client_id}
        return tuple(provider for provider, client_id in configured.items() if client_id)


def load_or_create_secret(data: Path) -> str:
    """Return the secret in the data folder; create it, readable by its owner only, if there is none."""
    path = data / "secret_key"
    data.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=data, prefix="secret_key.") as file:  # created with mode 0600
            file.write(secrets.token_urlsafe(48))
            file.flush()
            with contextlib.suppress(FileExistsError):  # another process was faster
                os.link(file.name, path)  # atomic
    return path.read_text()
