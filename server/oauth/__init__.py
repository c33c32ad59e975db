"""Sign-in through OAuth providers: what a provider offers, and which ones are configured."""

import secrets
import time
from typing import Protocol

from pydantic import BaseModel, Field

from domain.auth.oauth import ProviderProfile
from domain.shop import Policy
from persistence.linked_accounts import Provider
from server.settings import Settings


class ProviderUnavailable(Exception):
    """The provider does not respond in time, or its response is not valid."""


class ProviderRefused(Exception):
    """The provider does not confirm the sign-in."""


class AuthorizationState(BaseModel, frozen=True):
    """The secrets of one sign-in, stored in a cookie of the browser that started it."""

    state: str = Field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    nonce: str = Field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    verifier: str = Field(default_factory=lambda: secrets.token_urlsafe(48), repr=False)
    started_at: float = Field(default_factory=time.time)


class SignInProvider(Protocol):
    """A provider. Its methods raise `ProviderUnavailable` or `ProviderRefused`."""

    async def create_authorization_url(self, authorization: AuthorizationState) -> str:
        """Return the URL to redirect the browser to."""

    async def fetch_profile(self, authorization: AuthorizationState, code: str, issuer: str | None) -> ProviderProfile:
        """Return the user's profile for an authorization code; `issuer` is the one named in the callback."""


def build_providers(settings: Settings, policy: Policy) -> dict[str, SignInProvider]:
    """Return the configured providers by their names in URLs. Their libraries are loaded only if needed."""
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
