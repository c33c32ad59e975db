"""Sign in with GitHub: OAuth 2, and two requests to its API."""

from typing import Annotated

from authlib.integrations.httpx_client import AsyncOAuth2Client
from pydantic import BaseModel, Field, TypeAdapter

from domain.auth.oauth import ProviderProfile
from persistence.linked_accounts import Provider
from server.oauth import AuthorizationState, ProviderRefused
from server.oauth.http import ClientRegistration, exchange_code, get_json, validate_account_id


class AccessTokenResponse(BaseModel):
    """GitHub's response to the authorization code."""

    access_token: str


class GitHubUser(BaseModel):
    """GitHub's response for the user."""

    id: Annotated[int, Field(strict=True)]
    name: str | None = None


class GitHubEmail(BaseModel):
    """An email address of a GitHub user."""

    email: str
    primary: Annotated[bool, Field(strict=True)]
    verified: Annotated[bool, Field(strict=True)]


class GitHub:
    """GitHub, or GitHub Enterprise at another URL."""

    def __init__(self, client_id: str, client_secret: str, redirect_uri: str, url: str, api_url: str) -> None:
        self._registration = ClientRegistration(client_id, client_secret, redirect_uri)
        self._url = url.rstrip("/")
        self._api_url = api_url.rstrip("/")

    async def create_authorization_url(self, authorization: AuthorizationState) -> str:
        """Return the URL of GitHub's sign-in page."""
        async with self._create_client() as client:
            url, _ = client.create_authorization_url(
                f"{self._url}/login/oauth/authorize", authorization.state, authorization.verifier
            )
            return str(url)

    async def fetch_profile(self, authorization: AuthorizationState, code: str, issuer: str | None) -> ProviderProfile:
        """Return the profile, with the primary email address."""
        if issuer not in (None, f"{self._url}/login/oauth"):
            raise ProviderRefused("The response is from another issuer.")
        async with self._create_client() as client:
            token_url = f"{self._url}/login/oauth/access_token"
            token_response = await exchange_code(client, token_url, authorization, code, AccessTokenResponse)
            headers = {
                "authorization": f"Bearer {token_response.access_token}",
                "accept": "application/vnd.github+json",
            }
            user = await get_json(client, f"{self._api_url}/user", TypeAdapter(GitHubUser), headers)
            emails = await get_json(client, f"{self._api_url}/user/emails", TypeAdapter(list[GitHubEmail]), headers)
        primary = next((email for email in emails if email.primary), None)
        return ProviderProfile(
            provider=Provider.GITHUB,
            account_id=validate_account_id(str(user.id)),
            email=primary.email if primary else None,
            is_email_verified=primary is not None and primary.verified,
            name=user.name,
        )

    def _create_client(self) -> AsyncOAuth2Client:
        return self._registration.create_client("read:user user:email", token_endpoint_auth_method="client_secret_post")  # noqa: S106  # the name of a method
