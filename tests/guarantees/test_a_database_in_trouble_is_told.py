"""A database that hangs, breaks, takes no writes or no connections: told at once, harmless, and over when it is over."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import make_url

from domain.shop import Shop
from graph import execution
from persistence import connecting
from server.health import NO_DATABASE, NO_RIGHTS
from server.settings import Settings
from tests.client import Visitor
from tests.factories import add_administrator, add_book, add_genre, book_id
from tests.faulty import GENRES, RESTOCK, UNAVAILABLE, ask, shop_with, status_of
from tests.locks import BOOKS, holding, until_gone, until_waiting
from tests.memory import movements_of, remembered
from tests.network import between
from tests.roles import address_of, guest

pytestmark = pytest.mark.usefixtures("sound")


CUT = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'bookstore' AND backend_type = 'client backend'"""


async def is_told(visitor: Visitor, document: str, **variables: object) -> None:
    response = await ask(visitor, document, **variables)
    assert response.status_code in (200, 503), response.text
    assert [error["extensions"] for error in response.json()["errors"]] == [UNAVAILABLE], response.text
    assert response.status_code == 200 or response.headers["retry-after"] == "2"


def make_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for PostgreSQL gives up soon, and what waits for an answer to a document does not."""
    monkeypatch.setattr(connecting, "COMMAND_TIMEOUT", 0.5)
    monkeypatch.setattr(connecting, "CONNECT_TIMEOUT", 0.5)
    monkeypatch.setattr(execution, "TIMEOUT", 1000)


@pytest.mark.parametrize("trouble", ["hangs", "breaks"])
async def test_a_database_that_cannot_be_reached(
    settings: Settings,
    shop: Shop,
    database_url: str,
    postgres: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
) -> None:
    make_impatient(monkeypatch)
    book, token = await add_book(shop, stock=1), (await add_administrator(shop)).token
    async with between(database_url) as network, shop_with(settings, database_url=network.url) as visitor:
        admin = visitor.signed_in(token)
        assert (await admin.ask(RESTOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}
        before = await remembered(postgres)
        getattr(network, trouble)()
        await is_told(visitor, GENRES)
        await is_told(admin, RESTOCK, id=book_id(book))
        assert (await status_of(visitor, "/health"), await status_of(visitor, "/ready")) == (200, 503)
        network.is_mended()
        assert await remembered(postgres) == before
        assert (await visitor.ask(GENRES))["genres"] == []
        assert (await admin.ask(RESTOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}
        assert await status_of(visitor, "/ready") == 200
    assert await movements_of(postgres, book) == [("NEW_BOOK", 1), ("DELIVERY", 1), ("DELIVERY", 1)]


async def test_a_database_that_hangs_in_the_middle_of_a_write(
    settings: Settings,
    shop: Shop,
    database_url: str,
    postgres: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_impatient(monkeypatch)
    book, token = await add_book(shop, stock=1), (await add_administrator(shop)).token
    before = await remembered(postgres)
    async with between(database_url) as network, shop_with(settings, database_url=network.url) as visitor:
        admin = visitor.signed_in(token)
        async with holding(database_url, BOOKS, [book.id]):
            restocking = asyncio.create_task(admin.ask(RESTOCK, id=book_id(book)))
            [writing] = await until_waiting(postgres, 1)
            network.hangs()
            assert (await restocking).codes == ["SERVICE_UNAVAILABLE"]
            network.is_mended()
            await until_gone(postgres, [writing])
        assert await remembered(postgres) == before
        assert (await admin.ask(RESTOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}


async def test_a_database_that_takes_no_writes(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    """Reads go on. When it takes writes again, connections from before do not keep them out."""
    book, token = await add_book(shop, stock=1), (await add_administrator(shop)).token
    name = make_url(database_url).database
    before = await remembered(postgres)
    async with shop_with(settings, pool_size=1, pool_max_overflow=0) as visitor:
        admin = visitor.signed_in(token)
        await postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await postgres.execute(CUT)
        try:
            await is_told(admin, RESTOCK, id=book_id(book))
            assert (await visitor.ask(GENRES))["genres"] == []
        finally:
            await postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        assert await remembered(postgres) == before
        assert (await admin.ask(RESTOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}


@pytest.mark.parametrize(
    ("done", "undone"),
    [
        ("ALTER ROLE {role} NOLOGIN", "ALTER ROLE {role} LOGIN"),  # class 28, as a password or a rule that was changed
        ("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC", "GRANT CONNECT ON DATABASE {database} TO PUBLIC"),
        ("ALTER ROLE {role} CONNECTION LIMIT 0", "ALTER ROLE {role} CONNECTION LIMIT -1"),
    ],
    ids=["its role", "its rights", "no connection left"],
)
async def test_a_database_that_lets_nobody_in(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection, database_url: str, done: str, undone: str
) -> None:
    await add_genre(shop, "Fantasy")
    book, token = await add_book(shop, stock=1), (await add_administrator(shop)).token
    before = await remembered(postgres)
    async with (
        guest(postgres, "ALL") as role,
        shop_with(settings, database_url=address_of(role, database_url)) as visitor,
    ):
        named = {"role": role, "database": make_url(database_url).database}
        admin = visitor.signed_in(token)
        await postgres.execute(done.format(**named))
        try:
            await is_told(visitor, GENRES)
            await is_told(admin, RESTOCK, id=book_id(book))
            assert await status_of(visitor, "/health") == 200
            assert await ready(visitor) == {"status": "not ready", "reason": NO_DATABASE}
            assert await remembered(postgres) == before
        finally:
            await postgres.execute(undone.format(**named))
        assert len((await visitor.ask(GENRES))["genres"]) == 1
        assert (await admin.ask(RESTOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}
        assert await ready(visitor) == {"status": "ready"}


async def test_a_role_that_lacks_rights(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    """They were taken away while the shop was open, or it would not have been opened."""
    async with (
        guest(postgres, "SELECT") as role,
        shop_with(settings, database_url=address_of(role, database_url)) as visitor,
    ):
        assert await ready(visitor) == {"status": "ready", "notes": [NO_RIGHTS]}
        await postgres.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}")
        assert await ready(visitor) == {"status": "not ready", "reason": NO_RIGHTS}


async def test_a_database_that_is_no_longer_there(settings: Settings, shop: Shop, database_url: str) -> None:
    """Renamed, or dropped: it may come back."""
    url = make_url(database_url).set(database="renamed").render_as_string(hide_password=False)
    async with shop_with(settings, database_url=url) as visitor:
        await is_told(visitor, GENRES)
        assert await ready(visitor) == {"status": "not ready", "reason": NO_DATABASE}


async def ready(visitor: Visitor) -> dict[str, object]:
    async with visitor.http() as http:
        told: dict[str, object] = (await http.get("/ready")).json()
    return told
