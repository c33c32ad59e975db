"""ID tokens: only those signed by Google for this client and this sign-in are accepted."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from joserfc import jws, jwt
from joserfc.jwk import OctKey, RSAKey

from tests.support.auth.oauth_flow import assert_login_rejected, complete_login
from tests.support.auth.oauth_providers import CLIENT_SECRET, FakeGitHub, FakeOpenIDProvider
from tests.support.http.browser import Browser

Forgery = Callable[[FakeOpenIDProvider, dict[str, Any]], str]


def _by_another_key(google: FakeOpenIDProvider, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS256", "kid": google.key.kid}, claims, RSAKey.generate_key(2048))


def _by_an_unknown_key(google: FakeOpenIDProvider, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS256", "kid": "second"}, claims, RSAKey.generate_key(2048))


def _by_the_client_secret(google: FakeOpenIDProvider, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "HS256", "kid": google.key.kid}, claims, OctKey.import_key(CLIENT_SECRET * 2), ["HS256"])


def _by_the_public_key(google: FakeOpenIDProvider, claims: dict[str, Any]) -> str:
    """Forge a token by hand, because libraries refuse to."""
    header = {"alg": "HS256", "kid": google.key.kid, "typ": "JWT"}
    signed = ".".join(_segment(json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{_segment(hmac.digest(google.key.as_pem(private=False), signed.encode(), 'sha256'))}"


def _segment(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _without_bottom(google: FakeOpenIDProvider, claims: dict[str, Any]) -> str:
    header = {"alg": "RS256", "kid": google.key.kid}
    return jws.serialize_compact(header, "[" * 10_000, google.key)


def _by_another_algorithm(google: FakeOpenIDProvider, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS512", "kid": google.key.kid}, claims, google.key, ["RS512"])


def _sign_with_nothing(google: FakeOpenIDProvider, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "none"}, claims, google.key, ["none"])


def _truncate(google: FakeOpenIDProvider, claims: dict[str, Any]) -> str:
    return google.sign_claims(claims).rpartition(".")[0] + "."


@pytest.mark.parametrize(
    "forged",
    [
        _by_another_key,
        _by_an_unknown_key,
        _by_the_client_secret,
        _by_the_public_key,
        _by_another_algorithm,
        _sign_with_nothing,
        _truncate,
        _without_bottom,
        lambda *_: "",
        lambda *_: "x.y.z",
        lambda *_: "Ω" * 500,
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # joserfc warns about the forgeries
async def test_invalid_signature(
    browser: Browser, google: FakeOpenIDProvider, postgres: asyncpg.Connection, forged: Forgery
) -> None:
    google.sign = lambda claims: forged(google, claims)
    assert await assert_login_rejected(postgres, await browser.http.get("/auth/google")) == "provider_refused"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://attacker.test"},
        {"iss": None},
        {"aud": "another-client"},
        {"aud": ["another-client"]},
        {"aud": ["bookstore-client", "another-client"]},
        {"aud": None},
        {"azp": "another-client"},
        {"nonce": "another nonce"},
        {"nonce": None},
        {"exp": int(time.time()) - 60},
        {"exp": None},
        {"exp": "never"},
        {"iat": int(time.time()) + 3600},
        {"iat": None},
        {"sub": None},
        {"sub": 1001},
        {"sub": ""},
    ],
)
async def test_invalid_claims(
    browser: Browser, google: FakeOpenIDProvider, postgres: asyncpg.Connection, claims: dict[str, Any]
) -> None:
    google.claims = claims
    assert await assert_login_rejected(postgres, await browser.http.get("/auth/google")) == "provider_refused"


async def test_invalid_subject(
    browser: Browser, google: FakeOpenIDProvider, github: FakeGitHub, postgres: asyncpg.Connection
) -> None:
    for subject in ("m\x00na", "x" * 256, "\ud800"):
        google.claims = {"sub": subject}
        assert await assert_login_rejected(postgres, await browser.http.get("/auth/google")) == "provider_unavailable"
    for id_ in (None, "583231", 1.5, True):
        github.user["id"] = id_
        assert await assert_login_rejected(postgres, await browser.http.get("/auth/github")) == "provider_unavailable"


async def test_rotated_signing_key(browser: Browser, google: FakeOpenIDProvider) -> None:
    await complete_login(browser, await browser.http.get("/auth/google"))
    google.key = RSAKey.generate_key(2048, {"kid": "next"})
    assert (await complete_login(browser, await browser.http.get("/auth/google")))["linkedProviders"] == ["GOOGLE"]
