"""Executes documents over the bookstore's schema with either executor, and prepares a shop to execute them in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from domain.shop import Shop
from graph.context import Context
from graph.execution.documents import DocumentRejected, Documents
from graph.execution.execute import GraphQLRequest, GraphQLResponse, execute_request
from graph.kit.ids import to_global_id
from persistence.tables import Base
from tests.support.graphql.bad_values import UNKNOWN_ID
from tests.support.graphql.document_generator import Samples
from tests.support.graphql.fuzz_client import TEXT_SAMPLES
from tests.support.graphql.schema_fields import list_id_arguments, list_types_with_id, to_snake_case
from tests.support.shop.factories import SignedInUser, add_admin, add_user, fill_cart
from tests.support.shop.past_orders import add_past_order
from tests.support.shop.sample_catalog import AUTHORS, create_sample_catalog

COMPILED = Documents(introspection=True)
GRAPHQL_CORE = Documents(introspection=True, compiled=False)
MAX_COST = 1_500
"""The cost limit of a generated document, so that tests can execute many documents."""


def is_executable(text: str) -> bool:
    """Return whether the document is valid and cheap enough; its variables are not checked."""
    try:
        operations = GRAPHQL_CORE.get(text).operations.values()
    except DocumentRejected:
        return False
    return all(operation.cost.evaluate({}) <= MAX_COST for operation in operations)


async def execute_document(
    documents: Documents,
    shop: Shop,
    token: str | None,
    text: str,
    variables: dict[str, Any],
    operation_name: str | None = None,
) -> GraphQLResponse:
    return await execute_request(
        documents, Context(shop, "the request", token), GraphQLRequest(text, variables, operation_name)
    )


# ── Data ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class FuzzData:
    """Access tokens by role, session IDs, and good and bad values for arguments."""

    tokens: dict[str, str | None]
    sessions: list[Any]
    samples: Samples


async def prepare_fuzz_data(shop: Shop, postgres: asyncpg.Connection) -> FuzzData:
    """Fill the shop with rows of every kind; most of them belong to the administrator and the customer."""
    admin, customer = await add_admin(shop), await add_user(shop)
    books = (await create_sample_catalog(shop, postgres, books=12)).books
    orders = [(customer, "CONFIRMED"), (customer, "SHIPPED"), (admin, "CONFIRMED"), (customer, "CANCELLED")]
    for number, (user, status) in enumerate(orders):
        await add_past_order(
            postgres, user, *((book, 1 + number % 2) for book in books[number : number + 3]), status=status
        )
    users = (admin, customer)
    for user, own_books in zip(users, (books[:3], books[2:6]), strict=True):
        await fill_cart(shop, user, *((book, 1) for book in books if book.stock_quantity > 5))
        await _add_reviews_and_lists(postgres, user, [book.id for book in own_books])
    await postgres.execute(FILL_RATINGS)
    await postgres.execute("UPDATE book_sales SET copies = copies + 9")  # so that orders can be cancelled
    ids = {
        type_name: await _fetch_ids(postgres, type_name, table.name)
        for type_name in list_types_with_id()
        if "id" in (table := Base.metadata.tables[f"{to_snake_case(type_name)}s"]).columns
    }
    tokens = {"anonymous": None, "customer": customer.token, "administrator": admin.token}
    return FuzzData(
        tokens, [user.session_id for user in users], _build_samples(ids) | await _fetch_cursors(shop, customer)
    )


FILL_RATINGS = """
UPDATE book_ratings SET (one, two, three, four, five) = (
    SELECT count(*) FILTER (WHERE rating = 1), count(*) FILTER (WHERE rating = 2), count(*) FILTER (WHERE rating = 3),
        count(*) FILTER (WHERE rating = 4), count(*) FILTER (WHERE rating = 5)
    FROM reviews WHERE reviews.book_id = book_ratings.book_id)"""


async def _add_reviews_and_lists(postgres: asyncpg.Connection, user: SignedInUser, book_ids: Sequence[Any]) -> None:
    for table, extra_columns, extra_values in (
        ("reviews", ", rating", ", 4"),
        ("wishlist_items", "", ""),
        ("prebookings", "", ""),
    ):
        await postgres.execute(
            f"INSERT INTO {table} (id, user_id, book_id{extra_columns}) SELECT gen_random_uuid(), $1, unnest($2::uuid[]){extra_values}",
            user.id,
            book_ids,
        )


async def _fetch_ids(postgres: asyncpg.Connection, type_name: str, table: str) -> list[str]:
    rows = await postgres.fetch(f"SELECT id FROM {table} ORDER BY id LIMIT 6")
    return [to_global_id(type_name, row["id"]) for row in rows]


async def _fetch_cursors(shop: Shop, customer: SignedInUser) -> dict[str, list[Any]]:
    text = """{ books(first: 2) { pageInfo { endCursor } } authors(first: 2) { pageInfo { endCursor } }
        me { orders(first: 1) { pageInfo { endCursor } } wishlist(first: 1) { pageInfo { endCursor } } } }"""
    data = (await execute_document(GRAPHQL_CORE, shop, customer.token, text, {})).data
    cursors = re.findall(r'"endCursor":"([^"]+)"', orjson.dumps(data).decode())
    assert len(cursors) == 4
    return {name: [None] * 20 + [*cursors, "no cursor"] for name in ("after", "before")}


def _build_samples(ids: dict[str, list[str]]) -> dict[str, list[Any]]:
    """Return sample values by argument or scalar; `ids` are those of each type."""
    all_ids = [id_ for ids_of_type in ids.values() for id_ in ids_of_type]
    invalid_ids = [all_ids[0], to_global_id("Book", UNKNOWN_ID), "no id"]
    return {
        **{name: [value] for name, value in TEXT_SAMPLES.items()},
        **{name: ids[type_name] * 3 + invalid_ids for name, type_name in list_id_arguments().items()},
        "ID": all_ids + invalid_ids,
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
