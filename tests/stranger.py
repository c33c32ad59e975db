"""A stranger who sends what no client library would, and looks at what it did to the shop."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx2
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLObjectType,
    GraphQLUnionType,
    build_schema,
    get_named_type,
)

from domain.shop import Shop
from graph.ids import global_id
from graph.schema import schema
from persistence.models import Table
from persistence.prebookings import add_prebooking
from persistence.reviews import add_review, change_ratings
from tests.factories import PASSWORD, Member, add_book, add_genre, add_member, fill_cart
from tests.hostile import written

CONTRACT = build_schema(schema.as_str())
ADMIN = ("users", "orders", "reviews", "lowStockBooks", "salesSummary", "bestSellers")
NESTED = {
    "Genre.books": "genre(by: {slug: $slug}) { %s }",
    "Author.books": "author(by: {slug: $slug}) { %s }",
    "Book.reviews": "book(by: {slug: $slug}) { %s }",
    "Book.relatedBooks": "book(by: {slug: $slug}) { %s }",
    **{f"User.{name}": "me { %s }" for name in ("orders", "wishlist", "prebookings", "reviews")},
    **{f"Admin.{name}": "admin { %s }" for name in ADMIN},
}
SLUGS = {
    "Genre.books": "fantasy",
    "Author.books": "j-r-r-tolkien",
    "Book.reviews": "the-hobbit",
    "Book.relatedBooks": "the-hobbit",
}
SNAPSHOT = " UNION ALL ".join(
    f"SELECT '{table.name}', count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table.name} t"
    for table in Table.metadata.sorted_tables
    if table.name != "throttles"  # which counts what is refused
)
LEAVE_A_TRACE = {"ORDER_PAYMENT_FAILED"}
"""Refusals that are remembered: a declined order stays."""
FAULTS = {"INTERNAL_SERVER_ERROR", "SERVICE_UNAVAILABLE", "TIMEOUT"}


def fields_of(parent: str) -> dict[str, GraphQLField]:
    found = CONTRACT.type_map[parent]
    assert isinstance(found, GraphQLObjectType)
    fields: dict[str, GraphQLField] = found.fields
    return fields


def known_codes() -> set[str]:
    codes = CONTRACT.type_map["ErrorCode"]
    assert isinstance(codes, GraphQLEnumType)
    return set(codes.values)


def named(name: str) -> GraphQLField:
    """The field that is called `Parent.field`."""
    parent, _, key = name.partition(".")
    return fields_of(parent)[key]


def document(name: str) -> str:
    """An operation that hands each argument of the field over as a variable."""
    parent, _, key = name.partition(".")
    arguments = named(name).args
    declared = [f"${each}: {argument.type}" for each, argument in arguments.items()]
    if "$slug" in NESTED.get(name, ""):
        declared.append("$slug: String!")
    called = f"{key}({', '.join(f'{each}: ${each}' for each in arguments)}) {_selection(named(name))}"
    kind = "mutation" if parent == "Mutation" else "query"
    return f"{kind} ({', '.join(declared)}) {{ {NESTED.get(name, '%s') % called} }}"


def can_be_refused(field: GraphQLField) -> bool:
    """Whether a problem with a code is among its answers."""
    answer = get_named_type(field.type)
    return isinstance(answer, GraphQLUnionType) and any("code" in member.fields for member in answer.types)


def _selection(field: GraphQLField) -> str:
    answer = get_named_type(field.type)
    if answer.name.endswith("Connection"):
        return "{ totalCount nodes { id } pageInfo { startCursor endCursor } }"
    if can_be_refused(field):
        return "{ __typename ... on UserError { code message } }"
    return "{ __typename }"


@dataclass
class Stranger:
    """Signed in as an administrator with a full cart, so that every door is open."""

    http: httpx2.AsyncClient
    postgres: asyncpg.Connection
    samples: Mapping[str, Any]
    faults: list[str] = field(default_factory=list)
    sent: int = 0

    def samples_for(self, name: str) -> dict[str, Any]:
        kind = {
            "Query.genre": "genreId",
            "Query.author": "authorId",
            "Query.order": "orderId",
            "Query.review": "reviewId",
        }.get(name, "bookId")
        slug = {"Query.author": "j-r-r-tolkien", "Query.book": "the-hobbit"}.get(name, "fantasy")
        return {**self.samples, "id": self.samples[kind], "slug": slug}

    async def send(self, name: str, text: str, variables: Any) -> dict[str, Any]:
        """Notes a fault when the answer is not what it should be, or when a refusal or a query left a trace."""
        self.sent += 1
        before = await self.postgres.fetch(SNAPSHOT)
        slug = SLUGS.get(name)
        body = written(
            {
                "query": text,
                "variables": {**variables, "slug": slug} if slug else variables,
            }
        )
        response = await self.http.post(
            "/graphql",
            content=body.encode(),
            headers={"content-type": "application/json"},
        )
        told = f"{written(variables)[:300]} → {response.status_code} {response.text[:300]}"
        answer: dict[str, Any] = response.json()
        codes = {error["extensions"]["code"] for error in answer.get("errors", [])}
        if response.status_code >= 500 or not codes <= known_codes() - FAULTS:
            self.faults.append(told)
        if _must_leave_no_trace(name, answer) and await self.postgres.fetch(SNAPSHOT) != before:
            self.faults.append(f"left a trace: {told}")
        return answer


def _must_leave_no_trace(name: str, answer: dict[str, Any]) -> bool:
    results = list((answer.get("data") or {}).values())
    refusals = {result["code"] for result in results if isinstance(result, dict) and "code" in result}
    is_query = not name.startswith("Mutation.")
    is_below = any(len(error.get("path", ())) > 1 for error in answer.get("errors", ()))  # the mutation itself was done
    is_refused = not is_below and all(result is None or "code" in result for result in results)
    return is_query or (is_refused and not refusals & LEAVE_A_TRACE)


async def furnished(shop: Shop, member: Member) -> dict[str, Any]:
    """Good values by the names of arguments, and a shop in which they are good."""
    genre, other = await add_genre(shop, "Fantasy"), await add_member(shop)
    book = await add_book(
        shop,
        "The Hobbit",
        stock=900,
        authors=("J. R. R. Tolkien",),
        isbn="9780261102217",
        genre_id=genre.id,
    )
    await fill_cart(shop, member, (book, 1))
    sold_out = await add_book(shop, stock=0)
    async with shop.database.transaction() as tx:
        review_id = await add_review(tx, member.id, book.id, 4, "Good.")
        await change_ratings(tx, {book.id: (0, 0, 0, 1, 0)})
        prebooking_id = await add_prebooking(tx, member.id, sold_out.id)
    assert review_id is not None
    assert prebooking_id is not None
    return TEXT_SAMPLES | {
        "bookId": global_id("Book", book.id),
        "ids": global_id("Book", book.id),
        "genreId": global_id("Genre", genre.id),
        "authorId": global_id("Author", other.id),
        "userId": other.global_id,
        "sessionId": global_id("Session", other.session_id),
        "orderId": global_id("Order", other.id),
        "reviewId": global_id("Review", review_id),
        "reviewIds": global_id("Review", review_id),
        "prebookingId": global_id("Prebooking", prebooking_id),
    }


TEXT_SAMPLES = {
    "isbn": "0261102214", "number": "0000-0000-0000", "search": "hobbit", "author": "tolkien", "genres": "fantasy",
    "title": "A title", "subtitle": "A subtitle", "authors": "An author", "description": "Some lines",
    "coverUrl": "https://example.com/cover.jpg", "publisher": "A publisher", "language": "en", "name": "A name",
    "displayName": "A name", "email": "somebody@example.com", "password": "a password nobody has",
    "newPassword": "a new one of these", "currentPassword": PASSWORD, "refreshToken": "x" * 86,
    "token": "x" * 86, "code": "x" * 86, "text": "Some words",
    "idempotencyKey": "key", "expectedTotal": "10.00", "paymentToken": "mock-decline", "recipient": "Bilbo",
    "line1": "Bag End", "line2": "Under the hill", "city": "Hobbiton", "region": "The Shire", "postalCode": "1",
    "country": "GB", "phone": "+44 1", "trackingUrl": "https://example.com/parcel", "min": "1", "max": "100",
}  # fmt: skip
