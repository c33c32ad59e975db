"""The providers that one can sign in through."""

import secrets
import time
from typing import Protocol

from pydantic import BaseModel, Field

from domain.identities import Profile
from domain.shop import Policy
from persistence.identities import Provider
from server.settings import Settings


class ProviderDown(Exception):
    """It is away, or slow, or what it says makes no sense."""


class ProviderRefused(Exception):
    """It does not vouch for whoever has come."""


class Attempt(BaseModel, frozen=True):
    """What only the browser that began knows, kept in its cookie until it comes back."""

    state: str = Field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    nonce: str = Field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    verifier: str = Field(default_factory=lambda: secrets.token_urlsafe(48), repr=False)
    began: float = Field(default_factory=time.time)


class SignInProvider(Protocol):
    """Raises `ProviderDown` or `ProviderRefused`, wherever it asks."""

    async def address(self, attempt: Attempt) -> str:
        """Where to send the browser."""

    async def profile(self, attempt: Attempt, code: str, issuer: str | None) -> Profile:
        """Who has come back, for the code that they brought; `issuer` is who the answer says it is from."""


def configured(settings: Settings, policy: Policy) -> dict[str, SignInProvider]:
    """Those that are offered, by their names in addresses. The libraries they need are loaded for them alone."""
    found: dict[str, SignInProvider] = {}
    if settings.google_client_id and settings.google_client_secret:
        from server.providers.google import Google

        redirect_uri = f"{policy.sign_in_url(Provider.GOOGLE)}/callback"
        found["google"] = Google(
            settings.google_client_id, settings.google_client_secret, redirect_uri, settings.google_issuer
        )
    if settings.github_client_id and settings.github_client_secret:
        from server.providers.github import GitHub

        redirect_uri = f"{policy.sign_in_url(Provider.GITHUB)}/callback"
        found["github"] = GitHub(
            settings.github_client_id,
            settings.github_client_secret,
            redirect_uri,
            settings.github_url,
            settings.github_api_url,
        )
    return found
