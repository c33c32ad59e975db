"""Tokens: signed access tokens (JWT), and opaque refresh and one-time tokens that are stored as hashes."""

import datetime as dt
import hashlib
import hmac
import secrets
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field

import jwt
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ALGORITHM = "HS256"
TOKEN_TYPE = "at+jwt"
AUDIENCE = "bookstore"
LEEWAY = dt.timedelta(seconds=10)
REQUIRED_CLAIMS = ("sub", "role", "sid", "jti", "iat", "exp", "iss", "aud")
REFRESH_TOKEN_BYTES = 64


class InvalidAccessToken(Exception):
    """The access token is malformed or was not issued by this shop."""


class ExpiredAccessToken(InvalidAccessToken):
    """The access token has expired; the client can refresh its session."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An encoded access token and its expiry."""

    text: str = field(repr=False)
    expires_at: dt.datetime


@dataclass(frozen=True, slots=True)
class AccessTokenClaims:
    """The user and session that an access token identifies."""

    user_id: uuid.UUID
    session_id: uuid.UUID


class Tokens:
    """Issues and verifies tokens. The first secret signs and all secrets verify, so that secrets can be rotated."""

    def __init__(self, secrets_: Sequence[str], issuer: str) -> None:
        self._issuer = issuer
        self._signing_keys = {_derive_key_id(secret): derive_key(secret, "access-token") for secret in secrets_}
        self._refresh_keys = [derive_key(secret, "refresh-token") for secret in secrets_]
        self._one_time_keys = [derive_key(secret, "one-time-token") for secret in secrets_]

    @property
    def key_ids(self) -> list[str]:
        """Ids of the signing keys, which reveal nothing about the secrets."""
        return list(self._signing_keys)

    def issue_access_token(
        self, user_id: uuid.UUID, role: str, session_id: uuid.UUID, lifetime: dt.timedelta
    ) -> AccessToken:
        """Return a signed access token that expires after `lifetime`."""
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        key_id, key = next(iter(self._signing_keys.items()))
        claims = {
            "sub": str(user_id),
            "role": role,
            "sid": str(session_id),
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "exp": now + lifetime,
            "iss": self._issuer,
            "aud": AUDIENCE,
        }
        text = jwt.encode(claims, key, ALGORITHM, headers={"typ": TOKEN_TYPE, "kid": key_id})
        return AccessToken(text, now + lifetime)

    def decode_access_token(self, access_token: str) -> AccessTokenClaims:
        """Verify the token and return its user and session.

        The claims omit the role: permissions come from the database, never from the token.

        Raises:
            ExpiredAccessToken: The token has expired.
            InvalidAccessToken: The token has another defect.
        """
        try:
            header = jwt.get_unverified_header(access_token)
            key = self._signing_keys.get(header.get("kid", ""))
            if key is None or header.get("typ") != TOKEN_TYPE or header.keys() & {"jku", "jwk", "x5u", "x5c", "crit"}:
                raise InvalidAccessToken
            claims = jwt.decode(
                access_token,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=self._issuer,
                leeway=LEEWAY,
                options={"require": list(REQUIRED_CLAIMS), "verify_iat": False},  # the clock may have been set back
            )
            return AccessTokenClaims(uuid.UUID(claims["sub"]), uuid.UUID(claims["sid"]))
        except jwt.ExpiredSignatureError as error:
            raise ExpiredAccessToken from error
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
            raise InvalidAccessToken from error

    def generate_refresh_token(self) -> str:
        """Return a random refresh token of 512 bits, the first of a session."""
        return _encode_base64url(secrets.token_bytes(REFRESH_TOKEN_BYTES))

    def derive_refresh_token(self, parent: str, child_id: uuid.UUID) -> str:
        """Derive a successor from its parent, so that it can be reissued without being stored."""
        return _derive_successor(self._refresh_keys[0], parent, child_id)

    def rederive_refresh_token(self, parent: str, child_id: uuid.UUID, child_hash: bytes) -> str | None:
        """Derive the successor again with the secret that matches its hash; `None` when that secret was removed."""
        for key in self._refresh_keys:
            child = _derive_successor(key, parent, child_id)
            if hmac.compare_digest(hash_token(child), child_hash):
                return child
        return None

    def derive_one_time_token(self, token_id: uuid.UUID) -> str:
        """Derive a token from its id, so that an email can contain it later without it being stored."""
        return _encode_base64url(hmac.digest(self._one_time_keys[0], token_id.bytes, "sha512"))

    def rederive_one_time_token(self, token_id: uuid.UUID, token_hash: bytes) -> str | None:
        """Derive the token again with the secret that matches its hash; `None` when that secret was removed."""
        for key in self._one_time_keys:
            token = _encode_base64url(hmac.digest(key, token_id.bytes, "sha512"))
            if hmac.compare_digest(hash_token(token), token_hash):
                return token
        return None


def hash_token(token: str) -> bytes:
    """Return the SHA-256 of a token. It needs no salt, because a token has 512 random bits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def derive_key(secret: str, purpose: str) -> bytes:
    """Derive a 32-byte key for one purpose (HKDF); it reveals neither the secret nor the keys for other purposes."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"bookstore {purpose}".encode()).derive(secret.encode())


def _derive_key_id(secret: str) -> str:
    return derive_key(secret, "key-id")[:6].hex()


def _derive_successor(key: bytes, parent: str, child_id: uuid.UUID) -> str:
    return _encode_base64url(hmac.digest(key, parent.encode("utf-8", "surrogatepass") + child_id.bytes, "sha512"))


def _encode_base64url(token: bytes) -> str:
    return urlsafe_b64encode(token).rstrip(b"=").decode()
