"""Whose address counts: the peer's, and behind proxies that are trusted, the one they saw."""

from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from domain.shop import Shop
from domain.throttling import SIGN_IN
from server.app import create_app
from server.settings import Settings

LOGIN = 'mutation { login(input: {email: "nobody@example.com", password: "wrong wrong"}) { __typename } }'
PROXY, STRANGER = "10.0.0.1", "192.0.2.66"


async def free_tries(settings: Settings, peer: str, *seen: str, **changes: Any) -> int:
    """How many of the tries are looked at that come through `peer` from the addresses `seen`, in turn."""
    app = create_app(settings.model_copy(update=changes))
    transport = httpx2.ASGITransport(app, client=(peer, 4711))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(base_url="http://shop", transport=transport) as http,
    ):
        answers = [
            await http.post("/graphql", json={"query": LOGIN}, headers={"x-forwarded-for": address} if address else {})
            for address in seen
        ]
    return sum("errors" not in answer.json() for answer in answers)


ONE_PLACE = SIGN_IN.pair.free if SIGN_IN.pair else 0
MANY = [f"198.51.100.{n}" for n in range(ONE_PLACE + 3)]


async def test_without_a_trusted_proxy_nobody_is_believed(settings: Settings, shop: Shop) -> None:
    assert await free_tries(settings, STRANGER, *MANY) == ONE_PLACE


async def test_a_stranger_is_not_believed_beside_a_trusted_proxy(settings: Settings, shop: Shop) -> None:
    assert await free_tries(settings, STRANGER, *MANY, trusted_proxies=["10.0.0.0/8"]) == ONE_PLACE


async def test_what_a_trusted_proxy_saw_counts(settings: Settings, shop: Shop) -> None:
    assert await free_tries(settings, PROXY, *MANY, trusted_proxies=["10.0.0.0/8"]) == len(MANY)


async def test_what_was_claimed_before_the_proxies_does_not(settings: Settings, shop: Shop) -> None:
    claimed = [f"{address}, 203.0.113.5, 10.0.0.2" for address in MANY]
    assert await free_tries(settings, PROXY, *claimed, trusted_proxies=["10.0.0.0/8"]) == ONE_PLACE


@pytest.mark.parametrize("value", ["*", "proxy", "10.0.0.0/33", "10.0.0.1/8"])
def test_what_is_no_network_is_refused_at_the_start(value: str) -> None:
    with pytest.raises(ValidationError, match="networks"):
        Settings(_env_file=None, trusted_proxies=f"127.0.0.1,{value}")
