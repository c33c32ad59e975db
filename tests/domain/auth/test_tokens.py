"""Tokens: forged tokens are rejected, secrets rotate, and refresh tokens can be derived again."""

import datetime as dt
import hashlib
import uuid
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from domain.auth.tokens import REQUIRED_CLAIMS, ExpiredAccessToken, InvalidAccessToken, Tokens, derive_key, hash_token
from tests.support.auth.forged_tokens import Signer, decode_token, encode_base64url, forge_token, hs256, hs512, unsigned

SECRET, OLD_SECRET = "this-shop-signs-with-4f9a1c7e-it", "that-shop-signed-with-8b2d6035-it"
ISSUER = "https://api.example.com"
LIFETIME = dt.timedelta(minutes=15)
USER, SESSION = uuid.uuid4(), uuid.uuid4()
KEY, OLD_KEY = derive_key(SECRET, "access-token"), derive_key(OLD_SECRET, "access-token")

tokens = Tokens([SECRET], ISSUER)
VALID_TOKEN = tokens.issue_access_token(USER, "ADMIN", SESSION, dt.timedelta(days=1)).text
HEADER, CLAIMS = decode_token(VALID_TOKEN)
OLD_KID = decode_token(Tokens([OLD_SECRET], ISSUER).issue_access_token(USER, "USER", SESSION, LIFETIME).text)[0]["kid"]


def _is_rejected(tokens: Tokens, text: str) -> bool:
    """Return whether the token is rejected as invalid, and not as expired."""
    with pytest.raises(InvalidAccessToken) as error_info:
        tokens.decode_access_token(text)
    return error_info.type is InvalidAccessToken


# ── Access tokens ─────────────────────────────────────────────────────────────────────────


def test_own_token_is_accepted() -> None:
    assert tokens.decode_access_token(VALID_TOKEN).session_id == SESSION
    # the forged tokens below differ from this token in one detail
    assert tokens.decode_access_token(forge_token(HEADER, CLAIMS, hs256(KEY))).session_id == SESSION


def test_token_issued_before_clock_step_back_is_accepted() -> None:
    future_token = forge_token(HEADER, CLAIMS | {"iat": CLAIMS["iat"] + 300}, hs256(KEY))
    assert tokens.decode_access_token(future_token).session_id == SESSION


def test_claims_of_an_access_token() -> None:
    token = tokens.issue_access_token(USER, "ADMIN", SESSION, LIFETIME)
    header, claims = decode_token(token.text)
    assert (header["alg"], header["typ"]) == ("HS256", "at+jwt")
    assert claims.keys() == {"sub", "role", "sid", "jti", "iat", "exp", "iss", "aud"}
    assert (claims["sub"], claims["role"], claims["sid"]) == (str(USER), "ADMIN", str(SESSION))
    assert claims["exp"] - claims["iat"] == LIFETIME.total_seconds()
    assert token.expires_at == dt.datetime.fromtimestamp(claims["exp"], dt.UTC)
    assert decode_token(VALID_TOKEN)[1]["jti"] != claims["jti"]


