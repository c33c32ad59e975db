"""A client that sends invalid requests, and checks the responses and that rejected requests change no row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx2
from graphql import GraphQLEnumType, GraphQLField, GraphQLUnionType

from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence.prebookings import add_prebooking
from persistence.reviews import add_review, adjust_ratings
from persistence.tables import Base
from tests.support.graphql.bad_values import dump_json
from tests.support.graphql.schema_fields import (
    SCHEMA,
    build_document,
    build_path_variables,
    find_field,
    get_result_type,
    iterate_fields,
)
from tests.support.shop.factories import PASSWORD, SignedInUser, add_book, add_genre, add_user, fill_cart

LOOKUPS = {
    "Book": {"slug": "the-hobbit"},
    "Genre": {"slug": "fantasy"},
    "Author": {"slug": "j-r-r-tolkien"},
}
"""Objects that `create_samples` adds, by the types that the root looks up."""
SNAPSHOT_SQL = " UNION ALL ".join(
    f"SELECT '{table.name}', count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table.name} t"
    for table in Base.metadata.sorted_tables
    if table.name != "throttles"  # it counts failed attempts
)
PERSISTED_ERRORS = {"ORDER_PAYMENT_FAILED"}
"""User errors that are stored: an order with a declined payment remains."""
SERVER_ERROR_CODES = {"INTERNAL_SERVER_ERROR", "SERVICE_UNAVAILABLE", "TIMEOUT"}


def list_error_codes() -> set[str]:
    codes = SCHEMA.type_map["ErrorCode"]
    assert isinstance(codes, GraphQLEnumType)
    return set(codes.values)


def list_fields_with_arguments() -> list[str]:
    """Return the names of all fields with arguments, `Parent.field`."""
    return [name for name, field in iterate_fields() if field.args]


def build_fuzz_document(name: str) -> str:
    """Build an operation that passes each argument of the field as a variable."""
    return build_document(name, _build_selection_set(find_field(name)))


def can_return_user_error(field: GraphQLField) -> bool:
    """Return whether the field's result union contains a user error."""
    result_type = get_result_type(field)
    return isinstance(result_type, GraphQLUnionType) and any("code" in member.fields for member in result_type.types)


def _build_selection_set(field: GraphQLField) -> str:
    result_type = get_result_type(field)
    if result_type.name.endswith("Connection"):
        return "{ totalCount nodes { id } pageInfo { startCursor endCursor } }"
    if can_return_user_error(field):
        return "{ __typename ... on UserError { code message } }"
    return "{ __typename }"


@dataclass
class FuzzClient:
    """A client that is signed in as an administrator with items in the cart, so every operation is permitted.

    `failures` describes each unexpected response.
    """

    http: httpx2.AsyncClient
    postgres: asyncpg.Connection
    samples: Mapping[str, Any]
    failures: list[str] = field(default_factory=list)
    request_count: int = 0

    def samples_for(self, name: str) -> dict[str, Any]:
        """Return sample values for a field; `id` and `slug` name an existing object of its type."""
        result_type = get_result_type(find_field(name)).name
        id_argument = f"{result_type[0].lower()}{result_type[1:]}Id"
        return {
            **self.samples,
            "id": self.samples.get(id_argument, self.samples["bookId"]),
            **LOOKUPS.get(result_type, {"slug": "fantasy"}),
        }

    async def send(self, name: str, text: str, variables: Any) -> dict[str, Any]:
        """Send a request; record a failure if the response is unexpected, or if a query or a user error changed a row."""
        self.request_count += 1
        before = await self.postgres.fetch(SNAPSHOT_SQL)
        path_variables = build_path_variables(name.partition(".")[0], LOOKUPS)
        body = dump_json({"query": text, "variables": {**variables, **path_variables}})
        response = await self.http.post(
            "/graphql",
            content=body.encode(),
            headers={"content-type": "application/json"},
        )
        description = f"{dump_json(variables)[:300]} → {response.status_code} {response.text[:300]}"
        payload: dict[str, Any] = response.json()
        codes = {error["extensions"]["code"] for error in payload.get("errors", [])}
        if response.status_code >= 500 or not codes <= list_error_codes() - SERVER_ERROR_CODES:
            self.failures.append(description)
        if _must_not_write(name, payload) and await self.postgres.fetch(SNAPSHOT_SQL) != before:
            self.failures.append(f"changed rows: {description}")
        return payload


def _must_not_write(name: str, payload: dict[str, Any]) -> bool:
    results = list((payload.get("data") or {}).values())
    user_error_codes = {result["code"] for result in results if isinstance(result, dict) and "code" in result}
    is_query = not name.startswith("Mutation.")
    has_nested_error = any(
        len(error.get("path", ())) > 1 for error in payload.get("errors", ())
    )  # the mutation itself was executed
    is_rejected = not has_nested_error and all(result is None or "code" in result for result in results)
    return is_query or (is_rejected and not user_error_codes & PERSISTED_ERRORS)


async def create_samples(shop: Shop, user: SignedInUser) -> dict[str, Any]:
    """Fill the shop, and return valid values by argument name."""
    genre, other_user = await add_genre(shop, "Fantasy"), await add_user(shop)
    book = await add_book(
        shop,
        "The Hobbit",
        stock=900,
        authors=("J. R. R. Tolkien",),
        isbn="9780261102217",
        genre_id=genre.id,
    )
    await fill_cart(shop, user, (book, 1))
    sold_out_book = await add_book(shop, stock=0)
    async with shop.database.transaction() as tx:
        review_id = await add_review(tx, user.id, book.id, 4, "Good.")
        await adjust_ratings(tx, {book.id: (0, 0, 0, 1, 0)})
        prebooking_id = await add_prebooking(tx, user.id, sold_out_book.id)
    assert review_id is not None
    assert prebooking_id is not None
    return TEXT_SAMPLES | {
        "bookId": to_global_id("Book", book.id),
        "ids": to_global_id("Book", book.id),
        "genreId": to_global_id("Genre", genre.id),
        "authorId": to_global_id("Author", other_user.id),
        "userId": other_user.global_id,
        "sessionId": to_global_id("Session", other_user.session_id),
        "orderId": to_global_id("Order", other_user.id),
        "reviewId": to_global_id("Review", review_id),
        "reviewIds": to_global_id("Review", review_id),
        "prebookingId": to_global_id("Prebooking", prebooking_id),
    }


TEXT_SAMPLES = {
    "isbn": "0261102214", "number": "0000-0000-0000", "search": "hobbit", "author": "tolkien", "genres": "fantasy",
    "title": "A title", "subtitle": "A subtitle", "authors": "An author", "description": "Some lines",
    "coverUrl": "https://example.com/cover.jpg", "publisher": "A publisher", "language": "en", "name": "A name",
    "displayName": "A name", "email": "somebody@example.com", "password": "an unused password",
    "newPassword": "a new one of these", "currentPassword": PASSWORD, "refreshToken": "x" * 86,
    "token": "x" * 86, "code": "x" * 86, "text": "Some words",
    "idempotencyKey": "key", "expectedTotal": "10.00", "paymentToken": "mock-decline", "recipient": "Bilbo",
    "line1": "Bag End", "line2": "Under the hill", "city": "Hobbiton", "region": "The Shire", "postalCode": "1",
    "country": "GB", "phone": "+44 1", "trackingUrl": "https://example.com/parcel", "min": "1", "max": "100",
}  # fmt: skip
