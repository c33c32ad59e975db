"""Constant queries everywhere: what readers, customers and the back office see costs the same for few rows and many."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from domain.shop import Shop
from graph.ids import global_id
from persistence.catalog import Book
from server.settings import Settings
from tests.client import Visitor
from tests.counting import Counter, counting
from tests.factories import Member, add_administrator, add_book, add_genre, add_member
from tests.purchases import bought

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
async def counter(shop: Shop, settings: Settings) -> AsyncIterator[Counter]:
    async with counting(settings) as counter:
        yield counter


@pytest.fixture
async def books(shop: Shop) -> list[Book]:
    genres = [(await add_genre(shop)).id for _ in range(5)]
    return [
        await add_book(shop, stock=0, authors=(f"Author {number % 9}",), genre_id=genres[number % 5])
        for number in range(100)
    ]


async def _reads(postgres: asyncpg.Connection, reader: Member, books: list[Book], status: str = "CONFIRMED") -> None:
    """Buys, reviews, saves and waits for all of them."""
    await bought(postgres, reader, *((book, 1) for book in books), status=status)
    ids = [book.id for book in books]
    for table, more, values in (("reviews", ", rating", ", 4"), ("wishlist_items", "", ""), ("prebookings", "", "")):
        await postgres.execute(
            f"INSERT INTO {table} (id, user_id, book_id{more}) SELECT gen_random_uuid(), $1, unnest($2::uuid[]){values}",
            reader.id,
            ids,
        )


def _signed_in(counter: Counter, member: Member) -> Visitor:
    return counter.visitor.signed_in(member.token)


async def test_what_depends_on_the_viewer_costs_a_visitor_nothing(counter: Counter, books: list[Book]) -> None:
    assert await counter.count(counter.visitor, VIEWED, first=100) == 1


async def test_what_depends_on_the_viewer_costs_the_same_for_20_books_and_100(
    counter: Counter, shop: Shop, postgres: asyncpg.Connection, books: list[Book]
) -> None:
    reader = await add_member(shop)
    me = _signed_in(counter, reader)
    assert await counter.count(me, VIEWED, first=100) == VIEWED_STATEMENTS
    await _reads(postgres, reader, books)
    assert await counter.count(me, VIEWED, first=20) == VIEWED_STATEMENTS
    assert await counter.count(me, VIEWED, first=100) == VIEWED_STATEMENTS


@pytest.mark.parametrize(("document", "statements"), [(RATED, 1), (RELATED, 2)])
async def test_ratings_and_related_books_cost_one_statement_for_all(
    counter: Counter, books: list[Book], document: str, statements: int
) -> None:
    assert await counter.count(counter.visitor, document, first=20) == statements
    assert await counter.count(counter.visitor, document, first=100) == statements


async def test_a_book_page_with_50_reviews_costs_what_one_with_2_does(
    counter: Counter, shop: Shop, postgres: asyncpg.Connection, books: list[Book]
) -> None:
    readers = [await add_member(shop) for _ in range(50)]
    me = _signed_in(counter, readers[0])
    for reader in readers[:2]:
        await _reads(postgres, reader, books[:1])
    assert await counter.count(me, BOOK_PAGE, slug=books[0].slug) in BOOK_PAGE_STATEMENTS
    for reader in readers[2:]:
        await _reads(postgres, reader, books[:1])
    shown = (await me.ask(BOOK_PAGE, slug=books[0].slug))["book"]["reviews"]
    assert len(shown["nodes"]) == 50
    assert all(review["isVerifiedPurchase"] for review in shown["nodes"])
    assert await counter.count(me, BOOK_PAGE, slug=books[0].slug) in BOOK_PAGE_STATEMENTS


async def test_the_order_list_of_the_back_office_costs_the_same_for_2_orders_and_40(
    counter: Counter, shop: Shop, postgres: asyncpg.Connection, books: list[Book]
) -> None:
    manager = _signed_in(counter, await add_administrator(shop))
    for number in range(2):
        await bought(postgres, await add_member(shop), (books[number], 1), (books[99], 1))
    assert await counter.count(manager, ORDERS) == ORDERS_STATEMENTS
    for number in range(2, 40):
        await bought(postgres, await add_member(shop), (books[number], 1), (books[99], 1))
    assert len((await manager.ask(ORDERS))["admin"]["orders"]["nodes"]) == 40
    assert await counter.count(manager, ORDERS) == ORDERS_STATEMENTS


@pytest.mark.parametrize("name", OFFICE)
async def test_every_list_of_the_back_office_costs_the_same_for_few_rows_and_many(
    counter: Counter, shop: Shop, postgres: asyncpg.Connection, books: list[Book], name: str
) -> None:
    manager = _signed_in(counter, await add_administrator(shop))
    await _reads(postgres, await add_member(shop), books[:2])
    assert await counter.count(manager, OFFICE[name]) == OFFICE_STATEMENTS[name]
    for _ in range(10):
        await _reads(postgres, await add_member(shop), books[:9])
    assert await counter.count(manager, OFFICE[name]) == OFFICE_STATEMENTS[name]


@pytest.mark.parametrize("name", MINE)
async def test_what_is_mine_costs_the_same_for_2_rows_and_100(
    counter: Counter, shop: Shop, postgres: asyncpg.Connection, books: list[Book], name: str
) -> None:
    reader = await add_member(shop)
    me = _signed_in(counter, reader)
    await _reads(postgres, reader, books[:2])
    assert await counter.count(me, MINE[name]) == MINE_STATEMENTS[name]
    await _reads(postgres, reader, books[2:])
    assert len((await me.ask(MINE[name]))["me"][name]["nodes"]) == 100
    assert await counter.count(me, MINE[name]) == MINE_STATEMENTS[name]


@pytest.mark.parametrize(
    ("kind", "table"), [("WishlistItem", "wishlist_items"), ("Prebooking", "prebookings"), ("Review", "reviews")]
)
async def test_a_hundred_ids_cost_what_two_do(
    counter: Counter, shop: Shop, postgres: asyncpg.Connection, books: list[Book], kind: str, table: str
) -> None:
    reader = await add_member(shop)
    await _reads(postgres, reader, books)
    ids = [global_id(kind, row["id"]) for row in await postgres.fetch(f"SELECT id FROM {table}")]
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
async def test_only_facets_that_are_selected_cost_a_statement(
    counter: Counter, books: list[Book], selected: str, statements: int
) -> None:
    assert await counter.count(counter.visitor, FACETS % selected) == 1 + statements