@pytest.mark.parametrize(
    ("header", "sign"),
    [
        pytest.param({"alg": "none"}, unsigned, id="none"),
        pytest.param({"alg": "None"}, unsigned, id="None"),
        pytest.param({"alg": "none"}, hs256(KEY), id="none with a signature"),
        pytest.param({}, unsigned, id="no signature"),
        pytest.param({}, hs256(b""), id="empty key"),
        pytest.param({}, hs256(OLD_KEY), id="wrong key"),
        pytest.param({}, hs256(SECRET.encode()), id="the secret itself"),
        pytest.param({"alg": "HS512"}, hs512(KEY), id="HS512"),
        pytest.param({"alg": "RS256"}, hs256(KEY), id="RS256 signed as HS256"),
        pytest.param({"alg": ""}, hs256(KEY), id="empty algorithm"),
        pytest.param({"typ": "JWT"}, hs256(KEY), id="JWT"),
        pytest.param({"typ": "id+jwt"}, hs256(KEY), id="another kind of token"),
        pytest.param({"typ": None}, hs256(KEY), id="null type"),
        pytest.param({"kid": OLD_KID}, hs256(KEY), id="kid of another key"),
        pytest.param({"kid": ""}, hs256(KEY), id="empty kid"),
        pytest.param({"kid": None}, hs256(KEY), id="null kid"),
        pytest.param({"kid": ["x"]}, hs256(KEY), id="kid that is not a string"),
        pytest.param({"kid": "../../dev/null"}, hs256(b""), id="kid that is a path"),
        pytest.param({"jku": "https://evil.example/keys"}, hs256(KEY), id="jku"),
        pytest.param({"jwk": {"kty": "oct", "k": "AAAA"}}, hs256(b"\0\0\0"), id="jwk with its key"),
        pytest.param({"jwk": {"kty": "oct", "k": "AAAA"}}, hs256(KEY), id="jwk"),
        pytest.param({"x5u": "https://evil.example/cert"}, hs256(KEY), id="x5u"),
        pytest.param({"x5c": ["AAAA"]}, hs256(KEY), id="x5c"),
        pytest.param({"crit": ["exp"]}, hs256(KEY), id="crit"),
        pytest.param({"crit": ["b64"], "b64": False}, hs256(KEY), id="detached"),
    ],
)
def test_foreign_header_is_rejected(header: dict[str, Any], sign: Signer) -> None:
    assert _is_rejected(tokens, forge_token(HEADER | header, CLAIMS, sign))


@pytest.mark.parametrize("missing", ["alg", "typ", "kid"])
def test_incomplete_header_is_rejected(missing: str) -> None:
    header = {name: value for name, value in HEADER.items() if name != missing}
    assert _is_rejected(tokens, forge_token(header, CLAIMS, hs256(KEY)))


def test_public_key_is_not_accepted_as_secret() -> None:
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public_key = private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = HEADER | {"alg": "RS256"}
    rs256_token = forge_token(header, CLAIMS, lambda text: private_key.sign(text, padding.PKCS1v15(), hashes.SHA256()))
    assert _is_rejected(tokens, rs256_token)
    assert _is_rejected(tokens, forge_token(HEADER, CLAIMS, hs256(public_key)))


@pytest.mark.parametrize("missing", REQUIRED_CLAIMS)
def test_every_claim_is_required(missing: str) -> None:
    claims = {name: value for name, value in CLAIMS.items() if name != missing}
    assert _is_rejected(tokens, forge_token(HEADER, claims, hs256(KEY)))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another-shop"},
        {"aud": []},
        {"iss": "https://evil.example"},
        {"iss": ISSUER + "/"},
        {"sid": "not a session"},
        {"sid": 1},
        {"sid": None},
        {"sub": 1},
        {"exp": "tomorrow"},
        {"exp": None},
        pytest.param({"nbf": CLAIMS["iat"] + 3600}, id="{'nbf': in an hour}"),  # xdist workers need equal ids
    ],
    ids=str,
)
def test_foreign_claims_are_rejected(claims: dict[str, Any]) -> None:
    assert _is_rejected(tokens, forge_token(HEADER, CLAIMS | claims, hs256(KEY)))


def test_expired_token_is_reported_as_expired() -> None:
    expired_token = tokens.issue_access_token(USER, "USER", SESSION, -dt.timedelta(seconds=31)).text
    with pytest.raises(ExpiredAccessToken):
        tokens.decode_access_token(expired_token)


def test_expired_forgery_is_reported_as_invalid() -> None:
    assert _is_rejected(tokens, forge_token(HEADER, CLAIMS | {"exp": 1}, hs256(OLD_KEY)))
    assert _is_rejected(tokens, forge_token(HEADER, CLAIMS | {"exp": 1, "aud": "another-shop"}, unsigned))


