"""Browsing the catalogue: every filter and sort gives what SQL written by hand gives."""

import uuid
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.shop import Shop
from graph.ids import global_id
from persistence.catalog import BookFormat
from tests.client import Visitor
from tests.factories import add_book, add_genre
from tests.shelves import GENRES, ORDERS, Shelves, stocked

BROWSE = """query ($filter: BookFilter, $sort: BookSort) {
    books(filter: $filter, sort: $sort, first: 100) { totalCount nodes { id } } }"""
OF_GENRE = "query ($slug: String!, $sort: BookSort!) { of: genre(by: {slug: $slug}) { books(sort: $sort, first: 100) { totalCount nodes { id } } } }"
OF_AUTHOR = OF_GENRE.replace("genre", "author")
BY_HAND = """
SELECT b.id FROM books b LEFT JOIN genres g ON g.id = b.genre_id
WHERE ($1::text[] IS NULL OR g.slug = ANY($1))
AND ($2::text IS NULL OR EXISTS (
    SELECT FROM book_authors w JOIN authors a ON a.id = w.author_id
    WHERE w.book_id = b.id AND strpos(lower(unaccent(a.name)), lower(unaccent($2))) > 0))
AND ($3::text[] IS NULL OR b.format = ANY($3))
AND ($4::text IS NULL OR b.price >= $4::numeric) AND ($5::text IS NULL OR b.price <= $5::numeric)
AND ($6::bool IS NULL OR (b.stock_quantity > 0) = $6)
AND ($7::float8 IS NULL OR (
    SELECT round((5 * five + 2 * two)::numeric / nullif(five + two, 0), 1) FROM book_ratings WHERE book_id = b.id
    ) >= $7::numeric)
ORDER BY """
PAGE_OF_GENRE = "SELECT b.id FROM books b JOIN genres g ON g.id = b.genre_id WHERE g.slug = $1 ORDER BY "
PAGE_OF_AUTHOR = """SELECT b.id FROM books b JOIN book_authors w ON w.book_id = b.id JOIN authors a ON a.id = w.author_id
    WHERE a.slug = $1 ORDER BY """

FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "genres": st.lists(st.sampled_from(["fantasy", "editions-rares", "poetry", "nowhere"]), max_size=3),
        "author": st.sampled_from(["tolk", "EMILE", "Émile", "zola", "%", "_", "\\", "o'b", "le guin", "nobody"]),
        "formats": st.lists(st.sampled_from([each.value for each in BookFormat]), max_size=2),
        "price": st.fixed_dictionaries(
            {}, optional={bound: st.sampled_from(["0", "9.99", "10", "10.005", "99999999.99"]) for bound in ("min", "max")}
        ),
        "inStock": st.booleans(),
        "minRating": st.sampled_from([1, 1.0, 2.0, 3.45, 3.5, 3.51, 4.99, 5]),
    },
)  # fmt: skip


@pytest.fixture
async def shelves(shop: Shop, postgres: asyncpg.Connection) -> Shelves:
    return await stocked(shop, postgres)


async def by_hand(postgres: asyncpg.Connection, sort: str, narrow: dict[str, Any]) -> list[str]:
    price = narrow.get("price") or {}
    values = [narrow.get(name) for name in ("genres", "author", "formats")]
    rows = await postgres.fetch(
        BY_HAND + ORDERS[sort],
        *values,
        price.get("min"),
        price.get("max"),
        narrow.get("inStock"),
        narrow.get("minRating"),
    )
    return [global_id("Book", row["id"]) for row in rows]


def ids(page: dict[str, Any]) -> list[str]:
    return [node["id"] for node in page["nodes"]]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(narrow=FILTERS, sort=st.sampled_from(list(ORDERS)))
async def test_filters_and_sorts(
    visitor: Visitor,
    postgres: asyncpg.Connection,
    shelves: Shelves,
    narrow: dict[str, Any],
    sort: str,
) -> None:
    page = (await visitor.ask(BROWSE, filter=narrow, sort=sort))["books"]
    expected = await by_hand(postgres, sort, narrow)
    assert ids(page) == expected
    assert page["totalCount"] == len(expected)


@pytest.mark.parametrize("sort", ORDERS)
async def test_each_sort_of_everything(
    visitor: Visitor, postgres: asyncpg.Connection, shelves: Shelves, sort: str
) -> None:
    page = (await visitor.ask(BROWSE, sort=sort))["books"]
    assert ids(page) == await by_hand(postgres, sort, {})
    assert page["totalCount"] == len(shelves.books)


@pytest.mark.parametrize("absent", [None, "RELEVANCE", "NEWEST"])
async def test_without_a_search_the_newest_come_first(
    visitor: Visitor, postgres: asyncpg.Connection, shelves: Shelves, absent: str | None
) -> None:
    expected = await by_hand(postgres, "NEWEST", {})
    assert ids((await visitor.ask(BROWSE, sort=absent))["books"]) == expected
    assert ids((await visitor.ask("{ books(first: 100) { nodes { id } } }"))["books"]) == expected


