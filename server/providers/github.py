"""GitHub: OAuth 2, and two questions to its API."""

from typing import Annotated

from authlib.integrations.httpx_client import AsyncOAuth2Client
from pydantic import BaseModel, Field, TypeAdapter

from domain.identities import Profile
from persistence.identities import Provider
from server.providers import Attempt, ProviderRefused
from server.providers.asking import Registration, account_told, read, traded


class AccessTokenAnswer(BaseModel):
    access_token: str


class GitHubUser(BaseModel):
    id: Annotated[int, Field(strict=True)]
    name: str | None = None


class GitHubEmail(BaseModel):
    email: str
    primary: Annotated[bool, Field(strict=True)]
    verified: Annotated[bool, Field(strict=True)]


class GitHub:
    def __init__(self, client_id: str, client_secret: str, redirect_uri: str, url: str, api_url: str) -> None:
        self._registration = Registration(client_id, client_secret, redirect_uri)
        self._url = url.rstrip("/")
        self._api_url = api_url.rstrip("/")

    async def address(self, attempt: Attempt) -> str:
        async with self._client() as client:
            url, _ = client.create_authorization_url(
                f"{self._url}/login/oauth/authorize", attempt.state, attempt.verifier
            )
            return str(url)

    async def profile(self, attempt: Attempt, code: str, issuer: str | None) -> Profile:
        if issuer not in (None, f"{self._url}/login/oauth"):
            raise ProviderRefused("The answer is from another issuer.")
        async with self._client() as client:
            address = f"{self._url}/login/oauth/access_token"
            answer = await traded(client, address, attempt, code, AccessTokenAnswer)
            headers = {"authorization": f"Bearer {answer.access_token}", "accept": "application/vnd.github+json"}
            user = await read(client, f"{self._api_url}/user", TypeAdapter(GitHubUser), headers)
            emails = await read(client, f"{self._api_url}/user/emails", TypeAdapter(list[GitHubEmail]), headers)
        primary = next((email for email in emails if email.primary), None)
        return Profile(
            provider=Provider.GITHUB,
            account=account_told(str(user.id)),
            email=primary.email if primary else None,
            email_is_verified=primary is not None and primary.verified,
            name=user.name,
        )

    def _client(self) -> AsyncOAuth2Client:
        return self._registration.client("read:user user:email", token_endpoint_auth_method="client_secret_post")  # noqa: S106  # no secret
