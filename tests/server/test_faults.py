"""When the shop is at fault, or PostgreSQL away: what clients are told, and what they are not."""

import asyncio

import asyncpg
import pytest

from domain.shop import Shop
from persistence import catalog
from server.settings import Settings
from tests.client import Visitor
from tests.factories import add_administrator, add_book, add_genre, book_id
from tests.faulty import ALL_GENRES, GENRES, RESTOCK, UNAVAILABLE, ask, shop_with
from tests.locks import BOOKS, holding, until_waiting

SECRET = "the password of the database is 1234"


async def test_a_fault_tells_an_id_and_nothing_else(
    visitor: Visitor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def break_down(_: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(catalog, "list_genres", break_down)
    response = await ask(visitor, "{ genres { id } }")
    [error] = response.json()["errors"]
    assert response.json()["data"] is None
    assert error["extensions"] == {
        "code": "INTERNAL_SERVER_ERROR",
        "requestId": response.headers["x-request-id"],
    }
    assert error.keys() == {"message", "locations", "path", "extensions"}
    assert SECRET not in response.text
    assert "RuntimeError" not in response.text


async def test_a_fault_in_one_field_leaves_the_others(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    async def break_down(*_: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr(catalog, "find_genre_by_slug", break_down)
    reply = await visitor.ask('{ genre(by: {slug: "a"}) { id } genres { id } }')
    assert reply.data == {"genre": None, "genres": []}
    assert reply.codes == ["INTERNAL_SERVER_ERROR"]


async def test_a_fault_in_a_mutation_writes_nothing(
    visitor: Visitor,
    shop: Shop,
    postgres: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def break_down(*_: object) -> None:
        raise RuntimeError(SECRET)

    admin = visitor.signed_in((await add_administrator(shop)).token)
    monkeypatch.setattr(catalog, "set_authors", break_down)
    reply = await admin.ask('mutation { createBook(input: {title: "A", authors: ["B"], price: "1"}) { __typename } }')
    assert reply.data == {"createBook": None}
    assert reply.codes == ["INTERNAL_SERVER_ERROR"]
    assert await postgres.fetchval("SELECT (SELECT count(*) FROM books) + (SELECT count(*) FROM authors)") == 0


async def test_no_connection_left_to_borrow(
    settings: Settings, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    await add_genre(shop, "Fantasy")
    async with shop_with(settings, pool_size=1, pool_max_overflow=0, pool_timeout_seconds=0.05) as visitor:
        async with holding(database_url, ALL_GENRES):
            first = asyncio.create_task(visitor.ask(GENRES))
            await until_waiting(postgres, 1)
            response = await ask(visitor, GENRES)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "2"
        assert [error["extensions"] for error in response.json()["errors"]] == [UNAVAILABLE]
        assert len((await first)["genres"]) == 1
        assert len((await visitor.ask(GENRES))["genres"]) == 1


async def test_no_connection_left_to_write_with(
    settings: Settings, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    book, token = await add_book(shop, stock=1), (await add_administrator(shop)).token
    async with shop_with(settings, pool_size=1, pool_max_overflow=0, pool_timeout_seconds=0.05) as visitor:
        admin = visitor.signed_in(token)
        async with holding(database_url, BOOKS, [book.id]):
            first = asyncio.create_task(admin.ask(RESTOCK, id=book_id(book)))
            await until_waiting(postgres, 1)
            response = await ask(admin, RESTOCK, id=book_id(book))
        assert [error["extensions"] for error in response.json()["errors"]] == [UNAVAILABLE]
        assert (await first)["updateStock"] == {"__typename": "StockUpdated"}
    assert await postgres.fetchval("SELECT stock_quantity FROM books") == 2


async def test_a_database_that_is_away(settings: Settings) -> None:
    async with shop_with(settings, database_url="postgresql://nobody@127.0.0.1:1/nothing") as visitor:
        response = await ask(visitor, GENRES)
        assert response.status_code == 503
        assert [error["extensions"] for error in response.json()["errors"]] == [UNAVAILABLE]
        async with visitor.http() as http:
            assert (await http.get("/health")).status_code == 200


async def test_connections_that_were_cut_are_replaced(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book, token = await add_book(shop, stock=1), (await add_administrator(shop)).token
    others = await postgres.fetch("SELECT pid FROM pg_stat_activity")
    async with shop_with(settings, pool_size=1, pool_max_overflow=0) as visitor:
        admin = visitor.signed_in(token)
        await admin.ask(RESTOCK, id=book_id(book))  # opens one connection to read and one to write
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> ALL($1)"
        assert len(await postgres.fetch(cut, [other["pid"] for other in others])) >= 2
        await visitor.ask(GENRES)  # may be told that the shop is away
        assert (await admin.ask(RESTOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}
    assert await postgres.fetchval("SELECT stock_quantity FROM books") == 3
