"""Forged access tokens: any header and claims, signed with any key."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

Signer = Callable[[bytes], bytes]


def hs256(key: bytes) -> Signer:
    return lambda signed: hmac.digest(key, signed, hashlib.sha256)


def hs512(key: bytes) -> Signer:
    return lambda signed: hmac.digest(key, signed, hashlib.sha512)


def unsigned(_: bytes) -> bytes:
    return b""


def forge_token(header: Any, claims: Any, sign: Signer) -> str:
    signing_input = f"{encode_base64url(json.dumps(header).encode())}.{encode_base64url(json.dumps(claims).encode())}"
    return f"{signing_input}.{encode_base64url(sign(signing_input.encode()))}"


def decode_token(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims, unverified."""
    header, claims, _ = token.split(".")
    return json.loads(_decode_base64url(header)), json.loads(_decode_base64url(claims))


def encode_base64url(part: bytes) -> str:
    return urlsafe_b64encode(part).rstrip(b"=").decode()


def _decode_base64url(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
