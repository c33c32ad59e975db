"""Each caller has a budget of query cost that refills over time. Exhausting it affects no other caller."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace

import httpx2
import pytest

from domain.errors import RateLimited
from domain.query_budget import RateLimiter
from domain.shop import Shop
from persistence.limits import rate_limits
from persistence.limits.rate_limits import MemoryStore, PostgresStore, Rate, RateLimitStore
from persistence.postgres.database import Database
from persistence.postgres.errors import Unavailable
from server.app import create_app
from server.settings import Settings
from tests.support.shop.factories import SignedInUser, add_user

SLOW_RATE = Rate(burst=100, per_second=1)
BOOKS_REQUEST = {"query": "{ books(first: 50) { nodes { id } } }"}  # costs 51
TEST_RATE = Rate(burst=60, per_second=1)
ADDRESS, OTHER_ADDRESS = "192.0.2.1", "192.0.2.2"


@pytest.fixture(params=["memory", "postgresql"])
async def limits(request: pytest.FixtureRequest, shop: Shop) -> AsyncIterator[RateLimitStore]:
    factories: dict[str, Callable[[], RateLimitStore]] = {
        "memory": MemoryStore,
        "postgresql": lambda: PostgresStore(shop.database),
    }
    limits = factories[request.param]()
    yield limits
    await limits.close()


async def test_cost_is_deducted(limits: RateLimitStore) -> None:
    assert await limits.charge(b"spender", 60, SLOW_RATE) == 0
    assert await limits.charge(b"spender", 60, SLOW_RATE) == 0  # one overdraft is allowed
    assert await limits.charge(b"spender", 1, SLOW_RATE) == pytest.approx(20, abs=5)
    assert await limits.charge(b"other", 1, SLOW_RATE) == 0


async def test_rejected_request_costs_nothing(limits: RateLimitStore) -> None:
    await limits.charge(b"knocker", 110, SLOW_RATE)
    waits = [await limits.charge(b"knocker", 50, SLOW_RATE) for _ in range(10)]
    assert max(waits) <= 10


async def test_budget_refills_over_time(limits: RateLimitStore) -> None:
    fast_rate = Rate(burst=10, per_second=100)
    await limits.charge(b"patient", 30, fast_rate)
    wait = await limits.charge(b"patient", 1, fast_rate)
    assert 0 < wait <= 0.2
    await asyncio.sleep(wait + 0.01)
    assert await limits.charge(b"patient", 1, fast_rate) == 0


async def test_budget_never_exceeds_its_maximum(limits: RateLimitStore) -> None:
    fast_rate = Rate(burst=10, per_second=100)
    await limits.charge(b"idler", 5, fast_rate)
    await asyncio.sleep(0.3)
    await limits.charge(b"idler", 110, fast_rate)
    assert await limits.charge(b"idler", 1, fast_rate) > 0.5


async def test_concurrent_requests_share_the_budget(limits: RateLimitStore) -> None:
    waits = await asyncio.gather(*[limits.charge(b"crowd", 10, SLOW_RATE) for _ in range(40)])
    assert waits.count(0) == 11


async def test_full_budgets_are_evicted(shop: Shop) -> None:
    database: Database = shop.database
    limits = PostgresStore(database)
    await limits.charge(b"quick", 1, Rate(10, 1_000_000))
    await limits.charge(b"slow", 110, SLOW_RATE)
    await limits.evict_full()
    assert await limits.charge(b"slow", 1, SLOW_RATE) > 5


async def test_memory_is_bounded() -> None:
    limits = MemoryStore()
    for caller in range(50_000):
        await limits.charge(str(caller).encode(), 1, Rate(10, 1_000_000))
    assert len(limits._full_at) <= 2_000


# ── Over HTTP ─────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def running_rate_limited_app(
    settings: Settings, rate: Rate = TEST_RATE, storage: str = "memory"
) -> AsyncIterator["RateLimitedClient"]:
    overrides = {
        "rate_limit_burst": rate.burst,
        "rate_limit_per_second": rate.per_second,
        "rate_limit_storage": storage,
    }
    app = create_app(settings.model_copy(update=overrides))
    async with app.router.lifespan_context(app):
        yield RateLimitedClient(app)


class RateLimitedClient:
    """Sends requests from a chosen network address."""

    def __init__(self, app: object) -> None:
        self._app = app

    async def post(
        self, body: Mapping[str, object], address: str = ADDRESS, token: str | None = None
    ) -> httpx2.Response:
        transport = httpx2.ASGITransport(self._app, client=(address, 4711))  # type: ignore[arg-type]  # any ASGI app
        headers = {"authorization": f"Bearer {token}"} if token is not None else {}
        async with httpx2.AsyncClient(base_url="http://shop", transport=transport, headers=headers) as http:
            return await http.post("/graphql", json=body)

    async def spend_budget(self, address: str = ADDRESS, token: str | None = None) -> None:
        for _ in range(2):
            assert (await self.post(BOOKS_REQUEST, address, token)).status_code == 200


@pytest.fixture
async def customer(shop: Shop) -> SignedInUser:
    return await add_user(shop)


async def test_exhausted_budget_reports_retry_after(settings: Settings, shop: Shop) -> None:
    async with running_rate_limited_app(settings) as client:
        await client.spend_budget()
        response = await client.post(BOOKS_REQUEST)
    assert response.status_code == 429
    payload = response.json()
    assert "data" not in payload
    assert [error["extensions"]["code"] for error in payload["errors"]] == ["RATE_LIMITED"]
    assert 1 <= payload["errors"][0]["extensions"]["retryAfter"] <= 43
    assert response.headers["retry-after"] == str(payload["errors"][0]["extensions"]["retryAfter"])


async def test_rate_limited_request_is_not_executed(settings: Settings, shop: Shop, customer: SignedInUser) -> None:
    mutation_request = {"query": 'mutation { updateProfile(input: {displayName: "Other name"}) { __typename } }'}
    me_request = {"query": "{ me { displayName } }"}
    async with running_rate_limited_app(settings) as client:
        before = (await client.post(me_request, token=customer.token)).json()
        await client.spend_budget(token=customer.token)
        assert (await client.post(mutation_request, token=customer.token)).status_code == 429
    async with running_rate_limited_app(settings) as client:
        assert (await client.post(me_request, token=customer.token)).json() == before


async def test_other_callers_are_unaffected(settings: Settings, shop: Shop) -> None:
    async with running_rate_limited_app(settings) as client:
        await client.spend_budget(ADDRESS)
        assert (await client.post(BOOKS_REQUEST, OTHER_ADDRESS)).status_code == 200


async def test_users_have_their_own_budget_across_addresses(
    settings: Settings, shop: Shop, customer: SignedInUser
) -> None:
    other_user = await add_user(shop)
    async with running_rate_limited_app(settings) as client:
        await client.spend_budget(ADDRESS)
        await client.spend_budget(ADDRESS, customer.token)
        assert (await client.post(BOOKS_REQUEST, OTHER_ADDRESS, customer.token)).status_code == 429
        assert (await client.post(BOOKS_REQUEST, ADDRESS, other_user.token)).status_code == 200


async def test_invalid_token_uses_the_address_budget(settings: Settings, shop: Shop, customer: SignedInUser) -> None:
    async with running_rate_limited_app(settings) as client:
        await client.spend_budget(ADDRESS)
        for token in ("", "x", customer.token[:-2]):
            assert (await client.post(BOOKS_REQUEST, ADDRESS, token)).status_code == 429


async def test_ipv6_addresses_share_their_network_budget(settings: Settings, shop: Shop) -> None:
    async with running_rate_limited_app(settings) as client:
        await client.spend_budget("2001:db8::1")
        assert (await client.post(BOOKS_REQUEST, "2001:db8::ffff:2")).status_code == 429
        assert (await client.post(BOOKS_REQUEST, "2001:db8:0:1::1")).status_code == 200
        await client.spend_budget(ADDRESS)
        assert (await client.post(BOOKS_REQUEST, f"::ffff:{ADDRESS}")).status_code == 429


@pytest.mark.parametrize("query", ["{ books {", "{ nothing }", "{ " * 30 + "}" * 30])
async def test_rejected_documents_are_charged(settings: Settings, shop: Shop, query: str) -> None:
    async with running_rate_limited_app(settings) as client:
        statuses = [(await client.post({"query": query})).status_code for _ in range(6)]
    assert statuses == [200] * 4 + [429] * 2


async def test_zero_disables_rate_limiting(settings: Settings, shop: Shop) -> None:
    async with running_rate_limited_app(settings, Rate(60, 0)) as client:
        assert {(await client.post(BOOKS_REQUEST)).status_code for _ in range(5)} == {200}


async def test_processes_share_budgets(settings: Settings, shop: Shop) -> None:
    async with (
        running_rate_limited_app(settings, storage="postgresql") as first_client,
        running_rate_limited_app(settings, storage="postgresql") as second_client,
    ):
        await first_client.spend_budget()
        assert (await second_client.post(BOOKS_REQUEST)).status_code == 429


async def test_processes_count_separately_without_storage(
    settings: Settings, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> float:
        raise Unavailable

    monkeypatch.setattr(PostgresStore, "charge", fail)
    async with running_rate_limited_app(settings, storage="postgresql") as client:
        await client.spend_budget()
        assert (await client.post(BOOKS_REQUEST)).status_code == 429


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Replace the clock of `MemoryStore`."""
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(rate_limits, "time", clock)
    return clock


async def test_idle_time_does_not_accumulate(clock: SimpleNamespace) -> None:
    limits, rate = MemoryStore(), Rate(burst=10, per_second=1)
    await limits.charge(b"saver", 1, rate)
    clock.now = 1000.0
    assert await limits.charge(b"saver", 20, rate) == 0
    assert await limits.charge(b"saver", 1, rate) == 10


async def test_only_full_budgets_are_evicted(clock: SimpleNamespace) -> None:
    limits, rate = MemoryStore(), Rate(burst=10, per_second=1)
    await limits.charge(b"spender", 20, rate)
    await limits.evict_full()
    assert await limits.charge(b"spender", 1, rate) == 10


async def test_rate_limited_caller_is_rejected_before_parsing() -> None:
    limiter = RateLimiter(MemoryStore(), Rate(burst=1, per_second=1), b"key")
    limiter.check("spender")
    await limiter.charge("spender", 100)
    limiter.check("spender")
    with pytest.raises(RateLimited):
        await limiter.charge("spender", 1)
    with pytest.raises(RateLimited):
        limiter.check("spender")
    limiter.check("other")
