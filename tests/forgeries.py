"""Access tokens as a forger makes them: any header, any claims, signed by hand with whatever key."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

Sign = Callable[[bytes], bytes]


def hs256(key: bytes) -> Sign:
    return lambda signed: hmac.digest(key, signed, hashlib.sha256)


def hs512(key: bytes) -> Sign:
    return lambda signed: hmac.digest(key, signed, hashlib.sha512)


def unsigned(_: bytes) -> bytes:
    return b""


def forged(header: Any, claims: Any, sign: Sign) -> str:
    signed = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"
    return f"{signed}.{encoded(sign(signed.encode()))}"


def opened(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, for anyone to read."""
    header, claims, _ = token.split(".")
    return json.loads(_decoded(header)), json.loads(_decoded(claims))


def encoded(part: bytes) -> str:
    return urlsafe_b64encode(part).rstrip(b"=").decode()


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
