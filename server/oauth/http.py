"""Send requests to providers, with timeouts, and validate their responses."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from pydantic import BaseModel, TypeAdapter

from domain.validation import is_printable
from server.oauth import AuthorizationState, ProviderRefused, ProviderUnavailable

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

REQUEST_TIMEOUT = 5  # seconds, for each response
MAX_ACCOUNT_ID_LENGTH = 255
RESPONSE_ERRORS = (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ValueError, RecursionError)
"""Invalid or unexpected JSON raises ValueError; JSON that is nested too deeply, RecursionError."""


@dataclass(frozen=True, slots=True)
class ClientRegistration:
    """The shop's registration at a provider."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    ssl_context: ssl.SSLContext = field(default_factory=httpx2.create_ssl_context, repr=False)
    """Shared by all clients, because creating one is slow."""

    def create_client(self, scope: str, **options: Any) -> AsyncOAuth2Client:
        """Return a client for one sign-in."""
        return AsyncOAuth2Client(
            self.client_id,
            self.client_secret,
            scope=scope,
            redirect_uri=self.redirect_uri,
            code_challenge_method="S256",
            timeout=REQUEST_TIMEOUT,
            verify=self.ssl_context,
            **options,
        )


@asynccontextmanager
async def _translate_errors(url: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT):
            yield
    except RESPONSE_ERRORS as error:
        raise ProviderUnavailable(f"{url}: {type(error).__name__}") from error


async def get_json(
    client: AsyncOAuth2Client, url: str, type_adapter: TypeAdapter[T], headers: dict[str, str] | None = None
) -> T:
    """Return the validated JSON at a URL of the provider.

    Raises:
        ProviderUnavailable: there is no valid response in time.
    """
    async with _translate_errors(url):
        response = await client.request("GET", url, withhold_token=True, headers=headers)
        response.raise_for_status()
        return type_adapter.validate_json(response.content)


async def exchange_code(
    client: AsyncOAuth2Client, url: str, authorization: AuthorizationState, code: str, model: type[M]
) -> M:
    """Exchange the authorization code for the provider's tokens.

    Raises:
        ProviderRefused: the provider does not accept the code.
        ProviderUnavailable: there is no valid response in time.
    """
    try:
        async with _translate_errors(url):
            response = await client.fetch_token(
                url, grant_type="authorization_code", code=code, code_verifier=authorization.verifier
            )
            return model.model_validate(response)
    except OAuthError as error:
        raise ProviderRefused(f"{url}: {error.error}") from error
    except (TypeError, AttributeError, KeyError) as error:  # authlib fails on JSON that is not an object
        raise ProviderUnavailable(f"{url}: {type(error).__name__}") from error


def validate_account_id(account_id: str) -> str:
    """Return a provider's account id.

    Raises:
        ProviderUnavailable: the id is empty, too long or not printable.
    """
    if not account_id or len(account_id) > MAX_ACCOUNT_ID_LENGTH or not is_printable(account_id):
        raise ProviderUnavailable("The account id is not valid.")
    return account_id
