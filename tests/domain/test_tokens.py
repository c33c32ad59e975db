"""Tokens: forgeries are refused whatever they look like; secrets rotate; refresh tokens can be given again."""

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

from domain.tokens import CLAIMS, BadAccessToken, ExpiredAccessToken, Tokens, derived_key, hash_of
from tests.forgeries import Sign, encoded, forged, hs256, hs512, opened, unsigned

SECRET, OLD_SECRET = "this-shop-signs-with-4f9a1c7e-it", "that-shop-signed-with-8b2d6035-it"
ISSUER = "https://api.example.com"
MINUTES = dt.timedelta(minutes=15)
USER, SESSION = uuid.uuid4(), uuid.uuid4()
KEY, OLD_KEY = derived_key(SECRET, "access-token"), derived_key(OLD_SECRET, "access-token")

tokens = Tokens([SECRET], ISSUER)
GENUINE = tokens.access_token(USER, "ADMIN", SESSION, dt.timedelta(days=1)).text
HEADER, TOLD = opened(GENUINE)
OLD_KID = opened(Tokens([OLD_SECRET], ISSUER).access_token(USER, "USER", SESSION, MINUTES).text)[0]["kid"]


def _refused(tokens: Tokens, text: str) -> bool:
    """Refused as no token of ours; a token of ours that is past its time is another matter."""
    with pytest.raises(BadAccessToken) as caught:
        tokens.speaker_of(text)
    return caught.type is BadAccessToken


# ── Access tokens ─────────────────────────────────────────────────────────────────────────


def test_what_was_signed_here_is_believed() -> None:
    assert tokens.speaker_of(GENUINE).session_id == SESSION
    assert (
        tokens.speaker_of(forged(HEADER, TOLD, hs256(KEY))).session_id == SESSION
    )  # so the forgeries below differ in one thing


def test_one_from_before_the_clock_was_put_back_is_believed() -> None:
    early = forged(HEADER, TOLD | {"iat": TOLD["iat"] + 300}, hs256(KEY))
    assert tokens.speaker_of(early).session_id == SESSION


def test_what_it_tells() -> None:
    issued = tokens.access_token(USER, "ADMIN", SESSION, MINUTES)
    header, told = opened(issued.text)
    assert (header["alg"], header["typ"]) == ("HS256", "at+jwt")
    assert told.keys() == {"sub", "role", "sid", "jti", "iat", "exp", "iss", "aud"}
    assert (told["sub"], told["role"], told["sid"]) == (str(USER), "ADMIN", str(SESSION))
    assert told["exp"] - told["iat"] == MINUTES.total_seconds()
    assert issued.expires_at == dt.datetime.fromtimestamp(told["exp"], dt.UTC)
    assert opened(GENUINE)[1]["jti"] != told["jti"]


@pytest.mark.parametrize(
    ("header", "sign"),
    [
        pytest.param({"alg": "none"}, unsigned, id="none"),
        pytest.param({"alg": "None"}, unsigned, id="None"),
        pytest.param({"alg": "none"}, hs256(KEY), id="none, but signed"),
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
        pytest.param({"kid": OLD_KID}, hs256(KEY), id="kid of another"),
        pytest.param({"kid": ""}, hs256(KEY), id="empty kid"),
        pytest.param({"kid": None}, hs256(KEY), id="null kid"),
        pytest.param({"kid": ["x"]}, hs256(KEY), id="kid that is no string"),
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
def test_a_header_that_is_not_ours(header: dict[str, Any], sign: Sign) -> None:
    assert _refused(tokens, forged(HEADER | header, TOLD, sign))


@pytest.mark.parametrize("missing", ["alg", "typ", "kid"])
def test_a_header_must_be_whole(missing: str) -> None:
    header = {name: value for name, value in HEADER.items() if name != missing}
    assert _refused(tokens, forged(header, TOLD, hs256(KEY)))


def test_a_public_key_is_no_secret() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = HEADER | {"alg": "RS256"}
    signed = forged(header, TOLD, lambda text: private.sign(text, padding.PKCS1v15(), hashes.SHA256()))
    assert _refused(tokens, signed)
    assert _refused(tokens, forged(HEADER, TOLD, hs256(public)))


@pytest.mark.parametrize("missing", CLAIMS)
def test_every_claim_is_required(missing: str) -> None:
    told = {name: value for name, value in TOLD.items() if name != missing}
    assert _refused(tokens, forged(HEADER, told, hs256(KEY)))


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
        pytest.param({"nbf": TOLD["iat"] + 3600}, id="{'nbf': in an hour}"),  # workers must name it alike
    ],
    ids=str,
)
def test_claims_that_are_not_ours(claims: dict[str, Any]) -> None:
    assert _refused(tokens, forged(HEADER, TOLD | claims, hs256(KEY)))


def test_past_its_time_it_says_so() -> None:
    late = tokens.access_token(USER, "USER", SESSION, -dt.timedelta(seconds=31)).text
    with pytest.raises(ExpiredAccessToken):
        tokens.speaker_of(late)


