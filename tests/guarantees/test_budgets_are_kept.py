"""Who asks for much waits, and nobody else does: what documents cost is taken off a budget that time refills."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from threading import Thread
from types import SimpleNamespace

import httpx2
import pytest
from fakeredis import TcpFakeServer

from domain.errors import TooOften
from domain.rate_limiting import RateLimiter
from domain.shop import Shop
from persistence import rate_limits, redis_rate_limits
from persistence.database import Database
from persistence.rate_limits import InMemory, InPostgreSQL, Rate, RateLimits
from persistence.redis_rate_limits import InRedis
from server.app import create_app
from server.settings import Settings
from tests.factories import Member, add_member

# the threads of the Redis server of the tests end with an error when a client hangs up in the wrong moment
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

SLOW = Rate(burst=100, per_second=1)
BOOKS = {"query": "{ books(first: 50) { nodes { id } } }"}  # 51
LIMIT = Rate(burst=60, per_second=1)
HOME, OFFICE = "192.0.2.1", "192.0.2.2"


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    server = TcpFakeServer(("127.0.0.1", 0))
    thread = Thread(target=server.serve_forever)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis_rate_limits, "TIMEOUT", 20)  # this one is slow, on a machine that runs tests on every core
        yield f"redis://127.0.0.1:{server.server_address[1]}/0"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=["memory", "postgresql", "redis"])
async def limits(request: pytest.FixtureRequest, shop: Shop, redis_url: str) -> AsyncIterator[RateLimits]:
    made: dict[str, Callable[[], RateLimits]] = {
        "memory": InMemory,
        "postgresql": lambda: InPostgreSQL(shop.database),
        "redis": lambda: InRedis(redis_url),
    }
    limits = made[request.param]()
    yield limits
    await limits.close()


async def test_what_is_spent_is_gone(limits: RateLimits) -> None:
    assert await limits.spend(b"spender", 60, SLOW) == 0
    assert await limits.spend(b"spender", 60, SLOW) == 0  # more than is left, once
    assert await limits.spend(b"spender", 1, SLOW) == pytest.approx(20, abs=5)
    assert await limits.spend(b"somebody else", 1, SLOW) == 0


async def test_a_refusal_costs_nothing(limits: RateLimits) -> None:
    await limits.spend(b"knocker", 110, SLOW)
    waits = [await limits.spend(b"knocker", 50, SLOW) for _ in range(10)]
    assert max(waits) <= 10


async def test_time_refills(limits: RateLimits) -> None:
    quick = Rate(burst=10, per_second=100)
    await limits.spend(b"patient", 30, quick)
    wait = await limits.spend(b"patient", 1, quick)
    assert 0 < wait <= 0.2
    await asyncio.sleep(wait + 0.01)
    assert await limits.spend(b"patient", 1, quick) == 0


async def test_a_budget_is_never_more_than_whole(limits: RateLimits) -> None:
    quick = Rate(burst=10, per_second=100)
    await limits.spend(b"idler", 5, quick)
    await asyncio.sleep(0.3)
    await limits.spend(b"idler", 110, quick)
    assert await limits.spend(b"idler", 1, quick) > 0.5


async def test_of_requests_at_once_no_more_pass_than_in_turn(limits: RateLimits) -> None:
    waits = await asyncio.gather(*[limits.spend(b"crowd", 10, SLOW) for _ in range(40)])
    assert waits.count(0) == 11


async def test_full_budgets_are_forgotten(shop: Shop) -> None:
    database: Database = shop.database
    limits = InPostgreSQL(database)
    await limits.spend(b"quick", 1, Rate(10, 1_000_000))
    await limits.spend(b"slow", 110, SLOW)
    await limits.forget_full()
    assert await limits.spend(b"slow", 1, SLOW) > 5


async def test_many_callers_do_not_fill_the_memory() -> None:
    limits = InMemory()
    for caller in range(50_000):
        await limits.spend(str(caller).encode(), 1, Rate(10, 1_000_000))
    assert len(limits._full_at) <= 2_000


# ── Over HTTP ─────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def counted(settings: Settings, rate: Rate = LIMIT, storage: str = "memory") -> AsyncIterator["Door"]:
    limited = {"rate_limit_burst": rate.burst, "rate_limit_per_second": rate.per_second, "rate_limit_storage": storage}
    app = create_app(settings.model_copy(update=limited))
    async with app.router.lifespan_context(app):
        yield Door(app)


class Door:
    def __init__(self, app: object) -> None:
        self._app = app

    async def ask(self, body: Mapping[str, object], address: str = HOME, token: str | None = None) -> httpx2.Response:
        transport = httpx2.ASGITransport(self._app, client=(address, 4711))  # type: ignore[arg-type]  # any ASGI app
        headers = {"authorization": f"Bearer {token}"} if token is not None else {}
        async with httpx2.AsyncClient(base_url="http://shop", transport=transport, headers=headers) as http:
            return await http.post("/graphql", json=body)

    async def empty(self, address: str = HOME, token: str | None = None) -> None:
        for _ in range(2):
            assert (await self.ask(BOOKS, address, token)).status_code == 200


@pytest.fixture
async def customer(shop: Shop) -> Member:
    return await add_member(shop)


async def test_beyond_it_the_answer_says_how_long_to_wait(settings: Settings, shop: Shop) -> None:
    async with counted(settings) as door:
        await door.empty()
        answer = await door.ask(BOOKS)
    assert answer.status_code == 429
    told = answer.json()
    assert "data" not in told
    assert [error["extensions"]["code"] for error in told["errors"]] == ["RATE_LIMITED"]
    assert 1 <= told["errors"][0]["extensions"]["retryAfter"] <= 43
    assert answer.headers["retry-after"] == str(told["errors"][0]["extensions"]["retryAfter"])


async def test_what_is_refused_is_not_done(settings: Settings, shop: Shop, customer: Member) -> None:
    wish = {"query": 'mutation { updateProfile(input: {displayName: "Somebody else"}) { __typename } }'}
    me = {"query": "{ me { displayName } }"}
    async with counted(settings) as door:
        before = (await door.ask(me, token=customer.token)).json()
        await door.empty(token=customer.token)
        assert (await door.ask(wish, token=customer.token)).status_code == 429
    async with counted(settings) as door:
        assert (await door.ask(me, token=customer.token)).json() == before


async def test_others_go_on(settings: Settings, shop: Shop) -> None:
    async with counted(settings) as door:
        await door.empty(HOME)
        assert (await door.ask(BOOKS, OFFICE)).status_code == 200


async def test_users_have_their_own_wherever_they_are(settings: Settings, shop: Shop, customer: Member) -> None:
    neighbour = await add_member(shop)
    async with counted(settings) as door:
        await door.empty(HOME)
        await door.empty(HOME, customer.token)
        assert (await door.ask(BOOKS, OFFICE, customer.token)).status_code == 429
        assert (await door.ask(BOOKS, HOME, neighbour.token)).status_code == 200


async def test_a_bad_token_gives_no_new_budget(settings: Settings, shop: Shop, customer: Member) -> None:
    async with counted(settings) as door:
        await door.empty(HOME)
        for token in ("", "x", customer.token[:-2]):
            assert (await door.ask(BOOKS, HOME, token)).status_code == 429


async def test_an_address_of_ipv6_is_its_whole_network(settings: Settings, shop: Shop) -> None:
    async with counted(settings) as door:
        await door.empty("2001:db8::1")
        assert (await door.ask(BOOKS, "2001:db8::ffff:2")).status_code == 429
        assert (await door.ask(BOOKS, "2001:db8:0:1::1")).status_code == 200
        await door.empty(HOME)
        assert (await door.ask(BOOKS, f"::ffff:{HOME}")).status_code == 429


@pytest.mark.parametrize("query", ["{ books {", "{ nothing }", "{ " * 30 + "}" * 30])
async def test_refused_documents_cost_too(settings: Settings, shop: Shop, query: str) -> None:
    async with counted(settings) as door:
        statuses = [(await door.ask({"query": query})).status_code for _ in range(6)]
    assert statuses == [200] * 4 + [429] * 2


async def test_zero_turns_it_off(settings: Settings, shop: Shop) -> None:
    async with counted(settings, Rate(60, 0)) as door:
        assert {(await door.ask(BOOKS)).status_code for _ in range(5)} == {200}


@pytest.mark.parametrize("storage", ["postgresql", "redis"])
async def test_several_processes_count_together(settings: Settings, shop: Shop, redis_url: str, storage: str) -> None:
    storage = redis_url.replace("/0", "/1") if storage == "redis" else storage
    async with counted(settings, storage=storage) as one, counted(settings, storage=storage) as other:
        await one.empty()
        assert (await other.ask(BOOKS)).status_code == 429


async def test_without_the_storage_each_process_counts_alone(settings: Settings, shop: Shop) -> None:
    async with counted(settings, storage="redis://127.0.0.1:1/0") as door:
        await door.empty()
        assert (await door.ask(BOOKS)).status_code == 429


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What a budget in memory takes for the time."""
    hands = SimpleNamespace(now=0.0)
    hands.monotonic = lambda: hands.now
    monkeypatch.setattr(rate_limits, "time", hands)
    return hands


async def test_idle_time_is_not_saved_up(clock: SimpleNamespace) -> None:
    limits, rate = InMemory(), Rate(burst=10, per_second=1)
    await limits.spend(b"saver", 1, rate)
    clock.now = 1000.0
    assert await limits.spend(b"saver", 20, rate) == 0
    assert await limits.spend(b"saver", 1, rate) == 10


async def test_only_full_budgets_are_forgotten(clock: SimpleNamespace) -> None:
    limits, rate = InMemory(), Rate(burst=10, per_second=1)
    await limits.spend(b"spender", 20, rate)
    await limits.forget_full()
    assert await limits.spend(b"spender", 1, rate) == 10


async def test_who_was_refused_is_refused_before_anything_is_looked_at() -> None:
    limiter = RateLimiter(InMemory(), Rate(burst=1, per_second=1), b"key")
    limiter.check("spender")
    await limiter.spend("spender", 100)
    limiter.check("spender")
    with pytest.raises(TooOften):
        await limiter.spend("spender", 1)
    with pytest.raises(TooOften):
        limiter.check("spender")
    limiter.check("somebody else")
