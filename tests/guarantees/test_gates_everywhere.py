"""Gates everywhere: what the contract prints as `@requiresAuth` is refused, field by field, and none is forgotten."""

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from graphql import (
    DirectiveNode,
    EnumValueNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLObjectType,
    build_schema,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    is_required_argument,
    is_required_input_field,
)
from strawberry.tools import create_type

from domain.shop import Shop
from graph.fields import mutation, query
from graph.ids import global_id
from persistence.models import Table, new_id
from persistence.reviews import add_review
from tests.client import Visitor
from tests.factories import add_administrator, add_book, add_member

SCHEMA = build_schema((Path(__file__).parents[2] / "schema.graphql").read_text())
OPEN = {
    *("Query.node", "Query.nodes", "Query.books", "Query.book", "Query.genres", "Query.genre", "Query.authors"),
    *("Query.author", "Query.review", "Query.me", "Query.oauthLogins"),
    *("Mutation.register", "Mutation.login", "Mutation.loginWithOAuth", "Mutation.refreshSession", "Mutation.logout"),
    *("Mutation.verifyEmail", "Mutation.requestPasswordReset", "Mutation.resetPassword"),
}
WAYS = {
    "Book": "query ($book: ID!) { it: book(by: {id: $book}) { it: %s } }",
    "Reviewer": "query ($review: ID!) { it: review(id: $review) { it: reviewer { it: %s } } }",
}
"""How to come to a gate that is not at the top."""
BOOK, REVIEW = (uuid.UUID(int=number) for number in (1, 2))
VALUES = {"ID": global_id("Book", new_id()), "String": "x", "Int": 1, "Boolean": True, "Decimal": "1.00"}


@dataclass(frozen=True, slots=True)
class Door:
    """A field with the least role that may use it, and a document that asks for it with the least that is valid."""

    name: str
    role: str | None
    document: str
    variables: dict[str, Any]

    async def knock(self, visitor: Visitor) -> tuple[Any, list[str]]:
        """What is answered, and the codes of the errors."""
        reply = await visitor.ask(self.document, **self.variables)
        assert reply.data is not None, reply.errors
        found = reply.data["it"]
        while isinstance(found, dict) and "it" in found:
            found = found["it"]
        return found, reply.codes


def _doors() -> Iterator[Door]:
    for parent in SCHEMA.type_map.values():
        if isinstance(parent, GraphQLObjectType):
            for name, field in parent.fields.items():
                role = _printed_role(field)
                if parent in (SCHEMA.query_type, SCHEMA.mutation_type):
                    yield _door(parent, name, field, role)
                elif role:
                    yield _inner_door(parent, name, field, role)


def _printed_role(field: GraphQLField) -> str | None:
    printed = (field.ast_node and field.ast_node.directives) or ()
    gates = [node for node in printed if node.name.value == "requiresAuth"]
    return _role(gates[0]) if gates else None


def _role(gate: DirectiveNode) -> str:
    """`USER` is left out in print."""
    values = [argument.value for argument in gate.arguments or ()]
    return next((value.value for value in values if isinstance(value, EnumValueNode)), "USER")


def _door(parent: GraphQLObjectType, name: str, field: GraphQLField, role: str | None) -> Door:
    needed = {key: argument.type for key, argument in field.args.items() if is_required_argument(argument)}
    declared = f"({', '.join(f'${key}: {type_}' for key, type_ in needed.items())})" if needed else ""
    passed = f"({', '.join(f'{key}: ${key}' for key in needed)})" if needed else ""
    selection = "" if is_leaf_type(get_named_type(field.type)) else " { __typename }"
    document = f"{parent.name.lower()} {declared} {{ it: {name}{passed}{selection} }}"
    return Door(f"{parent.name}.{name}", role, document, {key: _least(type_) for key, type_ in needed.items()})


def _inner_door(parent: GraphQLObjectType, name: str, field: GraphQLField, role: str) -> Door:
    """A type without a way to it fails here, with its name."""
    selection = "" if is_leaf_type(get_named_type(field.type)) else " { __typename }"
    document = WAYS[parent.name] % (name + selection)
    keys = {"book": global_id("Book", BOOK), "review": global_id("Review", REVIEW)}
    return Door(f"{parent.name}.{name}", role, document, {key: keys[key] for key in keys if f"${key}:" in document})


def _least(wanted: GraphQLInputType) -> Any:
    """The smallest value of this type."""
    type_ = get_nullable_type(wanted)
    if is_list_type(type_):
        return []
    if isinstance(type_, GraphQLEnumType):
        return next(iter(type_.values))
    if isinstance(type_, GraphQLInputObjectType):
        return {name: _least(field.type) for name, field in _needed(type_)}
    return VALUES[str(type_)]