@pytest.mark.parametrize(
    "narrow",
    [
        {},
        {
            "genres": None,
            "author": None,
            "formats": None,
            "price": None,
            "inStock": None,
        },
        {"price": {"min": None}},
    ],
)
async def test_what_is_null_does_not_narrow(visitor: Visitor, shelves: Shelves, narrow: dict[str, Any]) -> None:
    page = (await visitor.ask(BROWSE, filter=narrow))["books"]
    assert page["totalCount"] == len(ids(page)) == len(shelves.books)


@pytest.mark.parametrize("sort", ORDERS)
async def test_the_books_of_a_genre_and_of_an_author(
    visitor: Visitor, postgres: asyncpg.Connection, shelves: Shelves, sort: str
) -> None:
    for document, sql, slug in (
        *((OF_GENRE, PAGE_OF_GENRE, slug) for slug in shelves.genres),
        *((OF_AUTHOR, PAGE_OF_AUTHOR, slug) for slug in ("emile-zola", "j-r-r-tolkien")),
    ):
        page = (await visitor.ask(document, slug=slug, sort=sort))["of"]["books"]
        expected = [global_id("Book", row["id"]) for row in await postgres.fetch(sql + ORDERS[sort], slug)]
        assert ids(page) == expected
        assert page["totalCount"] == len(expected) > 0


async def test_genres_and_authors_stand_in_alphabetical_order(visitor: Visitor, shelves: Shelves) -> None:
    await add_genre(shelves.shop, "adventure")
    reply = await visitor.ask("{ genres { name } authors(first: 100) { totalCount nodes { name } } }")
    assert [genre["name"] for genre in reply["genres"]] == [
        "adventure",
        GENRES[1],
        GENRES[0],
        GENRES[2],
    ]
    assert [author["name"] for author in reply["authors"]["nodes"]] == [
        "Émile Verhaeren", "Émile Zola", "J. R. R. Tolkien", "O'Brien_Smith", "ursula k. le guin", "Zoë Percent%",
    ]  # fmt: skip
    assert reply["authors"]["totalCount"] == 6


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("emi", 2),
        ("zol em", 1),
        ("ZOLÁ", 1),
        ("mile", 0),
        ("", 0),
        ("&", 0),
        ("le", 1),
        ("smith", 1),
    ],
)
async def test_authors_are_found_by_the_start_of_any_word(
    visitor: Visitor, shelves: Shelves, search: str, found: int
) -> None:
    document = "query ($search: String) { authors(search: $search) { totalCount nodes { name } } }"
    page = (await visitor.ask(document, search=search))["authors"]
    assert page["totalCount"] == len(page["nodes"]) == found


async def test_a_book_shows_its_authors_in_the_order_of_the_title_page(visitor: Visitor, shop: Shop) -> None:
    genre = await add_genre(shop, "Fantasy")
    book = await add_book(
        shop,
        "Good Omens",
        stock=2,
        price="7.5",
        authors=("Terry Pratchett", "Neil Gaiman"),
        genre_id=genre.id,
    )
    document = """query ($id: ID!) { node(id: $id) { ... on Book { slug authors { name } genre { name }
        price { amount currency } stockQuantity availability } } }"""
    assert (await visitor.ask(document, id=global_id("Book", book.id)))["node"] == {
        "slug": "good-omens",
        "authors": [{"name": "Terry Pratchett"}, {"name": "Neil Gaiman"}],
        "genre": {"name": "Fantasy"},
        "price": {"amount": "7.50", "currency": "EUR"},
        "stockQuantity": 2,
        "availability": "LOW_STOCK",
    }


@pytest.mark.parametrize(("stock", "word"), [(0, "OUT_OF_STOCK"), (5, "LOW_STOCK"), (6, "IN_STOCK")])
async def test_stock_in_a_word(visitor: Visitor, shop: Shop, stock: int, word: str) -> None:
    await add_book(shop, stock=stock)
    assert (await visitor.ask("{ books { nodes { availability } } }"))["books"]["nodes"] == [{"availability": word}]


@pytest.mark.parametrize("least", [0, 0.99, 5.01, -1, 1e300])
async def test_a_rating_that_no_book_can_have(visitor: Visitor, shelves: Shelves, least: float) -> None:
    assert (await visitor.ask(BROWSE, filter={"minRating": least})).codes == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("name", ["genres", "formats"])
async def test_more_values_than_a_filter_takes(visitor: Visitor, shelves: Shelves, name: str) -> None:
    values = ["HARDCOVER"] * 101 if name == "formats" else [str(uuid.uuid4()) for _ in range(101)]
    reply = await visitor.ask(BROWSE, filter={name: values})
    assert reply.codes == ["BAD_USER_INPUT"]
