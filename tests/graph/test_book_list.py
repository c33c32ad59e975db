"""The list of books: every filter and sort order returns the rows of hand-written SQL."""

import uuid
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence.catalog import BookFormat
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_book, add_genre
from tests.support.shop.sample_catalog import GENRES, ORDER_BY_SQL, SampleCatalog, create_sample_catalog

BROWSE = """query ($filter: BookFilter, $sort: BookSort) {
    books(filter: $filter, sort: $sort, first: 100) { totalCount nodes { id } } }"""
GENRE_BOOKS = """query ($slug: String!, $sort: BookSort!) {
    parent: genre(by: {slug: $slug}) { books(sort: $sort, first: 100) { totalCount nodes { id } } } }"""
AUTHOR_BOOKS = GENRE_BOOKS.replace("genre", "author")
EXPECTED_SQL = """
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
        "formats": st.lists(st.sampled_from([format_.value for format_ in BookFormat]), max_size=2),
        "price": st.fixed_dictionaries(
            {}, optional={bound: st.sampled_from(["0", "9.99", "10", "10.005", "99999999.99"]) for bound in ("min", "max")}
        ),
        "inStock": st.booleans(),
        "minRating": st.sampled_from([1, 1.0, 2.0, 3.45, 3.5, 3.51, 4.99, 5]),
    },
)  # fmt: skip


@pytest.fixture
async def sample_catalog(shop: Shop, postgres: asyncpg.Connection) -> SampleCatalog:
    return await create_sample_catalog(shop, postgres)


async def query_expected(postgres: asyncpg.Connection, sort: str, filters: dict[str, Any]) -> list[str]:
    price = filters.get("price") or {}
    values = [filters.get(name) for name in ("genres", "author", "formats")]
    rows = await postgres.fetch(
        EXPECTED_SQL + ORDER_BY_SQL[sort],
        *values,
        price.get("min"),
        price.get("max"),
        filters.get("inStock"),
        filters.get("minRating"),
    )
    return [to_global_id("Book", row["id"]) for row in rows]


def list_ids(page: dict[str, Any]) -> list[str]:
    return [node["id"] for node in page["nodes"]]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(filters=FILTERS, sort=st.sampled_from(list(ORDER_BY_SQL)))
async def test_filters_and_sorts(
    client: ApiClient,
    postgres: asyncpg.Connection,
    sample_catalog: SampleCatalog,
    filters: dict[str, Any],
    sort: str,
) -> None:
    page = (await client.execute(BROWSE, filter=filters, sort=sort))["books"]
    expected = await query_expected(postgres, sort, filters)
    assert list_ids(page) == expected
    assert page["totalCount"] == len(expected)


@pytest.mark.parametrize("sort", ORDER_BY_SQL)
async def test_each_sort_of_all_books(
    client: ApiClient, postgres: asyncpg.Connection, sample_catalog: SampleCatalog, sort: str
) -> None:
    page = (await client.execute(BROWSE, sort=sort))["books"]
    assert list_ids(page) == await query_expected(postgres, sort, {})
    assert page["totalCount"] == len(sample_catalog.books)


@pytest.mark.parametrize("sort", [None, "RELEVANCE", "NEWEST"])
async def test_default_sort_is_newest(
    client: ApiClient, postgres: asyncpg.Connection, sample_catalog: SampleCatalog, sort: str | None
) -> None:
    expected = await query_expected(postgres, "NEWEST", {})
    assert list_ids((await client.execute(BROWSE, sort=sort))["books"]) == expected
    assert list_ids((await client.execute("{ books(first: 100) { nodes { id } } }"))["books"]) == expected


@pytest.mark.parametrize(
    "filters",
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
async def test_null_filter_is_ignored(
    client: ApiClient, sample_catalog: SampleCatalog, filters: dict[str, Any]
) -> None:
    page = (await client.execute(BROWSE, filter=filters))["books"]
    assert page["totalCount"] == len(list_ids(page)) == len(sample_catalog.books)


@pytest.mark.parametrize("sort", ORDER_BY_SQL)
async def test_the_books_of_a_genre_and_of_an_author(
    client: ApiClient, postgres: asyncpg.Connection, sample_catalog: SampleCatalog, sort: str
) -> None:
    for document, sql, slug in (
        *((GENRE_BOOKS, PAGE_OF_GENRE, slug) for slug in sample_catalog.genres),
        *((AUTHOR_BOOKS, PAGE_OF_AUTHOR, slug) for slug in ("emile-zola", "j-r-r-tolkien")),
    ):
        page = (await client.execute(document, slug=slug, sort=sort))["parent"]["books"]
        expected = [to_global_id("Book", row["id"]) for row in await postgres.fetch(sql + ORDER_BY_SQL[sort], slug)]
        assert list_ids(page) == expected
        assert page["totalCount"] == len(expected) > 0


async def test_genres_and_authors_are_alphabetical(client: ApiClient, sample_catalog: SampleCatalog) -> None:
    await add_genre(sample_catalog.shop, "adventure")
    response = await client.execute("{ genres { name } authors(first: 100) { totalCount nodes { name } } }")
    assert [genre["name"] for genre in response["genres"]] == [
        "adventure",
        GENRES[1],
        GENRES[0],
        GENRES[2],
    ]
    assert [author["name"] for author in response["authors"]["nodes"]] == [
        "Émile Verhaeren", "Émile Zola", "J. R. R. Tolkien", "O'Brien_Smith", "ursula k. le guin", "Zoë Percent%",
    ]  # fmt: skip
    assert response["authors"]["totalCount"] == 6


@pytest.mark.parametrize(
    ("search", "count"),
    [
        ("emi", 2),
        ("zol em", 1),
        ("ZOLÁ", 1),
        ("mile", 0),
        ("zo\u00adla\u200e", 1),
        ("&", 0),
        ("le", 1),
        ("smith", 1),
    ],
)
async def test_authors_are_found_by_word_prefix(
    client: ApiClient, sample_catalog: SampleCatalog, search: str, count: int
) -> None:
    document = "query ($search: String) { authors(search: $search) { totalCount nodes { name } } }"
    page = (await client.execute(document, search=search))["authors"]
    assert page["totalCount"] == len(page["nodes"]) == count


@pytest.mark.parametrize("search", ["", " \u3000", "\u2060"])
async def test_a_blank_search_finds_all_authors(client: ApiClient, sample_catalog: SampleCatalog, search: str) -> None:
    document = "query ($search: String) { authors(search: $search, first: 100) { totalCount nodes { name } } }"
    all_authors = await client.execute(document)
    assert (await client.execute(document, search=search)).data == all_authors.data
    assert all_authors["authors"]["totalCount"] > 0


async def test_authors_of_a_book_keep_their_order(client: ApiClient, shop: Shop) -> None:
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
    assert (await client.execute(document, id=to_global_id("Book", book.id)))["node"] == {
        "slug": "good-omens",
        "authors": [{"name": "Terry Pratchett"}, {"name": "Neil Gaiman"}],
        "genre": {"name": "Fantasy"},
        "price": {"amount": "7.50", "currency": "EUR"},
        "stockQuantity": 2,
        "availability": "LOW_STOCK",
    }


@pytest.mark.parametrize(("stock", "availability"), [(0, "OUT_OF_STOCK"), (5, "LOW_STOCK"), (6, "IN_STOCK")])
async def test_availability(client: ApiClient, shop: Shop, stock: int, availability: str) -> None:
    await add_book(shop, stock=stock)
    assert (await client.execute("{ books { nodes { availability } } }"))["books"]["nodes"] == [
        {"availability": availability}
    ]


@pytest.mark.parametrize("min_rating", [0, 0.99, 5.01, -1, 1e300])
async def test_min_rating_out_of_range_is_an_error(
    client: ApiClient, sample_catalog: SampleCatalog, min_rating: float
) -> None:
    assert (await client.execute(BROWSE, filter={"minRating": min_rating})).codes == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("name", ["genres", "formats"])
async def test_too_many_filter_values_are_an_error(client: ApiClient, sample_catalog: SampleCatalog, name: str) -> None:
    values = ["HARDCOVER"] * 101 if name == "formats" else [str(uuid.uuid4()) for _ in range(101)]
    response = await client.execute(BROWSE, filter={name: values})
    assert response.codes == ["BAD_USER_INPUT"]