def test_a_forgery_past_its_time_is_a_forgery() -> None:
    assert _refused(tokens, forged(HEADER, TOLD | {"exp": 1}, hs256(OLD_KEY)))
    assert _refused(tokens, forged(HEADER, TOLD | {"exp": 1, "aud": "another-shop"}, unsigned))


@given(st.text(max_size=200) | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*"))
def test_garbage_is_nothing_worse_than_a_bad_token(text: str) -> None:
    assert _refused(tokens, text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jku", "x5t", "cty", "enc", "zip"])


@given(header=JSON | st.dictionaries(NAMES, JSON), claims=JSON)
def test_any_json_in_three_parts_is_nothing_worse(header: Any, claims: Any) -> None:
    assert _refused(tokens, forged(header, claims, unsigned))
    if isinstance(header, dict):
        assert _refused(tokens, forged(HEADER | header, TOLD, unsigned))


@given(position=st.integers(0, len(GENUINE) - 1), character=st.characters(codec="ascii"))
def test_no_character_of_it_can_be_changed(position: int, character: str) -> None:
    changed = GENUINE[:position] + character + GENUINE[position + 1 :]
    try:
        assert tokens.speaker_of(changed).session_id == SESSION
    except BadAccessToken:
        return
    # the last character of base64 holds bits that stand for nothing
    assert changed == GENUINE or position == len(GENUINE) - 1


@pytest.mark.parametrize("nested", [b"[" * 20_000, b'{"a":' * 9_000, b'{"alg":' + b"9" * 9_000 + b"}"])
def test_a_header_that_exhausts_the_parser(nested: bytes) -> None:
    assert _refused(tokens, f"{encoded(nested)}.{encoded(b'{}')}.{encoded(b'x')}")


# ── Rotation of secrets ───────────────────────────────────────────────────────────────────


def test_the_first_secret_signs_and_all_verify() -> None:
    old, rotated = Tokens([OLD_SECRET], ISSUER), Tokens([SECRET, OLD_SECRET], ISSUER)
    before = old.access_token(USER, "USER", SESSION, MINUTES).text
    after = rotated.access_token(USER, "USER", SESSION, MINUTES).text
    assert rotated.speaker_of(before).session_id == rotated.speaker_of(after).session_id == SESSION
    assert tokens.speaker_of(after).session_id == SESSION
    assert _refused(old, after)
    assert _refused(tokens, before)


def test_the_kid_of_one_secret_does_not_open_for_another() -> None:
    rotated = Tokens([SECRET, OLD_SECRET], ISSUER)
    assert _refused(rotated, forged(HEADER, TOLD, hs256(OLD_KEY)))


# ── Refresh tokens ────────────────────────────────────────────────────────────────────────


def test_a_refresh_token_has_512_bits_and_is_hashed_as_it_is() -> None:
    first, second = tokens.first_refresh_token(), tokens.first_refresh_token()
    child = tokens.next_refresh_token(first, SESSION)
    assert [len(urlsafe_b64decode(token + "==")) for token in (first, second, child)] == [64, 64, 64]
    assert len({first, second, child}) == 3
    assert hash_of(first) == hashlib.sha256(first.encode()).digest()


@given(parent=st.text(max_size=90), other=st.text(max_size=90), child_id=st.uuids(), other_id=st.uuids())
def test_a_successor_belongs_to_one_parent_one_id_and_one_secret(
    parent: str, other: str, child_id: uuid.UUID, other_id: uuid.UUID
) -> None:
    child = tokens.next_refresh_token(parent, child_id)
    assert tokens.next_refresh_token(parent, child_id) == child
    assert (tokens.next_refresh_token(other, child_id) == child) is (other == parent)
    assert (tokens.next_refresh_token(parent, other_id) == child) is (other_id == child_id)
    assert Tokens([OLD_SECRET], ISSUER).next_refresh_token(parent, child_id) != child


def test_a_successor_is_given_again_as_long_as_its_secret_is_kept() -> None:
    parent = tokens.first_refresh_token()
    child = Tokens([OLD_SECRET], ISSUER).next_refresh_token(parent, SESSION)
    rotated = Tokens([SECRET, OLD_SECRET], ISSUER)
    assert rotated.repeat_refresh_token(parent, SESSION, hash_of(child)) == child
    assert rotated.next_refresh_token(parent, SESSION) != child
    assert tokens.repeat_refresh_token(parent, SESSION, hash_of(child)) is None
    assert rotated.repeat_refresh_token(child, SESSION, hash_of(child)) is None
    assert rotated.repeat_refresh_token(parent, USER, hash_of(child)) is None


def test_keys_for_different_purposes_differ() -> None:
    assert derived_key(SECRET, "access-token") != derived_key(SECRET, "refresh-token")
    assert SECRET.encode() not in (KEY, derived_key(SECRET, "refresh-token"))
