"""The shelves: genres as administrators add, rename and delete them; a refusal changes nothing."""

import asyncio
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from graph.ids import global_id
from persistence.catalog import Genre
from persistence.models import new_id
from tests.client import Visitor
from tests.customers import Customer
from tests.factories import add_book, add_genre
from tests.locks import holding, until_waiting
from tests.stockroom import CREATE as CREATE_BOOK
from tests.stockroom import LEAST, add_manager, shelved

_NAMED = """__typename ... on UserError { code } ... on InvalidInput { issues { path rule } }
    ... on GenreNameTaken { genre { id } } ... on GenreSaved { genre { id name slug } }"""
CREATE = f"mutation ($name: String!) {{ end: createGenre(input: {{name: $name}}) {{ {_NAMED} }} }}"
RENAME = f"""mutation ($id: ID!, $name: String!) {{
    end: renameGenre(input: {{genreId: $id, name: $name}}) {{ {_NAMED} ... on NotFound {{ id }} }} }}"""
DELETE = """mutation ($id: ID!) { end: deleteGenre(input: {genreId: $id}) {
    __typename ... on GenreNotEmpty { genre { id } } ... on NotFound { id } ... on GenreDeleted { genreId } } }"""


@pytest.fixture
async def administrator(visitor: Visitor, shop: Shop) -> Customer:
    return await add_manager(visitor, shop)


@pytest.fixture
async def fantasy(shop: Shop) -> Genre:
    return await add_genre(shop, "Fantasy")


def genre_id(genre: Genre) -> str:
    return global_id("Genre", genre.id)


# ── Refusals ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "rule"), [("", "REQUIRED"), (" \t", "REQUIRED"), ("x" * 101, "TOO_LONG"), ("a\0", "MALFORMED"), ("a\nb", "MALFORMED")]
)  # fmt: skip
async def test_names_that_no_shelf_can_have(
    administrator: Customer, fantasy: Genre, postgres: asyncpg.Connection, name: str, rule: str
) -> None:
    before = await shelved(postgres)
    for document, variables in ((CREATE, {}), (RENAME, {"id": genre_id(fantasy)})):
        end = (await administrator.ask(document, name=name, **variables))["end"]
        assert (end["__typename"], end["issues"]) == ("InvalidInput", [{"path": ["name"], "rule": rule}])
    assert await shelved(postgres) == before


@pytest.mark.parametrize("name", ["Fantasy", "fANTASY", "  Fantasy "])
async def test_a_name_belongs_to_one_shelf(
    administrator: Customer, shop: Shop, fantasy: Genre, postgres: asyncpg.Connection, name: str
) -> None:
    other = await add_genre(shop, "Other")
    before = await shelved(postgres)
    for document, variables in ((CREATE, {}), (RENAME, {"id": genre_id(other)})):
        end = (await administrator.ask(document, name=name, **variables))["end"]
        assert end == {"__typename": "GenreNameTaken", "code": "GENRE_NAME_TAKEN", "genre": {"id": genre_id(fantasy)}}
    assert await shelved(postgres) == before


async def test_a_shelf_with_books_stays(
    administrator: Customer, shop: Shop, fantasy: Genre, postgres: asyncpg.Connection
) -> None:
    await add_book(shop, "The Hobbit", genre_id=fantasy.id)
    before = await shelved(postgres)
    end = (await administrator.ask(DELETE, id=genre_id(fantasy)))["end"]
    assert end == {"__typename": "GenreNotEmpty", "genre": {"id": genre_id(fantasy)}}
    assert await shelved(postgres) == before


async def test_shelves_that_are_not_there(
    administrator: Customer, fantasy: Genre, postgres: asyncpg.Connection
) -> None:
    before = await shelved(postgres)
    nowhere = global_id("Genre", new_id())
    for document, variables in ((RENAME, {"name": "New"}), (RENAME, {"name": "Fantasy"}), (DELETE, {})):
        end: Any = (await administrator.ask(document, id=nowhere, **variables))["end"]
        assert (end["__typename"], end["id"]) == ("NotFound", nowhere)
        for id_ in ("", "1", global_id("Book", fantasy.id)):
            assert (await administrator.ask(document, id=id_, **variables)).codes == ["BAD_USER_INPUT"]
    assert await shelved(postgres) == before


