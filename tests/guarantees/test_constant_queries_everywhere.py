"""Every other page for customers and administrators does so, too."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence.catalog import BookRow
from server.settings import Settings
from tests.support.database.query_counter import QueryCounter, count_queries
from tests.support.http.client import ApiClient
from tests.support.shop.factories import SignedInUser, add_admin, add_book, add_genre, add_user
from tests.support.shop.past_orders import add_past_order

VIEWED = """query ($first: Int!) { books(first: $first) { nodes { title
    viewerReview { rating } viewerCanReview viewerHasWishlisted viewerPrebooking { status } } } }"""
RATED = (
    "query ($first: Int!) { books(first: $first) { nodes { averageRating reviewCount ratingHistogram { count } } } }"
)
RELATED = "query ($first: Int!) { books(first: $first) { nodes { relatedBooks { title } } } }"
BOOK_PAGE = """query ($slug: String!) { book(by: {slug: $slug}) {
    title authors { name } genre { name } averageRating reviewCount ratingHistogram { stars count }
    viewerReview { id } viewerCanReview viewerHasWishlisted viewerPrebooking { id } relatedBooks { title }
    reviews(first: 100) { totalCount nodes {
        rating isVerifiedPurchase viewerCanUpdate viewerCanDelete reviewer { displayName } book { title } } } } }"""
ORDERS = """{ admin { orders(first: 100) { nodes { number viewerCanCancel customer { email } shippingAddress { city }
    items { title book { title authors { name } genre { name } } } } } } }"""
OFFICE = {
    "users": "{ admin { users(first: 100) { nodes { email displayName } } } }",
    "reviews": "{ admin { reviews(first: 100) { nodes { rating book { title } reviewer { account { email } } } } } }",
    "lowStockBooks": "{ admin { lowStockBooks(first: 100) { nodes { title waitingPrebookings } } } }",
    "bestSellers": "{ admin { bestSellers(period: THIS_MONTH, first: 100) { book { title genre { name } } } } }",
}
MINE = {
    "wishlist": "{ me { wishlist(first: 100) { nodes { book { title price { amount } stockQuantity } } } } }",
    "prebookings": "{ me { prebookings(first: 100) { nodes { status book { title } } } } }",
    "reviews": "{ me { reviews(first: 100) { nodes { rating isVerifiedPurchase book { title } } } } }",
}
BY_IDS = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"
FACETS = "{ books(first: 2) { nodes { title } facets { %s } } }"

VIEWED_STATEMENTS = 6  # who asks, the page, their purchases, reviews, saved books and pre-bookings
# who asks, the book with authors, genre and ratings, its related books, the viewer's four, the reviews with who wrote them
# and their number, who of these has bought it; the viewer's purchases may go with theirs
BOOK_PAGE_STATEMENTS = (10, 11)
ORDERS_STATEMENTS = 8  # who asks, the page, customers, addresses, the lines, their books, the authors, the genres
OFFICE_STATEMENTS = {"users": 2, "reviews": 3, "lowStockBooks": 3, "bestSellers": 3}
MINE_STATEMENTS = {"wishlist": 3, "prebookings": 3, "reviews": 4}


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


async def _reads(
    postgres: asyncpg.Connection, user: SignedInUser, books: list[BookRow], status: str = "CONFIRMED"
) -> None:
    """Buys, reviews, saves and waits for all of them."""
    await add_past_order(postgres, user, *((book, 1) for book in books), status=status)
    ids = [book.id for book in books]
    for table, more, values in (("reviews", ", rating", ", 4"), ("wishlist_items", "", ""), ("prebookings", "", "")):
        await postgres.execute(
            f"INSERT INTO {table} (id, user_id, book_id{more}) SELECT gen_random_uuid(), $1, unnest($2::uuid[]){values}",
            user.id,
            ids,
        )


def _signed_in(counter: QueryCounter, user: SignedInUser) -> ApiClient:
    return counter.client.with_token(user.token)


async def test_viewer_fields_cost_anonymous_callers_nothing(counter: QueryCounter, books: list[BookRow]) -> None:
    assert await counter.count(counter.client, VIEWED, first=100) == 1


async def test_statement_count_of_viewer_fields_is_constant(
    counter: QueryCounter, shop: Shop, postgres: asyncpg.Connection, books: list[BookRow]
) -> None:
    reader = await add_user(shop)
    me = _signed_in(counter, reader)
    assert await counter.count(me, VIEWED, first=100) == VIEWED_STATEMENTS
    await _reads(postgres, reader, books)
    assert await counter.count(me, VIEWED, first=20) == VIEWED_STATEMENTS
    assert await counter.count(me, VIEWED, first=100) == VIEWED_STATEMENTS


@pytest.mark.parametrize(("document", "statements"), [(RATED, 1), (RELATED, 2)])
async def test_ratings_and_related_books_cost_one_statement_each(
    counter: QueryCounter, books: list[BookRow], document: str, statements: int
) -> None:
    assert await counter.count(counter.client, document, first=20) == statements
    assert await counter.count(counter.client, document, first=100) == statements


async def test_statement_count_of_50_reviews_equals_2(
    counter: QueryCounter, shop: Shop, postgres: asyncpg.Connection, books: list[BookRow]
) -> None:
    readers = [await add_user(shop) for _ in range(50)]
    me = _signed_in(counter, readers[0])
    for reader in readers[:2]:
        await _reads(postgres, reader, books[:1])
    assert await counter.count(me, BOOK_PAGE, slug=books[0].slug) in BOOK_PAGE_STATEMENTS
    for reader in readers[2:]:
        await _reads(postgres, reader, books[:1])
    shown = (await me.execute(BOOK_PAGE, slug=books[0].slug))["book"]["reviews"]
    assert len(shown["nodes"]) == 50
    assert all(review["isVerifiedPurchase"] for review in shown["nodes"])
    assert await counter.count(me, BOOK_PAGE, slug=books[0].slug) in BOOK_PAGE_STATEMENTS


async def test_statement_count_of_admin_orders_is_constant(
    counter: QueryCounter, shop: Shop, postgres: asyncpg.Connection, books: list[BookRow]
) -> None:
    manager = _signed_in(counter, await add_admin(shop))
    for number in range(2):
        await add_past_order(postgres, await add_user(shop), (books[number], 1), (books[99], 1))
    assert await counter.count(manager, ORDERS) == ORDERS_STATEMENTS
    for number in range(2, 40):
        await add_past_order(postgres, await add_user(shop), (books[number], 1), (books[99], 1))
    assert len((await manager.execute(ORDERS))["admin"]["orders"]["nodes"]) == 40
    assert await counter.count(manager, ORDERS) == ORDERS_STATEMENTS


@pytest.mark.parametrize("name", OFFICE)
async def test_statement_count_of_every_admin_list_is_constant(
    counter: QueryCounter, shop: Shop, postgres: asyncpg.Connection, books: list[BookRow], name: str
) -> None:
    manager = _signed_in(counter, await add_admin(shop))
    await _reads(postgres, await add_user(shop), books[:2])
    assert await counter.count(manager, OFFICE[name]) == OFFICE_STATEMENTS[name]
    for _ in range(10):
        await _reads(postgres, await add_user(shop), books[:9])
    assert await counter.count(manager, OFFICE[name]) == OFFICE_STATEMENTS[name]


@pytest.mark.parametrize("name", MINE)
async def test_statement_count_of_viewer_lists_is_constant(
    counter: QueryCounter, shop: Shop, postgres: asyncpg.Connection, books: list[BookRow], name: str
) -> None:
    reader = await add_user(shop)
    me = _signed_in(counter, reader)
    await _reads(postgres, reader, books[:2])
    assert await counter.count(me, MINE[name]) == MINE_STATEMENTS[name]
    await _reads(postgres, reader, books[2:])
    assert len((await me.execute(MINE[name]))["me"][name]["nodes"]) == 100
    assert await counter.count(me, MINE[name]) == MINE_STATEMENTS[name]


@pytest.mark.parametrize(
    ("kind", "table"), [("WishlistItem", "wishlist_items"), ("Prebooking", "prebookings"), ("Review", "reviews")]
)
async def test_statement_count_of_100_ids_equals_2(
    counter: QueryCounter, shop: Shop, postgres: asyncpg.Connection, books: list[BookRow], kind: str, table: str
) -> None:
    reader = await add_user(shop)
    await _reads(postgres, reader, books)
    ids = [to_global_id(kind, row["id"]) for row in await postgres.fetch(f"SELECT id FROM {table}")]
    me, costs = _signed_in(counter, reader), 1 if kind == "Review" else 2  # whose it is does not matter for a review
    assert await counter.count(me, BY_IDS, ids=ids[:2]) == costs
    assert len(ids) == 100
    assert await counter.count(me, BY_IDS, ids=ids) == costs


@pytest.mark.parametrize(
    ("selected", "statements"),
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
    counter: QueryCounter, books: list[BookRow], selected: str, statements: int
) -> None:
    assert await counter.count(counter.client, FACETS % selected) == 1 + statements