@given(st.text(max_size=200) | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*"))
def test_garbage_is_an_invalid_token(text: str) -> None:
    assert _is_rejected(tokens, text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jku", "x5t", "cty", "enc", "zip"])


@given(header=JSON | st.dictionaries(NAMES, JSON), claims=JSON)
def test_arbitrary_json_is_an_invalid_token(header: Any, claims: Any) -> None:
    assert _is_rejected(tokens, forge_token(header, claims, unsigned))
    if isinstance(header, dict):
        assert _is_rejected(tokens, forge_token(HEADER | header, CLAIMS, unsigned))


@given(position=st.integers(0, len(VALID_TOKEN) - 1), character=st.characters(codec="ascii"))
def test_any_changed_character_invalidates_the_token(position: int, character: str) -> None:
    changed_token = VALID_TOKEN[:position] + character + VALID_TOKEN[position + 1 :]
    try:
        assert tokens.decode_access_token(changed_token).session_id == SESSION
    except InvalidAccessToken:
        return
    # the last base64 character contains unused bits
    assert changed_token == VALID_TOKEN or position == len(VALID_TOKEN) - 1


@pytest.mark.parametrize("nested", [b"[" * 20_000, b'{"a":' * 9_000, b'{"alg":' + b"9" * 9_000 + b"}"])
def test_deeply_nested_header_is_rejected(nested: bytes) -> None:
    assert _is_rejected(tokens, f"{encode_base64url(nested)}.{encode_base64url(b'{}')}.{encode_base64url(b'x')}")


# ── Rotation of secrets ───────────────────────────────────────────────────────────────────


def test_first_secret_signs_and_all_secrets_verify() -> None:
    old_tokens, rotated_tokens = Tokens([OLD_SECRET], ISSUER), Tokens([SECRET, OLD_SECRET], ISSUER)
    old_token = old_tokens.issue_access_token(USER, "USER", SESSION, LIFETIME).text
    new_token = rotated_tokens.issue_access_token(USER, "USER", SESSION, LIFETIME).text
    assert (
        rotated_tokens.decode_access_token(old_token).session_id
        == rotated_tokens.decode_access_token(new_token).session_id
        == SESSION
    )
    assert tokens.decode_access_token(new_token).session_id == SESSION
    assert _is_rejected(old_tokens, new_token)
    assert _is_rejected(tokens, old_token)


def test_kid_of_another_secret_is_rejected() -> None:
    rotated_tokens = Tokens([SECRET, OLD_SECRET], ISSUER)
    assert _is_rejected(rotated_tokens, forge_token(HEADER, CLAIMS, hs256(OLD_KEY)))


# ── Refresh tokens ────────────────────────────────────────────────────────────────────────


def test_refresh_token_has_512_bits_and_a_plain_hash() -> None:
    first, second = tokens.generate_refresh_token(), tokens.generate_refresh_token()
    child = tokens.derive_refresh_token(first, SESSION)
    assert [len(urlsafe_b64decode(token + "==")) for token in (first, second, child)] == [64, 64, 64]
    assert len({first, second, child}) == 3
    assert hash_token(first) == hashlib.sha256(first.encode()).digest()


@given(parent=st.text(max_size=90), other=st.text(max_size=90), child_id=st.uuids(), other_id=st.uuids())
def test_successor_depends_on_parent_id_and_secret(
    parent: str, other: str, child_id: uuid.UUID, other_id: uuid.UUID
) -> None:
    child = tokens.derive_refresh_token(parent, child_id)
    assert tokens.derive_refresh_token(parent, child_id) == child
    assert (tokens.derive_refresh_token(other, child_id) == child) is (other == parent)
    assert (tokens.derive_refresh_token(parent, other_id) == child) is (other_id == child_id)
    assert Tokens([OLD_SECRET], ISSUER).derive_refresh_token(parent, child_id) != child


def test_successor_is_rederived_while_its_secret_is_configured() -> None:
    parent = tokens.generate_refresh_token()
    child = Tokens([OLD_SECRET], ISSUER).derive_refresh_token(parent, SESSION)
    rotated_tokens = Tokens([SECRET, OLD_SECRET], ISSUER)
    assert rotated_tokens.rederive_refresh_token(parent, SESSION, hash_token(child)) == child
    assert rotated_tokens.derive_refresh_token(parent, SESSION) != child
    assert tokens.rederive_refresh_token(parent, SESSION, hash_token(child)) is None
    assert rotated_tokens.rederive_refresh_token(child, SESSION, hash_token(child)) is None
    assert rotated_tokens.rederive_refresh_token(parent, USER, hash_token(child)) is None


def test_keys_for_different_purposes_differ() -> None:
    assert derive_key(SECRET, "access-token") != derive_key(SECRET, "refresh-token")
    assert SECRET.encode() not in (KEY, derive_key(SECRET, "refresh-token"))
