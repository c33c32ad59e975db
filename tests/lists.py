"""Every list that comes in pages, how to ask for it, and how to walk it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import asyncpg

from domain.shop import Shop
from tests.client import Reply, Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_book, add_member
from tests.shelves import ORDERS, stocked

_ARGUMENTS = "first: $first, after: $after, last: $last, before: $before"
_VARIABLES = "$first: Int, $after: String, $last: Int, $before: String"
_PAGE = """{ totalCount edges { cursor node { id } } nodes { id }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }"""


@dataclass(frozen=True, slots=True)
class Listing:
    """A connection in the schema: its document, and what narrows and sorts it."""

    document: str
    way: tuple[str, ...]
    variables: dict[str, Any] = field(default_factory=dict)
    has_offset: bool = False

    async def ask(self, visitor: Visitor, **arguments: Any) -> Reply:
        return await visitor.ask(self.document, **self.variables, **arguments)

    async def page(self, visitor: Visitor, **arguments: Any) -> Any:
        reply = await self.ask(visitor, **arguments)
        page: Any = reply[self.way[0]]
        for step in self.way[1:]:
            page = page[step]
        return page


def _books(**variables: Any) -> Listing:
    document = f"""query ({_VARIABLES}, $offset: Int, $search: String, $sort: BookSort, $filter: BookFilter) {{
        books({_ARGUMENTS}, offset: $offset, search: $search, sort: $sort, filter: $filter) {_PAGE} }}"""
    return Listing(document, ("books",), variables, has_offset=True)


def _shelf(owner: str, slug: str, sort: str) -> Listing:
    document = f"""query ({_VARIABLES}, $offset: Int, $slug: String!, $sort: BookSort!) {{
        {owner}(by: {{slug: $slug}}) {{ books({_ARGUMENTS}, offset: $offset, sort: $sort) {_PAGE} }} }}"""
    return Listing(document, (owner, "books"), {"slug": slug, "sort": sort}, has_offset=True)


def _authors(**variables: Any) -> Listing:
    document = f"query ({_VARIABLES}, $search: String) {{ authors({_ARGUMENTS}, search: $search) {_PAGE} }}"
    return Listing(document, ("authors",), variables)


def _reviews(sort: str, **variables: Any) -> Listing:
    document = f"""query ({_VARIABLES}, $offset: Int, $sort: ReviewSort!, $ratings: [Int!]) {{
        book(by: {{slug: "{REVIEWED}"}}) {{ reviews({_ARGUMENTS}, offset: $offset, sort: $sort, ratings: $ratings) {_PAGE} }} }}"""
    return Listing(document, ("book", "reviews"), {"sort": sort, **variables}, has_offset=True)


def _mine(name: str) -> Listing:
    return Listing(f"query ({_VARIABLES}) {{ me {{ {name}({_ARGUMENTS}) {_PAGE} }} }}", ("me", name))


def _waiting(*statuses: str) -> Listing:
    document = f"query ({_VARIABLES}, $statuses: [PrebookingStatus!]) {{ me {{ prebookings({_ARGUMENTS}, statuses: $statuses) {_PAGE} }} }}"
    return Listing(document, ("me", "prebookings"), {"statuses": list(statuses)})


def _office(name: str, kind: str, narrow: dict[str, Any] | None = None) -> Listing:
    document = f"query ({_VARIABLES}, $offset: Int, $filter: {kind}) {{ admin {{ {name}({_ARGUMENTS}, offset: $offset, filter: $filter) {_PAGE} }} }}"
    return Listing(document, ("admin", name), {"filter": narrow}, has_offset=True)


def _scarce(threshold: int) -> Listing:
    document = f"""query ({_VARIABLES}, $offset: Int, $threshold: Int!) {{
        admin {{ lowStockBooks({_ARGUMENTS}, offset: $offset, threshold: $threshold) {_PAGE} }} }}"""
    return Listing(document, ("admin", "lowStockBooks"), {"threshold": threshold}, has_offset=True)


def _orders(**variables: Any) -> Listing:
    document = f"query ({_VARIABLES}, $statuses: [OrderStatus!]) {{ me {{ orders({_ARGUMENTS}, statuses: $statuses) {_PAGE} }} }}"
    return Listing(document, ("me", "orders"), variables)


REVIEWED = "a-book-with-reviews"
LISTS = {
    **{f"books by {sort}": _books(sort=sort) for sort in ORDERS},
    "books found": _books(search="e"),
    "books found, by price": _books(search="e", sort="PRICE_DESC"),
    "books guessed": _books(search="tolkein"),
    "books in stock": _books(filter={"inStock": True}, sort="PUBLISHED_DESC"),
    "books of a genre": _shelf("genre", "fantasy", "PUBLISHED_ASC"),
    "books of an author": _shelf("author", "emile-zola", "PUBLISHED_DESC"),
    "authors": _authors(),
    "authors found": _authors(search="em"),
    "orders": _orders(),
    "orders confirmed": _orders(statuses=["CONFIRMED"]),
    "books well rated": _books(filter={"minRating": 3.5}, sort="TOP_RATED"),
    "books found, by sales": _books(search="e", sort="BESTSELLING"),
    **{f"reviews by {sort}": _reviews(sort) for sort in ("NEWEST", "HIGHEST_RATED", "LOWEST_RATED")},
    "reviews of some stars": _reviews("NEWEST", ratings=[2, 3, 3]),
    **{f"my {name}": _mine(name) for name in ("reviews", "wishlist", "prebookings")},
    "my prebookings over": _waiting("NOTIFIED", "CANCELLED"),
    "all users": _office("users", "UserFilter"),
    "users found": _office("users", "UserFilter", {"search": "EXAMPLE", "role": "USER", "isActive": True}),
    "all orders": _office("orders", "OrderFilter"),
    "orders found": _office("orders", "OrderFilter", {"search": "example", "statuses": ["CONFIRMED"]}),
    "all reviews": _office("reviews", "ReviewFilter"),
    "reviews found": _office("reviews", "ReviewFilter", {"minRating": 2, "maxRating": 4}),
    "books to reorder": _scarce(50),
}

BY_HAND = {
    "authors": 'SELECT id FROM authors ORDER BY lower(unaccent(name)) COLLATE "C", id',
    "orders": "SELECT id FROM orders ORDER BY placed_at DESC, id DESC",
}


async def filled(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> Customer:
    """Something in every list, with ties in each; comes back with whose orders they are."""
    await stocked(shop, postgres, books=40)
    for name in ("Emile Zola", "EMILE ZÓLA", "emile verhaeren", "Èmile Verhaeren"):
        await add_book(shop, "The Hobbit", authors=(name, "Émile Zola"))
    customer = await add_customer(visitor, shop, role="ADMIN")
    await postgres.executemany(
        """INSERT INTO orders (id, number, user_id, status, total, total_quantity, currency, idempotency_key,
            input_digest, placed_at)
        VALUES (gen_random_uuid(), $1::text, $2, $3, 1, 1, 'EUR', $1::text, '', date '2026-01-01' + $4::int)""",
        [
            (f"0000-0000-{n:04}", customer.member.id, ("CONFIRMED", "PAYMENT_FAILED")[n % 4 == 0], n % 5)
            for n in range(23)
        ],
    )
    await _think_and_wait(shop, postgres, customer)
    return customer


async def _think_and_wait(shop: Shop, postgres: asyncpg.Connection, customer: Customer) -> None:
    """Others think something of a book; the customer does of all others, saves them and waits for them."""
    book = await add_book(shop, "A book with reviews")
    assert book.slug == REVIEWED
    others = [(await add_member(shop)).id for _ in range(23)]
    await postgres.execute(
        "UPDATE users SET created_at = date '2026-01-01' + right(email_number, 1)::int FROM ("
        "SELECT id AS user_id, substring(email from '[0-9]+') AS email_number FROM users) AS numbered WHERE id = user_id"
    )
    await postgres.execute(
        f"{_REVIEW} SELECT gen_random_uuid(), $1, id, {_SOME} + 1, date '2026-01-01' + {_SOME} FROM users WHERE id = ANY($2)",
        book.id,
        others,
    )
    for statement in (
        f"{_REVIEW} SELECT gen_random_uuid(), id, $1, {_SOME} + 1, date '2026-01-01' + {_SOME} FROM books",
        f"INSERT INTO wishlist_items (id, book_id, user_id, added_at) SELECT gen_random_uuid(), id, $1, date '2026-01-01' + {_SOME} FROM books",
        f"""INSERT INTO prebookings (id, book_id, user_id, created_at, status, notified_at, cancelled_at)
            SELECT gen_random_uuid(), id, $1, date '2026-01-01' + {_SOME}, (ARRAY['WAITING', 'NOTIFIED', 'CANCELLED'])[{_SOME} % 3 + 1],
            CASE {_SOME} % 3 WHEN 1 THEN now() END, CASE {_SOME} % 3 WHEN 2 THEN now() END FROM books""",
    ):
        await postgres.execute(f"{statement} WHERE id <> $2", customer.member.id, book.id)


_SOME = "('x' || right(id::text, 2))::bit(8)::int % 5"
_REVIEW = "INSERT INTO reviews (id, book_id, user_id, rating, created_at)"


def ids(page: Any) -> list[str]:
    return [node["id"] for node in page["nodes"]]


async def walked(listing: Listing, visitor: Visitor, sizes: Iterable[int], *, forward: bool) -> list[str]:
    """The whole list from one end to the other in pages of these sizes, in the order of the list."""
    seen: list[str] = []
    size_name, cursor_name = ("first", "after") if forward else ("last", "before")
    more, back, next_cursor = ("hasNextPage", "hasPreviousPage", "endCursor") if forward else (
        "hasPreviousPage", "hasNextPage", "startCursor"
    )  # fmt: skip
    cursor = None
    for size in cycle(sizes):
        page = await listing.page(visitor, **{size_name: size, cursor_name: cursor})
        assert ids(page) == [edge["node"]["id"] for edge in page["edges"]]
        assert page["pageInfo"][back] is (cursor is not None)
        seen = seen + ids(page) if forward else ids(page) + seen
        assert len(set(seen)) == len(seen)
        if not page["pageInfo"][more]:
            assert page["totalCount"] == len(seen)
            return seen
        assert len(page["nodes"]) == size
        cursor = page["pageInfo"][next_cursor]
        assert cursor == page["edges"][-1 if forward else 0]["cursor"]
    raise AssertionError("There is a size at least.")
