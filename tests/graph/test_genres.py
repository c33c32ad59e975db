"""Genres: adding, renaming and deleting them; a user error changes nothing."""

import asyncio
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence.catalog import GenreRow
from persistence.tables import new_id
from tests.support.database.locks import hold_lock, wait_for_blocked
from tests.support.http.client import ApiClient
from tests.support.shop.catalog_admin import CREATE_BOOK, MINIMAL_INPUT, add_admin_customer, take_catalog_snapshot
from tests.support.shop.customers import Customer
from tests.support.shop.factories import add_book, add_genre

_SELECTION = """__typename ... on UserError { code } ... on InvalidInput { issues { path rule } }
    ... on GenreNameTaken { genre { id } } ... on GenreSaved { genre { id name slug } }"""
CREATE = f"mutation ($name: String!) {{ result: createGenre(input: {{name: $name}}) {{ {_SELECTION} }} }}"
RENAME = f"""mutation ($id: ID!, $name: String!) {{
    result: renameGenre(input: {{genreId: $id, name: $name}}) {{ {_SELECTION} ... on NotFound {{ id }} }} }}"""
DELETE = """mutation ($id: ID!) { result: deleteGenre(input: {genreId: $id}) {
    __typename ... on GenreNotEmpty { genre { id } } ... on NotFound { id } ... on GenreDeleted { genreId } } }"""


@pytest.fixture
async def admin(client: ApiClient, shop: Shop) -> Customer:
    return await add_admin_customer(client, shop)


@pytest.fixture
async def fantasy(shop: Shop) -> GenreRow:
    return await add_genre(shop, "Fantasy")


def genre_id(genre: GenreRow) -> str:
    return to_global_id("Genre", genre.id)


# ── User errors ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "rule"), [("", "REQUIRED"), (" \t", "REQUIRED"), ("x" * 101, "TOO_LONG"), ("a\0", "MALFORMED"), ("a\nb", "MALFORMED")]
)  # fmt: skip
async def test_invalid_genre_names_are_rejected(
    admin: Customer, fantasy: GenreRow, postgres: asyncpg.Connection, name: str, rule: str
) -> None:
    before = await take_catalog_snapshot(postgres)
    for document, variables in ((CREATE, {}), (RENAME, {"id": genre_id(fantasy)})):
        result = (await admin.execute(document, name=name, **variables))["result"]
        assert (result["__typename"], result["issues"]) == ("InvalidInput", [{"path": ["name"], "rule": rule}])
    assert await take_catalog_snapshot(postgres) == before


@pytest.mark.parametrize("name", ["Fantasy", "fANTASY", "  Fantasy "])
async def test_genre_name_is_unique(
    admin: Customer, shop: Shop, fantasy: GenreRow, postgres: asyncpg.Connection, name: str
) -> None:
    other = await add_genre(shop, "Other")
    before = await take_catalog_snapshot(postgres)
    for document, variables in ((CREATE, {}), (RENAME, {"id": genre_id(other)})):
        result = (await admin.execute(document, name=name, **variables))["result"]
        assert result == {
            "__typename": "GenreNameTaken",
            "code": "GENRE_NAME_TAKEN",
            "genre": {"id": genre_id(fantasy)},
        }
    assert await take_catalog_snapshot(postgres) == before


async def test_genre_with_books_is_not_deleted(
    admin: Customer, shop: Shop, fantasy: GenreRow, postgres: asyncpg.Connection
) -> None:
    await add_book(shop, "The Hobbit", genre_id=fantasy.id)
    before = await take_catalog_snapshot(postgres)
    result = (await admin.execute(DELETE, id=genre_id(fantasy)))["result"]
    assert result == {"__typename": "GenreNotEmpty", "genre": {"id": genre_id(fantasy)}}
    assert await take_catalog_snapshot(postgres) == before


async def test_unknown_genres_are_not_found(admin: Customer, fantasy: GenreRow, postgres: asyncpg.Connection) -> None:
    before = await take_catalog_snapshot(postgres)
    unknown_id = to_global_id("Genre", new_id())
    for document, variables in ((RENAME, {"name": "New"}), (RENAME, {"name": "Fantasy"}), (DELETE, {})):
        result: Any = (await admin.execute(document, id=unknown_id, **variables))["result"]
        assert (result["__typename"], result["id"]) == ("NotFound", unknown_id)
        for id_ in ("", "1", to_global_id("Book", fantasy.id)):
            assert (await admin.execute(document, id=id_, **variables)).codes == ["BAD_USER_INPUT"]
    assert await take_catalog_snapshot(postgres) == before


