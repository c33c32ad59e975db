"""How a provider is asked: with little patience, and no belief in what is not well-formed."""

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

from domain.validation import is_clean
from server.providers import Attempt, ProviderDown, ProviderRefused

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

PATIENCE = 5  # seconds, for each answer
LONGEST_ACCOUNT = 255
FAULTS = (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ValueError, RecursionError)
"""What is no JSON, or not the JSON that was asked for, is a ValueError; what has no bottom, a RecursionError."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What the shop is known by at a provider."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    trusted: ssl.SSLContext = field(default_factory=httpx2.create_ssl_context, repr=False)  # too slow to make for each

    def client(self, scope: str, **more: Any) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            self.client_id,
            self.client_secret,
            scope=scope,
            redirect_uri=self.redirect_uri,
            code_challenge_method="S256",
            timeout=PATIENCE,
            verify=self.trusted,
            **more,
        )


@asynccontextmanager
async def _patiently(address: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except FAULTS as error:
        raise ProviderDown(f"{address}: {type(error).__name__}") from error


async def read(
    client: AsyncOAuth2Client, address: str, shape: TypeAdapter[T], headers: dict[str, str] | None = None
) -> T:
    async with _patiently(address):
        answer = await client.request("GET", address, withhold_token=True, headers=headers)
        answer.raise_for_status()
        return shape.validate_json(answer.content)


async def traded(client: AsyncOAuth2Client, address: str, attempt: Attempt, code: str, shape: type[M]) -> M:
    """The provider's tokens for the code."""
    try:
        async with _patiently(address):
            answer = await client.fetch_token(
                address, grant_type="authorization_code", code=code, code_verifier=attempt.verifier
            )
            return shape.model_validate(answer)
    except OAuthError as error:
        raise ProviderRefused(f"{address}: {error.error}") from error
    except (TypeError, AttributeError, KeyError) as error:  # authlib trips over JSON that is no object
        raise ProviderDown(f"{address}: {type(error).__name__}") from error


def account_told(told: str) -> str:
    if not told or len(told) > LONGEST_ACCOUNT or not is_clean(told):
        raise ProviderDown("It does not tell which account this is.")
    return told
