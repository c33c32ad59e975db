"""Responses to internal errors and database outages, without details of the cause."""

import asyncio

import asyncpg
import pytest

from domain.shop import Shop
from persistence import catalog
from server.settings import Settings
from tests.support.database.locks import LOCK_BOOKS, hold_lock, wait_for_blocked
from tests.support.http.apps import running_client
from tests.support.http.client import ApiClient
from tests.support.http.probes import GENRES_QUERY, INCREMENT_STOCK, LOCK_GENRES, UNAVAILABLE, post_graphql
from tests.support.shop.factories import add_admin, add_book, add_genre, book_id

SECRET = "the password of the database is 1234"


async def test_internal_error_reveals_only_a_request_id(
    client: ApiClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def raise_error(_: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(catalog, "list_genres", raise_error)
    response = await post_graphql(client, "{ genres { id } }")
    [error] = response.json()["errors"]
    assert response.json()["data"] is None
    assert error["extensions"] == {
        "code": "INTERNAL_SERVER_ERROR",
        "requestId": response.headers["x-request-id"],
    }
    assert error.keys() == {"message", "locations", "path", "extensions"}
    assert SECRET not in response.text
    assert "RuntimeError" not in response.text


async def test_internal_error_in_one_field_keeps_the_others(client: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def raise_error(*_: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr(catalog, "find_genre_by_slug", raise_error)
    response = await client.execute('{ genre(by: {slug: "a"}) { id } genres { id } }')
    assert response.data == {"genre": None, "genres": []}
    assert response.codes == ["INTERNAL_SERVER_ERROR"]


async def test_internal_error_in_a_mutation_writes_nothing(
    client: ApiClient,
    shop: Shop,
    postgres: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def raise_error(*_: object) -> None:
        raise RuntimeError(SECRET)

    admin = client.with_token((await add_admin(shop)).token)
    monkeypatch.setattr(catalog, "replace_book_authors", raise_error)
    response = await admin.execute(
        'mutation { createBook(input: {title: "A", authors: ["B"], price: "1"}) { __typename } }'
    )
    assert response.data == {"createBook": None}
    assert response.codes == ["INTERNAL_SERVER_ERROR"]
    assert await postgres.fetchval("SELECT (SELECT count(*) FROM books) + (SELECT count(*) FROM authors)") == 0


async def test_exhausted_read_pool(
    settings: Settings, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    await add_genre(shop, "Fantasy")
    async with running_client(settings, pool_size=1, pool_max_overflow=0, pool_timeout_seconds=0.05) as visitor:
        async with hold_lock(database_url, LOCK_GENRES):
            first_request = asyncio.create_task(visitor.execute(GENRES_QUERY))
            await wait_for_blocked(postgres, 1)
            response = await post_graphql(visitor, GENRES_QUERY)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "2"
        assert [error["extensions"] for error in response.json()["errors"]] == [UNAVAILABLE]
        assert len((await first_request)["genres"]) == 1
        assert len((await visitor.execute(GENRES_QUERY))["genres"]) == 1


async def test_exhausted_write_pool(
    settings: Settings, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    book, token = await add_book(shop, stock=1), (await add_admin(shop)).token
    async with running_client(settings, pool_size=1, pool_max_overflow=0, pool_timeout_seconds=0.05) as visitor:
        admin = visitor.with_token(token)
        async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
            first_request = asyncio.create_task(admin.execute(INCREMENT_STOCK, id=book_id(book)))
            await wait_for_blocked(postgres, 1)
            response = await post_graphql(admin, INCREMENT_STOCK, id=book_id(book))
        assert [error["extensions"] for error in response.json()["errors"]] == [UNAVAILABLE]
        assert (await first_request)["updateStock"] == {"__typename": "StockUpdated"}
    assert await postgres.fetchval("SELECT stock_quantity FROM books") == 2


async def test_unreachable_database(settings: Settings) -> None:
    async with running_client(settings, database_url="postgresql://nobody@127.0.0.1:1/nothing") as visitor:
        response = await post_graphql(visitor, GENRES_QUERY)
        assert response.status_code == 503
        assert [error["extensions"] for error in response.json()["errors"]] == [UNAVAILABLE]
        async with visitor.http() as http:
            assert (await http.get("/health")).status_code == 200


async def test_terminated_connections_are_replaced(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book, token = await add_book(shop, stock=1), (await add_admin(shop)).token
    other_backends = await postgres.fetch("SELECT pid FROM pg_stat_activity")
    async with running_client(settings, pool_size=1, pool_max_overflow=0) as visitor:
        admin = visitor.with_token(token)
        await admin.execute(INCREMENT_STOCK, id=book_id(book))  # opens a read and a write connection
        terminate_connections = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> ALL($1)"
        assert len(await postgres.fetch(terminate_connections, [backend["pid"] for backend in other_backends])) >= 2
        await visitor.execute(GENRES_QUERY)  # may be SERVICE_UNAVAILABLE
        assert (await admin.execute(INCREMENT_STOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}
    assert await postgres.fetchval("SELECT stock_quantity FROM books") == 3