# ── Successes ─────────────────────────────────────────────────────────────────────────────


async def test_a_shelf_is_put_up(visitor: Visitor, administrator: Customer, fantasy: Genre) -> None:
    for name, kept, slug in (
        ("  Science   Fiction ", "Science Fiction", "science-fiction"),
        ("Science-Fiction", "Science-Fiction", "science-fiction-2"),
        ("E\u0301ditions", "Éditions", "editions"),
        ("!!!", "!!!", "untitled"),
    ):
        end = (await administrator.ask(CREATE, name=name))["end"]
        assert (end["genre"]["name"], end["genre"]["slug"]) == (kept, slug)
        found = await visitor.ask("query ($slug: String!) { genre(by: {slug: $slug}) { id name slug } }", slug=slug)
        assert found["genre"] == end["genre"]


@pytest.mark.parametrize("name", ["High Fantasy", "FANTASY", "Fantasy"])
async def test_a_renamed_shelf_keeps_its_slug_and_its_books(
    administrator: Customer, shop: Shop, fantasy: Genre, postgres: asyncpg.Connection, name: str
) -> None:
    book = await add_book(shop, genre_id=fantasy.id)
    end = (await administrator.ask(RENAME, id=genre_id(fantasy), name=name))["end"]
    assert end == {"__typename": "GenreSaved", "genre": {"id": genre_id(fantasy), "name": name, "slug": "fantasy"}}
    assert [tuple(row) for row in await postgres.fetch("SELECT slug, name FROM genres")] == [("fantasy", name)]
    assert await postgres.fetchval("SELECT genre_id FROM books WHERE id = $1", book.id) == fantasy.id


async def test_an_empty_shelf_is_taken_down_and_its_name_is_free(administrator: Customer, fantasy: Genre) -> None:
    end = (await administrator.ask(DELETE, id=genre_id(fantasy)))["end"]
    assert end == {"__typename": "GenreDeleted", "genreId": genre_id(fantasy)}
    assert (await administrator.ask("{ genres { id } }"))["genres"] == []
    assert (await administrator.ask(CREATE, name="Fantasy"))["end"]["genre"]["slug"] == "fantasy"


# ── At the same moment ────────────────────────────────────────────────────────────────────


async def test_one_name_makes_one_shelf(
    administrator: Customer, fantasy: Genre, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with holding(database_url, "LOCK TABLE genres IN SHARE MODE"):
        tries = [
            asyncio.create_task(administrator.ask(CREATE, name="New")),
            asyncio.create_task(administrator.ask(CREATE, name="NEW")),
            asyncio.create_task(administrator.ask(RENAME, id=genre_id(fantasy), name="nEw")),
        ]
        await until_waiting(postgres, 3)
    ends = sorted([(await each)["end"]["__typename"] for each in tries])
    assert ends == ["GenreNameTaken", "GenreNameTaken", "GenreSaved"]
    assert await postgres.fetchval("SELECT count(*) FROM genres WHERE lower(name) = 'new'") == 1


async def test_a_shelf_that_gets_a_book_while_it_is_taken_down_stays(
    administrator: Customer, shop: Shop, fantasy: Genre, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop)
    async with holding(database_url, "UPDATE books SET genre_id = $1 WHERE id = $2", fantasy.id, book.id):
        late = asyncio.create_task(administrator.ask(DELETE, id=genre_id(fantasy)))
        await until_waiting(postgres, 1)
    assert (await late)["end"]["__typename"] == "GenreNotEmpty"
    assert await postgres.fetchval("SELECT genre_id FROM books") == fantasy.id


async def test_a_book_finds_its_shelf_taken_down_a_moment_ago(
    administrator: Customer, fantasy: Genre, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with holding(database_url, "DELETE FROM genres WHERE id = $1", fantasy.id):
        late = asyncio.create_task(administrator.ask(CREATE_BOOK, input=LEAST | {"genreId": genre_id(fantasy)}))
        await until_waiting(postgres, 1)
    end = (await late)["end"]
    assert (end["__typename"], end["id"]) == ("NotFound", genre_id(fantasy))
    assert await postgres.fetchval("SELECT count(*) FROM books") == 0
