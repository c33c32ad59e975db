"""All connections of the schema, with documents to query them and functions to page through them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import asyncpg
from graphql import GraphQLEnumType, get_named_type

from domain.shop import Shop
from tests.support.graphql.schema_fields import (
    build_document,
    build_path_variables,
    find_field,
    get_at_path,
    list_connections,
)
from tests.support.http.client import ApiClient, GraphQLResponse
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book, add_user
from tests.support.shop.sample_catalog import create_sample_catalog

_PAGE_ARGUMENTS = ("first", "after", "last", "before", "offset")
_PAGE = """{ totalCount edges { cursor node { id } } nodes { id }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }"""
SORT_OF_SEARCHES = "RELEVANCE"
"""This sort needs a search; without one it equals the default sort."""
REVIEWED_SLUG = "a-book-with-reviews"
LOOKUPS = {
    "Book": {"slug": REVIEWED_SLUG},
    "Genre": {"slug": "fantasy"},
    "Author": {"slug": "emile-zola"},
}
"""Objects with long lists, by the types that `populate_connections` adds."""


@dataclass(frozen=True, slots=True)
class ConnectionField:
    """A connection field, named `Parent.field`, and the variables that filter and sort it."""

    name: str
    variables: dict[str, Any] = field(default_factory=dict)

    @property
    def has_offset(self) -> bool:
        """Whether its pages can be numbered."""
        return "offset" in find_field(self.name).args

    async def execute(self, client: ApiClient, **arguments: Any) -> GraphQLResponse:
        """Query the connection with these arguments for its page."""
        known_arguments = find_field(self.name).args
        names = [argument for argument in (*_PAGE_ARGUMENTS, *self.variables) if argument in known_arguments]
        path_variables = build_path_variables(self.name.partition(".")[0], LOOKUPS)
        document = build_document(self.name, _PAGE, names)
        return await client.execute(document, **self.variables, **path_variables, **arguments)

    async def fetch_page(self, client: ApiClient, **arguments: Any) -> Any:
        """Return a page of the connection, without errors."""
        response = await self.execute(client, **arguments)
        assert not response.errors, response.errors
        return get_at_path(response.data, self.name)


def _list_cases() -> dict[str, ConnectionField]:
    """Return every connection of the schema; the first connection with an enum for `sort` appears in each sort order."""
    cases: dict[str, ConnectionField] = {}
    visited_enums: set[str] = set()
    for name in sorted(list_connections(), key=_get_priority):
        sort = find_field(name).args.get("sort")
        sort_enum = sort and get_named_type(sort.type)
        if isinstance(sort_enum, GraphQLEnumType) and sort_enum.name not in visited_enums:
            visited_enums.add(sort_enum.name)
            values = [value for value in sort_enum.values if value != SORT_OF_SEARCHES]
            cases |= {f"{name} by {value}": ConnectionField(name, {"sort": value}) for value in values}
        else:
            cases[name] = ConnectionField(name)
    return cases


def _get_priority(name: str) -> tuple[bool, bool]:
    """Sort root fields before others, and fields of administrators last."""
    return not name.startswith("Query."), name.startswith("Admin.")


CONNECTIONS = _list_cases() | {
    "books by search": ConnectionField("Query.books", {"search": "e"}),
    "books by search, by price": ConnectionField("Query.books", {"search": "e", "sort": "PRICE_DESC"}),
    "books by search, by sales": ConnectionField("Query.books", {"search": "e", "sort": "BESTSELLING"}),
    "books by misspelt search": ConnectionField("Query.books", {"search": "tolkein"}),
    "books in stock": ConnectionField("Query.books", {"filter": {"inStock": True}, "sort": "PUBLISHED_DESC"}),
    "books by rating": ConnectionField("Query.books", {"filter": {"minRating": 3.5}, "sort": "TOP_RATED"}),
    "books of a genre by date": ConnectionField("Genre.books", {"sort": "PUBLISHED_ASC"}),
    "books of an author by date": ConnectionField("Author.books", {"sort": "PUBLISHED_DESC"}),
    "authors by search": ConnectionField("Query.authors", {"search": "em"}),
    "reviews by rating": ConnectionField("Book.reviews", {"sort": "NEWEST", "ratings": [2, 3, 3]}),
    "confirmed orders": ConnectionField("User.orders", {"statuses": ["CONFIRMED"]}),
    "finished prebookings": ConnectionField("User.prebookings", {"statuses": ["NOTIFIED", "CANCELLED"]}),
    "filtered users": ConnectionField(
        "Admin.users", {"filter": {"search": "EXAMPLE", "role": "USER", "isActive": True}}
    ),
    "filtered orders": ConnectionField("Admin.orders", {"filter": {"search": "example", "statuses": ["CONFIRMED"]}}),
    "filtered reviews": ConnectionField("Admin.reviews", {"filter": {"minRating": 2, "maxRating": 4}}),
    "more low stock": ConnectionField("Admin.lowStockBooks", {"threshold": 50}),
}
"""Every connection of the schema, and some with filters."""

EXPECTED_SQL = {
    "Query.authors": 'SELECT id FROM authors ORDER BY lower(unaccent(name)) COLLATE "C", id',
    "User.orders": "SELECT id FROM orders ORDER BY placed_at DESC, id DESC",
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
    reviewer_ids = [(await add_user(shop)).id for _ in range(23)]
    await postgres.execute(
        "UPDATE users SET created_at = date '2026-01-01' + right(email_number, 1)::int FROM ("
        "SELECT id AS user_id, substring(email from '[0-9]+') AS email_number FROM users) AS numbered WHERE id = user_id"
    )
    await postgres.execute(
        f"{_INSERT_REVIEWS} SELECT gen_random_uuid(), $1, id, {_PSEUDO_RANDOM} + 1, {_DATE} FROM users WHERE id = ANY($2)",
        book.id,
        reviewer_ids,
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
    ids: list[str] = []
    size_name, cursor_name = ("first", "after") if forward else ("last", "before")
    next_flag, previous_flag, next_cursor = ("hasNextPage", "hasPreviousPage", "endCursor") if forward else (
        "hasPreviousPage", "hasNextPage", "startCursor"
    )  # fmt: skip
    cursor = None
    for size in cycle(sizes):
        page = await connection.fetch_page(client, **{size_name: size, cursor_name: cursor})
        assert get_ids(page) == [edge["node"]["id"] for edge in page["edges"]]
        assert page["pageInfo"][previous_flag] is (cursor is not None)
        ids = ids + get_ids(page) if forward else get_ids(page) + ids
        assert len(set(ids)) == len(ids)
        if not page["pageInfo"][next_flag]:
            assert page["totalCount"] == len(ids)
            return ids
        assert len(page["nodes"]) == size
        cursor = page["pageInfo"][next_cursor]
        assert cursor == page["edges"][-1 if forward else 0]["cursor"]
    raise AssertionError("sizes is empty")
