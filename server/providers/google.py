"""Google: OpenID Connect, as its issuer's address describes it."""

import time
from typing import Any

from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, TypeAdapter

from domain.identities import Profile
from persistence.identities import Provider
from server.providers import Attempt, ProviderDown, ProviderRefused
from server.providers.asking import Registration, account_told, read, traded

METADATA_LIFETIME = 3600  # seconds
LEEWAY = 30  # seconds between two clocks


class Metadata(BaseModel):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    authorization_response_iss_parameter_supported: bool = False


class IdTokenAnswer(BaseModel):
    id_token: str


class Google:
    """Any provider of OpenID Connect that its issuer's address describes."""

    def __init__(self, client_id: str, client_secret: str, redirect_uri: str, issuer: str) -> None:
        self._registration = Registration(client_id, client_secret, redirect_uri)
        self._issuer = issuer.rstrip("/")
        self._metadata: Metadata | None = None
        self._read_at = 0.0
        self._keys: KeySet | None = None

    async def address(self, attempt: Attempt) -> str:
        async with self._client() as client:
            metadata = await self._described(client)
            url, _ = client.create_authorization_url(
                metadata.authorization_endpoint, attempt.state, attempt.verifier, nonce=attempt.nonce
            )
            return str(url)

    async def profile(self, attempt: Attempt, code: str, issuer: str | None) -> Profile:
        async with self._client() as client:
            metadata = await self._described(client)
            if issuer is None and metadata.authorization_response_iss_parameter_supported:
                raise ProviderRefused("The answer does not say who it is from.")
            if issuer not in (None, metadata.issuer):
                raise ProviderRefused("The answer is from another issuer.")
            answer = await traded(client, metadata.token_endpoint, attempt, code, IdTokenAnswer)
            claims = await self._claims(client, metadata, answer.id_token, attempt.nonce)
        name, email = claims.get("name"), claims.get("email")
        return Profile(
            provider=Provider.GOOGLE,
            account=account_told(claims["sub"]),
            email=email if isinstance(email, str) else None,
            email_is_verified=claims.get("email_verified") is True,
            name=name if isinstance(name, str) else None,
        )

    def _client(self) -> AsyncOAuth2Client:
        return self._registration.client("openid email profile")

    async def _described(self, client: AsyncOAuth2Client) -> Metadata:
        if self._metadata is None or time.monotonic() - self._read_at > METADATA_LIFETIME:
            address = f"{self._issuer}/.well-known/openid-configuration"
            metadata = await read(client, address, TypeAdapter(Metadata))
            if metadata.issuer.rstrip("/") != self._issuer:
                raise ProviderDown(f"{address} describes another issuer.")
            self._metadata, self._read_at, self._keys = metadata, time.monotonic(), None
        return self._metadata

    async def _claims(self, client: AsyncOAuth2Client, metadata: Metadata, id_token: str, nonce: str) -> dict[str, Any]:
        try:
            try:
                token = jwt.decode(id_token, await self._known_keys(client, metadata), ["RS256"])
            except InvalidKeyIdError:  # keys change now and then
                self._keys = None
                token = jwt.decode(id_token, await self._known_keys(client, metadata), ["RS256"])
            client_id = self._registration.client_id
            jwt.JWTClaimsRegistry(
                leeway=LEEWAY,
                iss={"essential": True, "value": metadata.issuer},
                aud={"essential": True, "value": client_id},
                azp={"essential": _is_for_several(token.claims.get("aud")), "value": client_id},
                nonce={"essential": True, "value": nonce},
                exp={"essential": True},
                iat={"essential": True},
                sub={"essential": True},
            ).validate(token.claims)
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise ProviderRefused(f"The ID token is not to be believed: {type(error).__name__}") from error
        return token.claims

    async def _known_keys(self, client: AsyncOAuth2Client, metadata: Metadata) -> KeySet:
        if self._keys is None:
            found = await read(client, metadata.jwks_uri, TypeAdapter(dict[str, Any]))
            try:
                self._keys = KeySet.import_key_set(found)  # type: ignore[arg-type]  # checked there
            except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
                raise ProviderDown("Its keys are none.") from error
        return self._keys


def _is_for_several(audience: object) -> bool:
    return isinstance(audience, list) and len(audience) > 1
