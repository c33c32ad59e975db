"""The address of a client: that of the peer, or the address that a trusted proxy forwards."""

from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from domain.auth.login_throttle import LOGIN_POLICY
from domain.shop import Shop
from server.settings import Settings
from tests.support.http.apps import running_app

LOGIN = 'mutation { login(input: {email: "nobody@example.com", password: "wrong wrong"}) { __typename } }'
PROXY, OTHER_PEER = "10.0.0.1", "192.0.2.66"


async def count_free_attempts(settings: Settings, peer: str, *forwarded_for: str, **overrides: Any) -> int:
    """Return how many attempts through `peer`, alternating between the forwarded addresses, are not rate limited."""
    async with (
        running_app(settings, **overrides) as app,
        httpx2.AsyncClient(base_url="http://shop", transport=httpx2.ASGITransport(app, client=(peer, 4711))) as http,
    ):
        responses = [
            await http.post("/graphql", json={"query": LOGIN}, headers={"x-forwarded-for": address} if address else {})
            for address in forwarded_for
        ]
    return sum("errors" not in response.json() for response in responses)


FREE_ATTEMPTS = LOGIN_POLICY.pair.free_attempts if LOGIN_POLICY.pair else 0
ADDRESSES = [f"198.51.100.{n}" for n in range(FREE_ATTEMPTS + 3)]


async def test_forwarded_for_is_ignored_without_trusted_proxies(settings: Settings, shop: Shop) -> None:
    assert await count_free_attempts(settings, OTHER_PEER, *ADDRESSES) == FREE_ATTEMPTS


async def test_untrusted_peer_cannot_set_forwarded_for(settings: Settings, shop: Shop) -> None:
    assert await count_free_attempts(settings, OTHER_PEER, *ADDRESSES, trusted_proxies=["10.0.0.0/8"]) == FREE_ATTEMPTS


async def test_address_from_a_trusted_proxy_is_used(settings: Settings, shop: Shop) -> None:
    assert await count_free_attempts(settings, PROXY, *ADDRESSES, trusted_proxies=["10.0.0.0/8"]) == len(ADDRESSES)


async def test_addresses_claimed_before_trusted_proxies_are_ignored(settings: Settings, shop: Shop) -> None:
    forwarded_for = [f"{address}, 203.0.113.5, 10.0.0.2" for address in ADDRESSES]
    assert await count_free_attempts(settings, PROXY, *forwarded_for, trusted_proxies=["10.0.0.0/8"]) == FREE_ATTEMPTS


@pytest.mark.parametrize("value", ["*", "proxy", "10.0.0.0/33", "10.0.0.1/8"])
def test_invalid_network_is_rejected_at_startup(value: str) -> None:
    with pytest.raises(ValidationError, match="networks"):
        Settings(_env_file=None, trusted_proxies=f"127.0.0.1,{value}")