# ── Results ───────────────────────────────────────────────────────────────────────────────


async def test_create_genre(client: ApiClient, admin: Customer, fantasy: GenreRow) -> None:
    for name, saved_name, slug in (
        ("  Science   Fiction ", "Science Fiction", "science-fiction"),
        ("Science-Fiction", "Science-Fiction", "science-fiction-2"),
        ("E\u0301ditions", "Éditions", "editions"),
        ("!!!", "!!!", "untitled"),
    ):
        result = (await admin.execute(CREATE, name=name))["result"]
        assert (result["genre"]["name"], result["genre"]["slug"]) == (saved_name, slug)
        response = await client.execute(
            "query ($slug: String!) { genre(by: {slug: $slug}) { id name slug } }", slug=slug
        )
        assert response["genre"] == result["genre"]


@pytest.mark.parametrize("name", ["High Fantasy", "FANTASY", "Fantasy"])
async def test_renamed_genre_keeps_slug_and_books(
    admin: Customer, shop: Shop, fantasy: GenreRow, postgres: asyncpg.Connection, name: str
) -> None:
    book = await add_book(shop, genre_id=fantasy.id)
    result = (await admin.execute(RENAME, id=genre_id(fantasy), name=name))["result"]
    assert result == {"__typename": "GenreSaved", "genre": {"id": genre_id(fantasy), "name": name, "slug": "fantasy"}}
    assert [tuple(row) for row in await postgres.fetch("SELECT slug, name FROM genres")] == [("fantasy", name)]
    assert await postgres.fetchval("SELECT genre_id FROM books WHERE id = $1", book.id) == fantasy.id


async def test_deleted_genre_frees_its_name(admin: Customer, fantasy: GenreRow) -> None:
    result = (await admin.execute(DELETE, id=genre_id(fantasy)))["result"]
    assert result == {"__typename": "GenreDeleted", "genreId": genre_id(fantasy)}
    assert (await admin.execute("{ genres { id } }"))["genres"] == []
    assert (await admin.execute(CREATE, name="Fantasy"))["result"]["genre"]["slug"] == "fantasy"


# ── Concurrency ───────────────────────────────────────────────────────────────────────────


async def test_concurrent_creations_create_one_genre(
    admin: Customer, fantasy: GenreRow, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with hold_lock(database_url, "LOCK TABLE genres IN SHARE MODE"):
        attempts = [
            asyncio.create_task(admin.execute(CREATE, name="New")),
            asyncio.create_task(admin.execute(CREATE, name="NEW")),
            asyncio.create_task(admin.execute(RENAME, id=genre_id(fantasy), name="nEw")),
        ]
        await wait_for_blocked(postgres, 3)
    typenames = sorted([(await attempt)["result"]["__typename"] for attempt in attempts])
    assert typenames == ["GenreNameTaken", "GenreNameTaken", "GenreSaved"]
    assert await postgres.fetchval("SELECT count(*) FROM genres WHERE lower(name) = 'new'") == 1


async def test_genre_that_gets_a_book_during_deletion_is_not_deleted(
    admin: Customer, shop: Shop, fantasy: GenreRow, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop)
    async with hold_lock(database_url, "UPDATE books SET genre_id = $1 WHERE id = $2", fantasy.id, book.id):
        deletion = asyncio.create_task(admin.execute(DELETE, id=genre_id(fantasy)))
        await wait_for_blocked(postgres, 1)
    assert (await deletion)["result"]["__typename"] == "GenreNotEmpty"
    assert await postgres.fetchval("SELECT genre_id FROM books") == fantasy.id


async def test_book_for_just_deleted_genre_is_not_found(
    admin: Customer, fantasy: GenreRow, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with hold_lock(database_url, "DELETE FROM genres WHERE id = $1", fantasy.id):
        creation = asyncio.create_task(admin.execute(CREATE_BOOK, input=MINIMAL_INPUT | {"genreId": genre_id(fantasy)}))
        await wait_for_blocked(postgres, 1)
    result = (await creation)["result"]
    assert (result["__typename"], result["id"]) == ("NotFound", genre_id(fantasy))
    assert await postgres.fetchval("SELECT count(*) FROM books") == 0
