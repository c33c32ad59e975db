"""Facets: the filters of a list, each counted without its own filter."""

from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from domain.shop import Shop
from persistence.catalog import BookFormat
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_book, add_genre
from tests.support.shop.sample_catalog import SampleCatalog, create_sample_catalog

FACETS = """
fragment FacetFields on BookFacets {
  genres { count genre { slug } } formats { count format } minPrice { amount } maxPrice { amount } inStockCount
}
"""
LIST_QUERY = FACETS + (
    "query ($filter: BookFilter, $search: String, $sort: BookSort, $first: Int = 3) {"
    " page: books(filter: $filter, search: $search, sort: $sort, first: $first) { totalCount facets { ...FacetFields } } }"
)
GENRE_QUERY = FACETS + "query ($slug: String!) { genre(by: {slug: $slug}) { books { facets { ...FacetFields } } } }"
FILTERED_BOOKS = """
WITH filtered AS (
  SELECT b.*, g.slug AS genre_slug FROM books b LEFT JOIN genres g ON g.id = b.genre_id
  WHERE ($1::text[] IS NULL OR g.slug = ANY($1)) AND ($2::text[] IS NULL OR b.format = ANY($2))
  AND ($3::text IS NULL OR b.price >= $3::numeric) AND ($4::text IS NULL OR b.price <= $4::numeric)
  AND ($5::bool IS NULL OR (b.stock_quantity > 0) = $5)
  AND ($6::text IS NULL OR b.author_names ILIKE '%' || $6 || '%')
  AND ($7::text IS NULL OR b.title ILIKE '%' || $7 || '%'))
"""
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "genres": st.lists(st.sampled_from(["fantasy", "editions-rares", "poetry", "nowhere"]), max_size=3),
        "author": st.sampled_from(["tolk", "zola", "nobody"]),
        "formats": st.lists(st.sampled_from([format_.value for format_ in BookFormat]), max_size=2),
        "price": st.fixed_dictionaries(
            {}, optional={bound: st.sampled_from(["0", "9.99", "10", "12.50"]) for bound in ("min", "max")}
        ),
        "inStock": st.booleans(),
    },
)


@pytest.fixture
async def sample_catalog(shop: Shop, postgres: asyncpg.Connection) -> SampleCatalog:
    return await create_sample_catalog(shop, postgres)


async def query_expected(
    postgres: asyncpg.Connection, filters: dict[str, Any], search: str | None = None
) -> dict[str, Any]:
    async def fetch_rows(facet: str, sql: str) -> list[Any]:
        """Fetch a facet of the list without the facet's own filter."""
        other_filters = {name: value for name, value in filters.items() if name != facet}
        price = other_filters.get("price") or {}
        values = (
            other_filters.get("genres"),
            other_filters.get("formats"),
            price.get("min"),
            price.get("max"),
            other_filters.get("inStock"),
        )
        result: list[Any] = await postgres.fetch(FILTERED_BOOKS + sql, *values, other_filters.get("author"), search)
        return result

    genres = await fetch_rows(
        "genres", "SELECT genre_slug, count(*) FROM filtered WHERE genre_slug IS NOT NULL GROUP BY genre_slug"
    )
    formats = await fetch_rows(
        "formats", "SELECT format, count(*) FROM filtered WHERE format IS NOT NULL GROUP BY format"
    )
    [prices] = await fetch_rows("price", "SELECT min(price)::text, max(price)::text FROM filtered")
    [in_stock] = await fetch_rows("inStock", "SELECT count(*) FROM filtered WHERE stock_quantity > 0")
    return {
        "genres": dict(tuple(row) for row in genres),
        "formats": dict(tuple(row) for row in formats),
        "prices": tuple(prices),
        "inStock": in_stock[0],
    }


