"""The shop, asked by way of the engine and of graphql-core, and everything there is to ask it for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from domain.shop import Shop
from graph.context import Context
from graph.documents import Documents, Refused
from graph.execution import Answer, Request, answer
from graph.ids import global_id
from tests.factories import Member, add_administrator, add_member, fill_cart
from tests.graph.engine.authors import Samples
from tests.hostile import NOWHERE
from tests.purchases import bought
from tests.shelves import AUTHORS, stocked
from tests.stranger import TEXT_SAMPLES

ENGINE = Documents(introspection=True)
CORE = Documents(introspection=True, compiled=False)
DEAREST = 1_500
"""What a document may cost here, so that there is time for many."""


def fits(text: str) -> bool:
    """Whether the document would be executed, unless its variables forbid it."""
    try:
        return all(it.price.for_({}) <= DEAREST for it in CORE.get(text).operations.values())
    except Refused:
        return False


async def asked(
    documents: Documents, shop: Shop, token: str | None, text: str, variables: dict[str, Any], name: str | None = None
) -> Answer:
    return await answer(documents, Context(shop, "the request", token), Request(text, variables, name))


# ── What there is ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Asking:
    """Who may ask, by what they are, and good and bad values for what they give."""

    tokens: dict[str, str | None]
    sessions: list[Any]
    samples: Samples


async def open_for_questions(shop: Shop, postgres: asyncpg.Connection) -> Asking:
    """A shop with some of everything, most of it the administrator's and the customer's."""
    administrator, customer = await add_administrator(shop), await add_member(shop)
    books = (await stocked(shop, postgres, books=12)).books
    purchases = [(customer, "CONFIRMED"), (customer, "SHIPPED"), (administrator, "CONFIRMED"), (customer, "CANCELLED")]
    for number, (member, status) in enumerate(purchases):
        await bought(postgres, member, *((book, 1 + number % 2) for book in books[number : number + 3]), status=status)
    members = (administrator, customer)
    for member, some in zip(members, (books[:3], books[2:6]), strict=True):
        await fill_cart(shop, member, *((book, 1) for book in books if book.stock_quantity > 5))
        await _opinions(postgres, member, [book.id for book in some])
    await postgres.execute(RATED)
    await postgres.execute("UPDATE book_sales SET copies = copies + 9")  # for what may be cancelled
    ids = {name: await _ids(postgres, kind, table) for name, (kind, table) in KINDS.items()}
    tokens = {"visitor": None, "customer": customer.token, "administrator": administrator.token}
    return Asking(tokens, [member.session_id for member in members], _samples(ids) | await _cursors(shop, customer))


KINDS = {
    "bookId": ("Book", "books"),
    "genreId": ("Genre", "genres"),
    "authorId": ("Author", "authors"),
    "userId": ("User", "users"),
    "orderId": ("Order", "orders"),
    "reviewId": ("Review", "reviews"),
    "reviewIds": ("Review", "reviews"),
    "prebookingId": ("Prebooking", "prebookings"),
    "sessionId": ("Session", "sessions"),
    "wishlistItemId": ("WishlistItem", "wishlist_items"),
}
"""What arguments name, and where that is kept."""


RATED = """
UPDATE book_ratings SET (one, two, three, four, five) = (
    SELECT count(*) FILTER (WHERE rating = 1), count(*) FILTER (WHERE rating = 2), count(*) FILTER (WHERE rating = 3),
        count(*) FILTER (WHERE rating = 4), count(*) FILTER (WHERE rating = 5)
    FROM reviews WHERE reviews.book_id = book_ratings.book_id)"""


async def _opinions(postgres: asyncpg.Connection, reader: Member, books: Sequence[Any]) -> None:
    for table, more, values in (("reviews", ", rating", ", 4"), ("wishlist_items", "", ""), ("prebookings", "", "")):
        await postgres.execute(
            f"INSERT INTO {table} (id, user_id, book_id{more}) SELECT gen_random_uuid(), $1, unnest($2::uuid[]){values}",
            reader.id,
            books,
        )


async def _ids(postgres: asyncpg.Connection, type_name: str, table: str) -> list[str]:
    return [
        global_id(type_name, row["id"]) for row in await postgres.fetch(f"SELECT id FROM {table} ORDER BY id LIMIT 6")
    ]


async def _cursors(shop: Shop, customer: Member) -> dict[str, list[Any]]:
    text = """{ books(first: 2) { pageInfo { endCursor } } authors(first: 2) { pageInfo { endCursor } }
        me { orders(first: 1) { pageInfo { endCursor } } wishlist(first: 1) { pageInfo { endCursor } } } }"""
    data = (await asked(CORE, shop, customer.token, text, {})).data
    cursors = re.findall(r'"endCursor":"([^"]+)"', orjson.dumps(data).decode())
    assert len(cursors) == 4
    return {name: [None] * 20 + [*cursors, "no cursor"] for name in ("after", "before")}


def _samples(ids: dict[str, list[str]]) -> dict[str, list[Any]]:
    anything = [id_ for some in ids.values() for id_ in some]
    wrong = [anything[0], global_id("Book", NOWHERE), "no id"]
    return {
        **{name: [value] for name, value in TEXT_SAMPLES.items()},
        **{name: some * 3 + wrong for name, some in ids.items()},
        "ID": anything + wrong,
        "slug": ["fantasy", "emile-zola", "zebra", "the-hobbit", "no-slug"],
        "first": [1, 2, 3] * 6 + [0, -1, 101],
        "last": [None] * 20 + [1, 2, -1],
        "offset": [None] * 10 + [0, 1, 3, -1],
        "search": ["hobbit", "zebra", "zola", "", "hobit"],
        "author": list(AUTHORS),
        "quantity": [1, 2, 3, 0],
        "stars": [1, 4, 5],
        "rating": [1, 4, 5, 6],
        "ratings": [1, 4, 5],
        "paymentToken": ["mock-approve", "mock-decline"],
        "idempotencyKey": [f"key-{number}" for number in range(9)],
        "email": ["somebody@example.com", "no address"],
        "Decimal": ["0.01", "12.90", "100"] * 3 + ["-1", "much"],
        "Date": ["1937-09-21", "2024-02-30"],
        "DateTime": ["2026-03-01T09:30:00Z"] * 3 + ["2024-01-01"],
    }
