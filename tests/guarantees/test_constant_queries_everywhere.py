"""Pages for customers and administrators cost the same number of SQL statements for few rows and many."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence.catalog import BookRow
from server.settings import Settings
from tests.support.database.query_counter import QueryCounter, count_queries
from tests.support.graphql.connections import LOOKUPS, populate_connections
from tests.support.graphql.schema_fields import (
    build_document,
    build_path_variables,
    build_selection,
    find_field,
    get_fields,
    get_result_type,
    list_connections,
)
from tests.support.http.client import ApiClient
from tests.support.shop.factories import SignedInUser, add_admin, add_book, add_genre, add_user
from tests.support.shop.past_orders import add_past_order

BOOKS_WITH_VIEWER_FIELDS = """query ($first: Int!) { books(first: $first) { nodes { title
    viewerReview { rating } viewerCanReview viewerHasWishlisted viewerPrebooking { status } } } }"""
BOOKS_WITH_RATINGS = (
    "query ($first: Int!) { books(first: $first) { nodes { averageRating reviewCount ratingHistogram { count } } } }"
)
BOOKS_WITH_RELATED = "query ($first: Int!) { books(first: $first) { nodes { relatedBooks { title } } } }"
BOOK_PAGE = """query ($slug: String!) { book(by: {slug: $slug}) {
    title authors { name } genre { name } averageRating reviewCount ratingHistogram { stars count }
    viewerReview { id } viewerCanReview viewerHasWishlisted viewerPrebooking { id } relatedBooks { title }
    reviews(first: 100) { totalCount nodes {
        rating isVerifiedPurchase viewerCanUpdate viewerCanDelete reviewer { displayName } book { title } } } } }"""
ORDERS = """{ admin { orders(first: 100) { nodes { number viewerCanCancel customer { email } shippingAddress { city }
    items { title book { title authors { name } genre { name } } } } } } }"""
ADMIN_LISTS = {
    "users": "{ admin { users(first: 100) { nodes { email displayName } } } }",
    "reviews": "{ admin { reviews(first: 100) { nodes { rating book { title } reviewer { account { email } } } } } }",
    "lowStockBooks": "{ admin { lowStockBooks(first: 100) { nodes { title waitingPrebookings } } } }",
    "bestSellers": "{ admin { bestSellers(period: THIS_MONTH, first: 100) { book { title genre { name } } } } }",
}
VIEWER_LISTS = {
    "wishlist": "{ me { wishlist(first: 100) { nodes { book { title price { amount } stockQuantity } } } } }",
    "prebookings": "{ me { prebookings(first: 100) { nodes { status book { title } } } } }",
    "reviews": "{ me { reviews(first: 100) { nodes { rating isVerifiedPurchase book { title } } } } }",
}
BY_IDS = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"
FACETS = "{ books(first: 2) { nodes { title } facets { %s } } }"

VIEWER_FIELD_STATEMENTS = 6  # the viewer, the page, their purchases, reviews, wishlist items and prebookings
# The viewer; the book with authors, genre and ratings; its related books; the viewer's four fields; the reviews with
# their reviewers; their number; which reviewers bought the book. The viewer's purchases may be in the last statement.
BOOK_PAGE_STATEMENTS = (10, 11)
ORDERS_STATEMENTS = 8  # the viewer, the page, customers, addresses, the items, their books, the authors, the genres
ADMIN_LIST_STATEMENTS = {"users": 2, "reviews": 3, "lowStockBooks": 3, "bestSellers": 3}
VIEWER_LIST_STATEMENTS = {"wishlist": 3, "prebookings": 3, "reviews": 4}
UNBATCHED = {"User.sessions"}
"""A known exception: one statement for each user whose sessions an administrator lists."""


@pytest.fixture
async def counter(shop: Shop, settings: Settings) -> AsyncIterator[QueryCounter]:
    async with count_queries(settings) as counter:
        yield counter


@pytest.fixture
async def books(shop: Shop) -> list[BookRow]:
    genres = [(await add_genre(shop)).id for _ in range(5)]
    return [
        await add_book(shop, stock=0, authors=(f"Author {number % 9}",), genre_id=genres[number % 5])
        for number in range(100)
    ]


async def _add_activity(
    postgres: asyncpg.Connection, user: SignedInUser, books: list[BookRow], status: str = "CONFIRMED"
) -> None:
    """Add an order, a review, a wishlist item and a prebooking of the user for each of the books."""
    await add_past_order(postgres, user, *((book, 1) for book in books), status=status)
    ids = [book.id for book in books]
    for table, columns, values in (("reviews", ", rating", ", 4"), ("wishlist_items", "", ""), ("prebookings", "", "")):
        await postgres.execute(
            f"INSERT INTO {table} (id, user_id, book_id{columns}) SELECT gen_random_uuid(), $1, unnest($2::uuid[]){values}",
            user.id,
            ids,
        )


def _get_client(counter: QueryCounter, user: SignedInUser) -> ApiClient:
    return counter.client.with_token(user.token)


async def test_every_connection_batches_its_fields(
    counter: QueryCounter, shop: Shop, postgres: asyncpg.Connection
) -> None:
    """Twenty nodes cost at most four statements more than ten, for which a loader may have nothing to load."""
    me, unbatched = (await populate_connections(counter.client, shop, postgres)).client, {}
    for name in list_connections():
        selection = build_selection(get_fields(get_result_type(find_field(name)).name)["nodes"], without=UNBATCHED)
        document = build_document(name, f"{{ nodes {selection} }}", ["first"])
        variables = build_path_variables(name.partition(".")[0], LOOKUPS)
        ten, twenty = [await counter.count(me, document, first=first, **variables) for first in (10, 20)]
        if not 0 < ten <= twenty < ten + 5:
            unbatched[name] = (ten, twenty)
    assert unbatched == {}


async def test_anonymous_viewer_fields_cost_no_statements(counter: QueryCounter, books: list[BookRow]) -> None:
    assert await counter.count(counter.client, BOOKS_WITH_VIEWER_FIELDS, first=100) == 1


async def test_statement_count_of_viewer_fields_is_constant(
    counter: QueryCounter, shop: Shop, postgres: asyncpg.Connection, books: list[BookRow]
) -> None:
    user = await add_user(shop)
    me = _get_client(counter, user)
    assert await counter.count(me, BOOKS_WITH_VIEWER_FIELDS, first=100) == VIEWER_FIELD_STATEMENTS
    await _add_activity(postgres, user, books)
    assert await counter.count(me, BOOKS_WITH_VIEWER_FIELDS, first=20) == VIEWER_FIELD_STATEMENTS
    assert await counter.count(me, BOOKS_WITH_VIEWER_FIELDS, first=100) == VIEWER_FIELD_STATEMENTS


@pytest.mark.parametrize(("document", "statements"), [(BOOKS_WITH_RATINGS, 1), (BOOKS_WITH_RELATED, 2)])
async def test_ratings_and_related_books_cost_one_statement_each(
    counter: QueryCounter, books: list[BookRow], document: str, statements: int
) -> None:
    assert await counter.count(counter.client, document, first=20) == statements
    assert await counter.count(counter.client, document, first=100) == statements


async def test_statement_count_of_50_reviews_equals_2(
    counter: QueryCounter, shop: Shop, postgres: asyncpg.Connection, books: list[BookRow]
) -> None:
    users = [await add_user(shop) for _ in range(50)]
    me = _get_client(counter, users[0])
    for user in users[:2]:
        await _add_activity(postgres, user, books[:1])
    assert await counter.count(me, BOOK_PAGE, slug=books[0].slug) in BOOK_PAGE_STATEMENTS
    for user in users[2:]:
        await _add_activity(postgres, user, books[:1])
    reviews = (await me.execute(BOOK_PAGE, slug=books[0].slug))["book"]["reviews"]
    assert len(reviews["nodes"]) == 50
    assert all(review["isVerifiedPurchase"] for review in reviews["nodes"])
    assert await counter.count(me, BOOK_PAGE, slug=books[0].slug) in BOOK_PAGE_STATEMENTS


async def test_statement_count_of_admin_orders_is_constant(
    counter: QueryCounter, shop: Shop, postgres: asyncpg.Connection, books: list[BookRow]
) -> None:
    admin = _get_client(counter, await add_admin(shop))
    for number in range(2):
        await add_past_order(postgres, await add_user(shop), (books[number], 1), (books[99], 1))
    assert await counter.count(admin, ORDERS) == ORDERS_STATEMENTS
    for number in range(2, 40):
        await add_past_order(postgres, await add_user(shop), (books[number], 1), (books[99], 1))
    assert len((await admin.execute(ORDERS))["admin"]["orders"]["nodes"]) == 40
    assert await counter.count(admin, ORDERS) == ORDERS_STATEMENTS


@pytest.mark.parametrize("name", ADMIN_LISTS)
async def test_statement_count_of_every_admin_list_is_constant(
    counter: QueryCounter, shop: Shop, postgres: asyncpg.Connection, books: list[BookRow], name: str
) -> None:
    admin = _get_client(counter, await add_admin(shop))
    await _add_activity(postgres, await add_user(shop), books[:2])
    assert await counter.count(admin, ADMIN_LISTS[name]) == ADMIN_LIST_STATEMENTS[name]
    for _ in range(10):
        await _add_activity(postgres, await add_user(shop), books[:9])
    assert await counter.count(admin, ADMIN_LISTS[name]) == ADMIN_LIST_STATEMENTS[name]


@pytest.mark.parametrize("name", VIEWER_LISTS)
async def test_statement_count_of_viewer_lists_is_constant(
    counter: QueryCounter, shop: Shop, postgres: asyncpg.Connection, books: list[BookRow], name: str
) -> None:
    user = await add_user(shop)
    me = _get_client(counter, user)
    await _add_activity(postgres, user, books[:2])
    assert await counter.count(me, VIEWER_LISTS[name]) == VIEWER_LIST_STATEMENTS[name]
    await _add_activity(postgres, user, books[2:])
    assert len((await me.execute(VIEWER_LISTS[name]))["me"][name]["nodes"]) == 100
    assert await counter.count(me, VIEWER_LISTS[name]) == VIEWER_LIST_STATEMENTS[name]


@pytest.mark.parametrize(
    ("kind", "table"), [("WishlistItem", "wishlist_items"), ("Prebooking", "prebookings"), ("Review", "reviews")]
)
async def test_statement_count_of_100_ids_equals_2(
    counter: QueryCounter, shop: Shop, postgres: asyncpg.Connection, books: list[BookRow], kind: str, table: str
) -> None:
    user = await add_user(shop)
    await _add_activity(postgres, user, books)
    ids = [to_global_id(kind, row["id"]) for row in await postgres.fetch(f"SELECT id FROM {table}")]
    me, statements = _get_client(counter, user), 1 if kind == "Review" else 2  # only private types need the viewer
    assert await counter.count(me, BY_IDS, ids=ids[:2]) == statements
    assert len(ids) == 100
    assert await counter.count(me, BY_IDS, ids=ids) == statements


@pytest.mark.parametrize(
    ("selection", "statements"),
    [
        ("__typename", 0),
        ("inStockCount", 1),
        ("formats { count }", 1),
        ("minPrice { amount } maxPrice { amount }", 1),
        ("genres { count }", 1),
        ("genres { genre { name } }", 2),
        ("genres { count } formats { count } minPrice { amount } inStockCount", 4),
    ],
)
async def test_only_selected_facets_cost_a_statement(
    counter: QueryCounter, books: list[BookRow], selection: str, statements: int
) -> None:
    assert await counter.count(counter.client, FACETS % selection) == 1 + statements
