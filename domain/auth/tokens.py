"""Tokens: signed access tokens that expire, and opaque refresh tokens of which only a hash is kept."""

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
    """It is not one of ours."""


class ExpiredAccessToken(InvalidAccessToken):
    """It was ours; refresh the session."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    text: str = field(repr=False)
    expires_at: dt.datetime


@dataclass(frozen=True, slots=True)
class AccessTokenClaims:
    """Whom an access token speaks for."""

    user_id: uuid.UUID
    session_id: uuid.UUID


class Tokens:
    """Keys are derived from the secrets: the first signs, all verify, so that secrets can be rotated."""

    def __init__(self, secrets_: Sequence[str], issuer: str) -> None:
        self._issuer = issuer
        self._signing_keys = {_derive_key_id(secret): derive_key(secret, "access-token") for secret in secrets_}
        self._refresh_keys = [derive_key(secret, "refresh-token") for secret in secrets_]
        self._one_time_keys = [derive_key(secret, "one-time-token") for secret in secrets_]

    @property
    def key_ids(self) -> list[str]:
        """They tell nothing of the secrets."""
        return list(self._signing_keys)

    def issue_access_token(
        self, user_id: uuid.UUID, role: str, session_id: uuid.UUID, lifetime: dt.timedelta
    ) -> AccessToken:
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
        """Raises `ExpiredAccessToken`, or `BadAccessToken` for any other fault.

        What the caller may do is then read from the database: role and activity in a token are for others to read.
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
                options={"require": list(REQUIRED_CLAIMS), "verify_iat": False},  # a clock may have been put back since
            )
            return AccessTokenClaims(uuid.UUID(claims["sub"]), uuid.UUID(claims["sid"]))
        except jwt.ExpiredSignatureError as error:
            raise ExpiredAccessToken from error
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
            raise InvalidAccessToken from error

    def generate_refresh_token(self) -> str:
        return _encode_base64url(secrets.token_bytes(REFRESH_TOKEN_BYTES))

    def derive_refresh_token(self, parent: str, child_id: uuid.UUID) -> str:
        """Derived, so that it can be given again to whoever lost the answer, though it is kept nowhere."""
        return _derive_successor(self._refresh_keys[0], parent, child_id)

    def rederive_refresh_token(self, parent: str, child_id: uuid.UUID, child_hash: bytes) -> str | None:
        """The child that was derived before, under whichever secret; `None` when that secret is gone."""
        for key in self._refresh_keys:
            child = _derive_successor(key, parent, child_id)
            if hmac.compare_digest(hash_token(child), child_hash):
                return child
        return None

    def derive_one_time_token(self, token_id: uuid.UUID) -> str:
        """Derived, so that a letter can tell it when it is posted, though it is kept nowhere."""
        return _encode_base64url(hmac.digest(self._one_time_keys[0], token_id.bytes, "sha512"))

    def rederive_one_time_token(self, token_id: uuid.UUID, token_hash: bytes) -> str | None:
        """The one that was derived before, under whichever secret; `None` when that secret is gone."""
        for key in self._one_time_keys:
            token = _encode_base64url(hmac.digest(key, token_id.bytes, "sha512"))
            if hmac.compare_digest(hash_token(token), token_hash):
                return token
        return None


def hash_token(token: str) -> bytes:
    """A token has 512 random bits: an unsalted SHA-256 of it gives nothing away."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def derive_key(secret: str, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose: none of them tells anything of the secret or of another."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"bookstore {purpose}".encode()).derive(secret.encode())


def _derive_key_id(secret: str) -> str:
    return derive_key(secret, "key-id")[:6].hex()


def _derive_successor(key: bytes, parent: str, child_id: uuid.UUID) -> str:
    return _encode_base64url(hmac.digest(key, parent.encode("utf-8", "surrogatepass") + child_id.bytes, "sha512"))


def _encode_base64url(token: bytes) -> str:
    return urlsafe_b64encode(token).rstrip(b"=").decode()