def _needed(type_: GraphQLInputObjectType) -> Iterator[tuple[str, GraphQLInputField]]:
    fields = list(type_.fields.items())
    if type_.is_one_of:
        yield fields[0]
    else:
        yield from ((name, field) for name, field in fields if is_required_input_field(field))


DOORS = list(_doors())
SHUT = [pytest.param(door, id=door.name) for door in DOORS if door.role]
ADMINISTRATORS = [pytest.param(door, id=door.name) for door in DOORS if door.role == "ADMIN"]
CUSTOMERS = [pytest.param(door, id=door.name) for door in DOORS if door.role != "ADMIN"]


@pytest.fixture(autouse=True)
async def _something_behind_each_gate(shop: Shop, postgres: asyncpg.Connection) -> None:
    book, reader = await add_book(shop), await add_member(shop)
    async with shop.database.transaction() as tx:
        review_id = await add_review(tx, reader.id, book.id, 4, None)
    await postgres.execute("UPDATE reviews SET id = $2 WHERE id = $1", review_id, REVIEW)
    await postgres.execute("INSERT INTO books (id, slug, title, price) VALUES ($1, 'behind', 'Behind', 1)", BOOK)


async def _rows(postgres: asyncpg.Connection) -> list[str]:
    return [
        row[0]
        for table in Table.metadata.sorted_tables
        for row in await postgres.fetch(f"SELECT t::text FROM {table.name} t ORDER BY 1")
    ]


def test_every_door_is_shut_that_is_not_meant_to_be_open() -> None:
    assert {door.name for door in DOORS if door.role is None} == OPEN
    assert {door.role for door in DOORS} == {None, "USER", "ADMIN"}


@pytest.mark.parametrize("door", SHUT)
async def test_a_visitor_is_sent_to_sign_in(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, door: Door
) -> None:
    assert await door.knock(visitor) == (None, ["UNAUTHENTICATED"])
    member = await add_member(shop)
    before = await _rows(postgres)
    late = shop.tokens.access_token(member.id, "USER", member.session_id, -dt.timedelta(minutes=1)).text
    assert await door.knock(visitor.signed_in(late)) == (None, ["AUTH_TOKEN_EXPIRED"])
    assert await door.knock(visitor.signed_in("x")) == (None, ["UNAUTHENTICATED"])
    assert await _rows(postgres) == before


@pytest.mark.parametrize("door", SHUT)
async def test_the_deactivated_and_the_logged_out_stay_out(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, door: Door
) -> None:
    out, over = await add_administrator(shop), await add_administrator(shop)
    await postgres.execute("UPDATE users SET is_active = false WHERE id = $1", out.id)
    await postgres.execute("UPDATE sessions SET revoked_at = now() WHERE id = $1", over.session_id)
    before = await _rows(postgres)
    assert await door.knock(visitor.signed_in(out.token)) == (None, ["AUTH_ACCOUNT_DEACTIVATED"])
    assert await door.knock(visitor.signed_in(over.token)) == (None, ["UNAUTHENTICATED"])
    assert await _rows(postgres) == before


@pytest.mark.parametrize("door", ADMINISTRATORS)
async def test_a_customer_may_not_run_the_store(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, door: Door
) -> None:
    member = await add_member(shop)
    before = await _rows(postgres)
    assert await door.knock(visitor.signed_in(member.token)) == (None, ["FORBIDDEN"])
    assert await _rows(postgres) == before


@pytest.mark.parametrize("door", ADMINISTRATORS)
async def test_an_administrator_may(visitor: Visitor, shop: Shop, door: Door) -> None:
    administrator = await add_administrator(shop)
    assert not await _turned_away(door, visitor.signed_in(administrator.token))


@pytest.mark.parametrize("door", CUSTOMERS)
async def test_the_other_doors_are_open(visitor: Visitor, shop: Shop, door: Door) -> None:
    caller = visitor.signed_in((await add_member(shop)).token) if door.role else visitor
    assert not await _turned_away(door, caller)


async def _turned_away(door: Door, caller: Visitor) -> bool:
    reply = await caller.ask(door.document, **door.variables)
    return bool({"UNAUTHENTICATED", "FORBIDDEN", "INTERNAL_SERVER_ERROR"} & set(reply.codes))


@pytest.mark.parametrize("declare", [query, mutation])
def test_a_field_without_a_gate_is_not_declared_at_all(declare: Any) -> None:
    async def opened_by_oversight() -> int:
        """Forgets to say who may."""
        return 1

    with pytest.raises(TypeError, match="gate"):
        declare()(opened_by_oversight)
    with pytest.raises(TypeError, match="not an instance of StrawberryField"):
        create_type("Query", [declare(opened_by_oversight)])
