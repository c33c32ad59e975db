"""Sign in with Google: OpenID Connect with discovery."""

import time
from typing import Any

from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, TypeAdapter

from domain.auth.oauth import ProviderProfile
from persistence.linked_accounts import Provider
from server.oauth import AuthorizationState, ProviderRefused, ProviderUnavailable
from server.oauth.http import ClientRegistration, exchange_code, get_json, validate_account_id

METADATA_LIFETIME = 3600  # seconds
LEEWAY = 30  # seconds of clock skew


class ProviderMetadata(BaseModel):
    """The provider's discovery document."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    authorization_response_iss_parameter_supported: bool = False


class IdTokenResponse(BaseModel):
    """The provider's response to the authorization code."""

    id_token: str


class Google:
    """Google, or any other OpenID provider that supports discovery."""

    def __init__(self, client_id: str, client_secret: str, redirect_uri: str, issuer: str) -> None:
        self._registration = ClientRegistration(client_id, client_secret, redirect_uri)
        self._issuer = issuer.rstrip("/")
        self._metadata: ProviderMetadata | None = None
        self._metadata_fetched_at = 0.0
        self._keys: KeySet | None = None

    async def create_authorization_url(self, authorization: AuthorizationState) -> str:
        """Return the URL of the provider's sign-in page."""
        async with self._create_client() as client:
            metadata = await self._get_metadata(client)
            url, _ = client.create_authorization_url(
                metadata.authorization_endpoint, authorization.state, authorization.verifier, nonce=authorization.nonce
            )
            return str(url)

    async def fetch_profile(self, authorization: AuthorizationState, code: str, issuer: str | None) -> ProviderProfile:
        """Return the profile in the verified ID token."""
        async with self._create_client() as client:
            metadata = await self._get_metadata(client)
            if issuer is None and metadata.authorization_response_iss_parameter_supported:
                raise ProviderRefused("The response does not name its issuer.")
            if issuer not in (None, metadata.issuer):
                raise ProviderRefused("The response is from another issuer.")
            token_response = await exchange_code(client, metadata.token_endpoint, authorization, code, IdTokenResponse)
            claims = await self._verify_id_token(client, metadata, token_response.id_token, authorization.nonce)
        name, email = claims.get("name"), claims.get("email")
        return ProviderProfile(
            provider=Provider.GOOGLE,
            account_id=validate_account_id(claims["sub"]),
            email=email if isinstance(email, str) else None,
            is_email_verified=claims.get("email_verified") is True,
            name=name if isinstance(name, str) else None,
        )

    def _create_client(self) -> AsyncOAuth2Client:
        return self._registration.create_client("openid email profile")

    async def _get_metadata(self, client: AsyncOAuth2Client) -> ProviderMetadata:
        if self._metadata is None or time.monotonic() - self._metadata_fetched_at > METADATA_LIFETIME:
            metadata_url = f"{self._issuer}/.well-known/openid-configuration"
            metadata = await get_json(client, metadata_url, TypeAdapter(ProviderMetadata))
            if metadata.issuer.rstrip("/") != self._issuer:
                raise ProviderUnavailable(f"{metadata_url} describes another issuer.")
            self._metadata, self._metadata_fetched_at, self._keys = metadata, time.monotonic(), None
        return self._metadata

    async def _verify_id_token(
        self, client: AsyncOAuth2Client, metadata: ProviderMetadata, id_token: str, nonce: str
    ) -> dict[str, Any]:
        try:
            try:
                token = jwt.decode(id_token, await self._get_keys(client, metadata), ["RS256"])
            except InvalidKeyIdError:  # the provider has rotated its keys
                self._keys = None
                token = jwt.decode(id_token, await self._get_keys(client, metadata), ["RS256"])
            client_id = self._registration.client_id
            jwt.JWTClaimsRegistry(
                leeway=LEEWAY,
                iss={"essential": True, "value": metadata.issuer},
                aud={"essential": True, "value": client_id},
                azp={"essential": _has_several_audiences(token.claims.get("aud")), "value": client_id},
                nonce={"essential": True, "value": nonce},
                exp={"essential": True},
                iat={"essential": True},
                sub={"essential": True},
            ).validate(token.claims)
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise ProviderRefused(f"The ID token is not valid: {type(error).__name__}") from error
        return token.claims

    async def _get_keys(self, client: AsyncOAuth2Client, metadata: ProviderMetadata) -> KeySet:
        if self._keys is None:
            key_set = await get_json(client, metadata.jwks_uri, TypeAdapter(dict[str, Any]))
            try:
                self._keys = KeySet.import_key_set(key_set)  # type: ignore[arg-type]  # it validates them
            except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
                raise ProviderUnavailable("Its keys are not valid.") from error
        return self._keys


def _has_several_audiences(audience: object) -> bool:
    return isinstance(audience, list) and len(audience) > 1
