"""The media type of a response, by the Accept header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.http.negotiation import GRAPHQL_JSON, JSON, negotiate_media_type

MEDIA_TYPES = {
    "": JSON,
    "*/*": JSON,
    "application/*": JSON,
    JSON: JSON,
    GRAPHQL_JSON: GRAPHQL_JSON,
    f"{JSON}, {GRAPHQL_JSON}": GRAPHQL_JSON,
    f"{GRAPHQL_JSON};q=0.5, {JSON}": JSON,
    f"{GRAPHQL_JSON};q=0.9, {JSON};q=0.8": GRAPHQL_JSON,
    f"{GRAPHQL_JSON.upper()} ; Q=1": GRAPHQL_JSON,
    f"{GRAPHQL_JSON};charset=utf-8": GRAPHQL_JSON,
    f"{JSON};q=0, */*": GRAPHQL_JSON,
    f"{GRAPHQL_JSON};q=0, */*": JSON,
    f"{GRAPHQL_JSON}, */*;q=0.1": GRAPHQL_JSON,
    "text/html, */*;q=0.1": JSON,
    f"{JSON};q=broken": JSON,
    "text/html": None,
    f"{JSON};q=0": None,
    f"*/*;q=0, {JSON};q=0.1": JSON,
    "*/*;q=0": None,
    "image/*": None,
}


@pytest.mark.parametrize(("accept", "media_type"), MEDIA_TYPES.items(), ids=range(len(MEDIA_TYPES)))
def test_best_accepted_media_type(accept: str, media_type: str | None) -> None:
    assert negotiate_media_type(accept) == media_type


@given(st.text(alphabet="aplictonjsgrhqe/*+-;,=. 0159Q\t", max_size=80))
def test_arbitrary_accept_headers(accept: str) -> None:
    assert negotiate_media_type(accept) in {JSON, GRAPHQL_JSON, None}
