"""The providers that one can sign in through."""

import secrets
import time
from typing import Protocol

from pydantic import BaseModel, Field

from domain.auth.oauth import ProviderProfile
from domain.shop import Policy
from persistence.linked_accounts import Provider
from server.settings import Settings


class ProviderUnavailable(Exception):
    """It is away, or slow, or what it says makes no sense."""


class ProviderRefused(Exception):
    """It does not vouch for whoever has come."""


class AuthorizationState(BaseModel, frozen=True):
    """What only the browser that began knows, kept in its cookie until it comes back."""

    state: str = Field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    nonce: str = Field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    verifier: str = Field(default_factory=lambda: secrets.token_urlsafe(48), repr=False)
    started_at: float = Field(default_factory=time.time)


class SignInProvider(Protocol):
    """Raises `ProviderDown` or `ProviderRefused`, wherever it asks."""

    async def create_authorization_url(self, authorization: AuthorizationState) -> str:
        """Where to send the browser."""

    async def fetch_profile(self, authorization: AuthorizationState, code: str, issuer: str | None) -> ProviderProfile:
        """Who has come back, for the code that they brought; `issuer` is who the answer says it is from."""


def build_providers(settings: Settings, policy: Policy) -> dict[str, SignInProvider]:
    """Those that are offered, by their names in addresses. The libraries they need are loaded for them alone."""
    providers: dict[str, SignInProvider] = {}
    if settings.google_client_id and settings.google_client_secret:
        from server.oauth.google import Google

        redirect_uri = f"{policy.build_login_url(Provider.GOOGLE)}/callback"
        providers["google"] = Google(
            settings.google_client_id, settings.google_client_secret, redirect_uri, settings.google_issuer
        )
    if settings.github_client_id and settings.github_client_secret:
        from server.oauth.github import GitHub

        redirect_uri = f"{policy.build_login_url(Provider.GITHUB)}/callback"
        providers["github"] = GitHub(
            settings.github_client_id,
            settings.github_client_secret,
            redirect_uri,
            settings.github_url,
            settings.github_api_url,
        )
    return providers
