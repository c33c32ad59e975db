"""Only ID tokens that Google signed for this client and this sign-in are accepted."""

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


def _sign_with_another_key(google: FakeOpenIDProvider, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS256", "kid": google.key.kid}, claims, RSAKey.generate_key(2048))


def _sign_with_an_unknown_key(google: FakeOpenIDProvider, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS256", "kid": "second"}, claims, RSAKey.generate_key(2048))


def _sign_with_the_client_secret(google: FakeOpenIDProvider, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "HS256", "kid": google.key.kid}, claims, OctKey.import_key(CLIENT_SECRET * 2), ["HS256"])


def _sign_with_the_public_key(google: FakeOpenIDProvider, claims: dict[str, Any]) -> str:
    """Forge a token without a JWT library, because libraries reject the public key as a secret."""
    header = {"alg": "HS256", "kid": google.key.kid, "typ": "JWT"}
    signing_input = ".".join(_encode_segment(json.dumps(part).encode()) for part in (header, claims))
    return f"{signing_input}.{_encode_segment(hmac.digest(google.key.as_pem(private=False), signing_input.encode(), 'sha256'))}"


def _encode_segment(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _sign_deeply_nested_payload(google: FakeOpenIDProvider, claims: dict[str, Any]) -> str:
    header = {"alg": "RS256", "kid": google.key.kid}
    return jws.serialize_compact(header, "[" * 10_000, google.key)


def _sign_with_another_algorithm(google: FakeOpenIDProvider, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS512", "kid": google.key.kid}, claims, google.key, ["RS512"])


def _leave_unsigned(google: FakeOpenIDProvider, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "none"}, claims, google.key, ["none"])


def _remove_signature(google: FakeOpenIDProvider, claims: dict[str, Any]) -> str:
    return google.sign_claims(claims).rpartition(".")[0] + "."


@pytest.mark.parametrize(
    "forge",
    [
        _sign_with_another_key,
        _sign_with_an_unknown_key,
        _sign_with_the_client_secret,
        _sign_with_the_public_key,
        _sign_with_another_algorithm,
        _leave_unsigned,
        _remove_signature,
        _sign_deeply_nested_payload,
        lambda *_: "",
        lambda *_: "x.y.z",
        lambda *_: "Ω" * 500,
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # joserfc warns about the forgeries
async def test_invalid_signature(
    browser: Browser, google: FakeOpenIDProvider, postgres: asyncpg.Connection, forge: Forgery
) -> None:
    google.sign = lambda claims: forge(google, claims)
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