def normalize_facets(facets: dict[str, Any]) -> dict[str, Any]:
    for name in ("genres", "formats"):
        counts = [facet["count"] for facet in facets[name]]
        assert counts == sorted(counts, reverse=True), "not sorted by count"
    return {
        "genres": {facet["genre"]["slug"]: facet["count"] for facet in facets["genres"]},
        "formats": {facet["format"]: facet["count"] for facet in facets["formats"]},
        "prices": tuple(facets[name] and facets[name]["amount"] for name in ("minPrice", "maxPrice")),
        "inStock": facets["inStockCount"],
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filters=FILTERS, sort=st.sampled_from(["NEWEST", "BESTSELLING", "PRICE_ASC"]))
@example(filters={"genres": []}, sort="NEWEST")
@example(filters={"inStock": False}, sort="NEWEST")
@example(filters={"price": {"min": "10", "max": "9.99"}}, sort="NEWEST")
@example(
    filters={"genres": ["fantasy"], "formats": ["PAPERBACK"], "inStock": True, "price": {"max": "10"}}, sort="NEWEST"
)
async def test_facet_ignores_its_own_filter(
    client: ApiClient, postgres: asyncpg.Connection, sample_catalog: SampleCatalog, filters: dict[str, Any], sort: str
) -> None:
    result = (await client.execute(LIST_QUERY, filter=filters, sort=sort))["page"]["facets"]
    assert normalize_facets(result) == await query_expected(postgres, filters)


@pytest.mark.parametrize("filters", [{}, {"genres": ["poetry"], "inStock": True}, {"formats": ["PAPERBACK"]}])
@pytest.mark.parametrize("search", ["hobbit", "HOBB", "nowhere to be found"])
async def test_facets_of_a_search(
    client: ApiClient, postgres: asyncpg.Connection, sample_catalog: SampleCatalog, filters: dict[str, Any], search: str
) -> None:
    result = (await client.execute(LIST_QUERY, filter=filters, search=search))["page"]["facets"]
    assert normalize_facets(result) == await query_expected(postgres, filters, search)


async def test_facets_of_a_corrected_search(
    client: ApiClient, postgres: asyncpg.Connection, sample_catalog: SampleCatalog
) -> None:
    result = (await client.execute(LIST_QUERY, search="hobbti"))["page"]
    expected = await query_expected(postgres, {}, "hobbit")
    assert result["totalCount"] > 0
    assert normalize_facets(result["facets"]) == expected


async def test_facets_of_an_isbn_search(client: ApiClient, shop: Shop, sample_catalog: SampleCatalog) -> None:
    genre = await add_genre(shop, "Found")
    await add_book(shop, isbn="9780261103283", genre_id=genre.id, price="5", stock=1, format="PAPERBACK")
    result = (await client.execute(LIST_QUERY, search="0-261-10328-8"))["page"]
    expected = {"genres": {"found": 1}, "formats": {"PAPERBACK": 1}, "prices": ("5.00", "5.00"), "inStock": 1}
    assert normalize_facets(result["facets"]) == expected


async def test_facets_are_independent_of_page_size(
    client: ApiClient, postgres: asyncpg.Connection, sample_catalog: SampleCatalog
) -> None:
    for first in (0, 1, 100):
        result = (await client.execute(LIST_QUERY, first=first))["page"]["facets"]
        assert normalize_facets(result) == await query_expected(postgres, {})


async def test_empty_list_has_no_price_range(client: ApiClient, shop: Shop) -> None:
    result = (await client.execute(LIST_QUERY))["page"]["facets"]
    assert normalize_facets(result) == {"genres": {}, "formats": {}, "prices": (None, None), "inStock": 0}


async def test_genre_and_author_lists_have_facets(
    client: ApiClient, postgres: asyncpg.Connection, sample_catalog: SampleCatalog
) -> None:
    result = (await client.execute(GENRE_QUERY, slug="fantasy"))["genre"]["books"]["facets"]
    expected = await query_expected(postgres, {"genres": ["fantasy"]})
    count = await postgres.fetchval(
        "SELECT count(*) FROM books b JOIN genres g ON g.id = genre_id WHERE g.slug = 'fantasy'"
    )
    assert normalize_facets(result) == expected | {"genres": {"fantasy": count}}


async def test_min_rating_filters_all_facets(
    client: ApiClient, postgres: asyncpg.Connection, sample_catalog: SampleCatalog
) -> None:
    result = (await client.execute(LIST_QUERY, filter={"minRating": 4}))["page"]
    rated = "FROM books b JOIN book_ratings r ON r.book_id = b.id WHERE r.average >= 4"
    assert result["totalCount"] == await postgres.fetchval(f"SELECT count(*) {rated}") > 0
    assert result["facets"]["inStockCount"] == await postgres.fetchval(
        f"SELECT count(*) {rated} AND stock_quantity > 0"
    )
    count = await postgres.fetchval(f"SELECT count(*) {rated} AND genre_id IS NOT NULL")
    assert sum(facet["count"] for facet in result["facets"]["genres"]) == count
