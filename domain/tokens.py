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
TYPE = "at+jwt"
AUDIENCE = "bookstore"
LEEWAY = dt.timedelta(seconds=10)
CLAIMS = ("sub", "role", "sid", "jti", "iat", "exp", "iss", "aud")
REFRESH_TOKEN_BYTES = 64


class BadAccessToken(Exception):
    """It is not one of ours."""


class ExpiredAccessToken(BadAccessToken):
    """It was ours; refresh the session."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    text: str = field(repr=False)
    expires_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Speaker:
    """Whom an access token speaks for."""

    user_id: uuid.UUID
    session_id: uuid.UUID


class Tokens:
    """Keys are derived from the secrets: the first signs, all verify, so that secrets can be rotated."""

    def __init__(self, secrets_: Sequence[str], issuer: str) -> None:
        self._issuer = issuer
        self._signing = {_key_id(secret): derived_key(secret, "access-token") for secret in secrets_}
        self._rotation = [derived_key(secret, "refresh-token") for secret in secrets_]
        self._one_time = [derived_key(secret, "one-time-token") for secret in secrets_]

    @property
    def key_ids(self) -> list[str]:
        """They tell nothing of the secrets."""
        return list(self._signing)

    def access_token(self, user_id: uuid.UUID, role: str, session_id: uuid.UUID, lifetime: dt.timedelta) -> AccessToken:
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        key_id, key = next(iter(self._signing.items()))
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
        text = jwt.encode(claims, key, ALGORITHM, headers={"typ": TYPE, "kid": key_id})
        return AccessToken(text, now + lifetime)

    def speaker_of(self, access_token: str) -> Speaker:
        """Raises `ExpiredAccessToken`, or `BadAccessToken` for any other fault.

        What the caller may do is then read from the database: role and activity in a token are for others to read.
        """
        try:
            header = jwt.get_unverified_header(access_token)
            key = self._signing.get(header.get("kid", ""))
            if key is None or header.get("typ") != TYPE or header.keys() & {"jku", "jwk", "x5u", "x5c", "crit"}:
                raise BadAccessToken
            claims = jwt.decode(
                access_token,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=self._issuer,
                leeway=LEEWAY,
                options={"require": list(CLAIMS), "verify_iat": False},  # a clock may have been put back since
            )
            return Speaker(uuid.UUID(claims["sub"]), uuid.UUID(claims["sid"]))
        except jwt.ExpiredSignatureError as error:
            raise ExpiredAccessToken from error
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
            raise BadAccessToken from error

    def first_refresh_token(self) -> str:
        return _text(secrets.token_bytes(REFRESH_TOKEN_BYTES))

    def next_refresh_token(self, parent: str, child_id: uuid.UUID) -> str:
        """Derived, so that it can be given again to whoever lost the answer, though it is kept nowhere."""
        return _successor(self._rotation[0], parent, child_id)

    def repeat_refresh_token(self, parent: str, child_id: uuid.UUID, child_hash: bytes) -> str | None:
        """The child that was derived before, under whichever secret; `None` when that secret is gone."""
        for key in self._rotation:
            child = _successor(key, parent, child_id)
            if hmac.compare_digest(hash_of(child), child_hash):
                return child
        return None

    def one_time_token(self, token_id: uuid.UUID) -> str:
        """Derived, so that a letter can tell it when it is posted, though it is kept nowhere."""
        return _text(hmac.digest(self._one_time[0], token_id.bytes, "sha512"))

    def repeat_one_time_token(self, token_id: uuid.UUID, token_hash: bytes) -> str | None:
        """The one that was derived before, under whichever secret; `None` when that secret is gone."""
        for key in self._one_time:
            token = _text(hmac.digest(key, token_id.bytes, "sha512"))
            if hmac.compare_digest(hash_of(token), token_hash):
                return token
        return None


def hash_of(token: str) -> bytes:
    """A token has 512 random bits: an unsalted SHA-256 of it gives nothing away."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def derived_key(secret: str, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose: none of them tells anything of the secret or of another."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"bookstore {purpose}".encode()).derive(secret.encode())


def _key_id(secret: str) -> str:
    return derived_key(secret, "key-id")[:6].hex()


def _successor(key: bytes, parent: str, child_id: uuid.UUID) -> str:
    return _text(hmac.digest(key, parent.encode("utf-8", "surrogatepass") + child_id.bytes, "sha512"))


def _text(token: bytes) -> str:
    return urlsafe_b64encode(token).rstrip(b"=").decode()
