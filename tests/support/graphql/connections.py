"""All connections of the schema, with documents to query them and functions to page through them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import asyncpg

from domain.shop import Shop
from tests.support.http.client import ApiClient, GraphQLResponse
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book, add_user
from tests.support.shop.sample_catalog import ORDER_BY_SQL, create_sample_catalog

_ARGUMENTS = "first: $first, after: $after, last: $last, before: $before"
_VARIABLES = "$first: Int, $after: String, $last: Int, $before: String"
_PAGE = """{ totalCount edges { cursor node { id } } nodes { id }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }"""


@dataclass(frozen=True, slots=True)
class ConnectionField:
    """A connection field: its document, its path in the data, and the variables that filter and sort it."""

    document: str
    path: tuple[str, ...]
    variables: dict[str, Any] = field(default_factory=dict)
    has_offset: bool = False

    async def execute(self, client: ApiClient, **arguments: Any) -> GraphQLResponse:
        return await client.execute(self.document, **self.variables, **arguments)

    async def fetch_page(self, client: ApiClient, **arguments: Any) -> Any:
        response = await self.execute(client, **arguments)
        page: Any = response[self.path[0]]
        for step in self.path[1:]:
            page = page[step]
        return page


def _books_connection(**variables: Any) -> ConnectionField:
    document = f"""query ({_VARIABLES}, $offset: Int, $search: String, $sort: BookSort, $filter: BookFilter) {{
        books({_ARGUMENTS}, offset: $offset, search: $search, sort: $sort, filter: $filter) {_PAGE} }}"""
    return ConnectionField(document, ("books",), variables, has_offset=True)


def _nested_books_connection(parent: str, slug: str, sort: str) -> ConnectionField:
    document = f"""query ({_VARIABLES}, $offset: Int, $slug: String!, $sort: BookSort!) {{
        {parent}(by: {{slug: $slug}}) {{ books({_ARGUMENTS}, offset: $offset, sort: $sort) {_PAGE} }} }}"""
    return ConnectionField(document, (parent, "books"), {"slug": slug, "sort": sort}, has_offset=True)


def _authors_connection(**variables: Any) -> ConnectionField:
    document = f"query ({_VARIABLES}, $search: String) {{ authors({_ARGUMENTS}, search: $search) {_PAGE} }}"
    return ConnectionField(document, ("authors",), variables)


def _reviews_connection(sort: str, **variables: Any) -> ConnectionField:
    document = f"""query ({_VARIABLES}, $offset: Int, $sort: ReviewSort!, $ratings: [Int!]) {{
        book(by: {{slug: "{REVIEWED_SLUG}"}}) {{ reviews({_ARGUMENTS}, offset: $offset, sort: $sort, ratings: $ratings) {_PAGE} }} }}"""
    return ConnectionField(document, ("book", "reviews"), {"sort": sort, **variables}, has_offset=True)


def _my_connection(name: str) -> ConnectionField:
    return ConnectionField(f"query ({_VARIABLES}) {{ me {{ {name}({_ARGUMENTS}) {_PAGE} }} }}", ("me", name))


def _my_prebookings_connection(*statuses: str) -> ConnectionField:
    document = f"query ({_VARIABLES}, $statuses: [PrebookingStatus!]) {{ me {{ prebookings({_ARGUMENTS}, statuses: $statuses) {_PAGE} }} }}"
    return ConnectionField(document, ("me", "prebookings"), {"statuses": list(statuses)})


def _admin_connection(name: str, filter_type: str, filter_value: dict[str, Any] | None = None) -> ConnectionField:
    document = f"""query ({_VARIABLES}, $offset: Int, $filter: {filter_type}) {{
        admin {{ {name}({_ARGUMENTS}, offset: $offset, filter: $filter) {_PAGE} }} }}"""
    return ConnectionField(document, ("admin", name), {"filter": filter_value}, has_offset=True)


def _low_stock_connection(threshold: int) -> ConnectionField:
    document = f"""query ({_VARIABLES}, $offset: Int, $threshold: Int!) {{
        admin {{ lowStockBooks({_ARGUMENTS}, offset: $offset, threshold: $threshold) {_PAGE} }} }}"""
    return ConnectionField(document, ("admin", "lowStockBooks"), {"threshold": threshold}, has_offset=True)


def _my_orders_connection(**variables: Any) -> ConnectionField:
    document = f"query ({_VARIABLES}, $statuses: [OrderStatus!]) {{ me {{ orders({_ARGUMENTS}, statuses: $statuses) {_PAGE} }} }}"
    return ConnectionField(document, ("me", "orders"), variables)


REVIEWED_SLUG = "a-book-with-reviews"
CONNECTIONS = {
    **{f"books by {sort}": _books_connection(sort=sort) for sort in ORDER_BY_SQL},
    "books by search": _books_connection(search="e"),
    "books by search, by price": _books_connection(search="e", sort="PRICE_DESC"),
    "books by misspelt search": _books_connection(search="tolkein"),
    "books in stock": _books_connection(filter={"inStock": True}, sort="PUBLISHED_DESC"),
    "books of a genre": _nested_books_connection("genre", "fantasy", "PUBLISHED_ASC"),
    "books of an author": _nested_books_connection("author", "emile-zola", "PUBLISHED_DESC"),
    "authors": _authors_connection(),
    "authors by search": _authors_connection(search="em"),
    "orders": _my_orders_connection(),
    "confirmed orders": _my_orders_connection(statuses=["CONFIRMED"]),
    "books by rating": _books_connection(filter={"minRating": 3.5}, sort="TOP_RATED"),
    "books by search, by sales": _books_connection(search="e", sort="BESTSELLING"),
    **{f"reviews by {sort}": _reviews_connection(sort) for sort in ("NEWEST", "HIGHEST_RATED", "LOWEST_RATED")},
    "reviews by rating": _reviews_connection("NEWEST", ratings=[2, 3, 3]),
    **{f"my {name}": _my_connection(name) for name in ("reviews", "wishlist", "prebookings")},
    "my finished prebookings": _my_prebookings_connection("NOTIFIED", "CANCELLED"),
    "all users": _admin_connection("users", "UserFilter"),
    "filtered users": _admin_connection("users", "UserFilter", {"search": "EXAMPLE", "role": "USER", "isActive": True}),
    "all orders": _admin_connection("orders", "OrderFilter"),
    "filtered orders": _admin_connection("orders", "OrderFilter", {"search": "example", "statuses": ["CONFIRMED"]}),
    "all reviews": _admin_connection("reviews", "ReviewFilter"),
    "filtered reviews": _admin_connection("reviews", "ReviewFilter", {"minRating": 2, "maxRating": 4}),
    "low stock books": _low_stock_connection(50),
}

EXPECTED_SQL = {
    "authors": 'SELECT id FROM authors ORDER BY lower(unaccent(name)) COLLATE "C", id',
    "orders": "SELECT id FROM orders ORDER BY placed_at DESC, id DESC",
}


async def populate_connections(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> Customer:
    """Fill every connection with rows, including ties, and return the customer who owns the orders."""
    await create_sample_catalog(shop, postgres, books=40)
    for name in ("Emile Zola", "EMILE ZÓLA", "emile verhaeren", "Èmile Verhaeren"):
        await add_book(shop, "The Hobbit", authors=(name, "Émile Zola"))
    customer = await add_customer(client, shop, role="ADMIN")
    await postgres.executemany(
        """INSERT INTO orders (id, number, user_id, status, total, total_quantity, currency, idempotency_key,
            input_digest, placed_at)
        VALUES (gen_random_uuid(), $1::text, $2, $3, 1, 1, 'EUR', $1::text, '', date '2026-01-01' + $4::int)""",
        [
            (f"0000-0000-{n:04}", customer.user.id, ("CONFIRMED", "PAYMENT_FAILED")[n % 4 == 0], n % 5)
            for n in range(23)
        ],
    )
    await _add_reviews_and_prebookings(shop, postgres, customer)
    return customer


async def _add_reviews_and_prebookings(shop: Shop, postgres: asyncpg.Connection, customer: Customer) -> None:
    """Add reviews of one book by other users, and reviews, wishlist items and prebookings of all other books by the customer."""
    book = await add_book(shop, "A book with reviews")
    assert book.slug == REVIEWED_SLUG
    others = [(await add_user(shop)).id for _ in range(23)]
    await postgres.execute(
        "UPDATE users SET created_at = date '2026-01-01' + right(email_number, 1)::int FROM ("
        "SELECT id AS user_id, substring(email from '[0-9]+') AS email_number FROM users) AS numbered WHERE id = user_id"
    )
    await postgres.execute(
        f"{_INSERT_REVIEWS} SELECT gen_random_uuid(), $1, id, {_PSEUDO_RANDOM} + 1, {_DATE} FROM users WHERE id = ANY($2)",
        book.id,
        others,
    )
    for statement in (
        f"{_INSERT_REVIEWS} SELECT gen_random_uuid(), id, $1, {_PSEUDO_RANDOM} + 1, {_DATE} FROM books",
        f"""INSERT INTO wishlist_items (id, book_id, user_id, added_at)
            SELECT gen_random_uuid(), id, $1, {_DATE} FROM books""",
        f"""INSERT INTO prebookings (id, book_id, user_id, created_at, status, notified_at, cancelled_at)
            SELECT gen_random_uuid(), id, $1, {_DATE},
            (ARRAY['WAITING', 'NOTIFIED', 'CANCELLED'])[{_PSEUDO_RANDOM} % 3 + 1],
            CASE {_PSEUDO_RANDOM} % 3 WHEN 1 THEN now() END, CASE {_PSEUDO_RANDOM} % 3 WHEN 2 THEN now() END FROM books""",
    ):
        await postgres.execute(f"{statement} WHERE id <> $2", customer.user.id, book.id)


_PSEUDO_RANDOM = "('x' || right(id::text, 2))::bit(8)::int % 5"
_DATE = f"date '2026-01-01' + {_PSEUDO_RANDOM}"
_INSERT_REVIEWS = "INSERT INTO reviews (id, book_id, user_id, rating, created_at)"


def get_ids(page: Any) -> list[str]:
    return [node["id"] for node in page["nodes"]]


async def walk_pages(
    connection: ConnectionField, client: ApiClient, sizes: Iterable[int], *, forward: bool
) -> list[str]:
    """Return the IDs of the whole list, fetched in pages of these sizes, in the order of the list."""
    seen: list[str] = []
    size_name, cursor_name = ("first", "after") if forward else ("last", "before")
    next_flag, previous_flag, next_cursor = ("hasNextPage", "hasPreviousPage", "endCursor") if forward else (
        "hasPreviousPage", "hasNextPage", "startCursor"
    )  # fmt: skip
    cursor = None
    for size in cycle(sizes):
        page = await connection.fetch_page(client, **{size_name: size, cursor_name: cursor})
        assert get_ids(page) == [edge["node"]["id"] for edge in page["edges"]]
        assert page["pageInfo"][previous_flag] is (cursor is not None)
        seen = seen + get_ids(page) if forward else get_ids(page) + seen
        assert len(set(seen)) == len(seen)
        if not page["pageInfo"][next_flag]:
            assert page["totalCount"] == len(seen)
            return seen
        assert len(page["nodes"]) == size
        cursor = page["pageInfo"][next_cursor]
        assert cursor == page["edges"][-1 if forward else 0]["cursor"]
    raise AssertionError("sizes is empty")
