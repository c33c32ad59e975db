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
from graph.kit.declare import query
from graph.kit.ids import to_global_id
from graph.kit.mutations import mutation
from persistence.reviews import add_review
from persistence.tables import Base, new_id
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_admin, add_book, add_user

SCHEMA = build_schema((Path(__file__).parents[2] / "schema.graphql").read_text())
PUBLIC_FIELDS = {
    *("Query.node", "Query.nodes", "Query.books", "Query.book", "Query.genres", "Query.genre", "Query.authors"),
    *("Query.author", "Query.review", "Query.me", "Query.oauthLogins"),
    *("Mutation.register", "Mutation.login", "Mutation.loginWithOAuth", "Mutation.refreshSession", "Mutation.logout"),
    *("Mutation.verifyEmail", "Mutation.requestPasswordReset", "Mutation.resetPassword"),
}
PARENT_QUERIES = {
    "Book": "query ($book: ID!) { it: book(by: {id: $book}) { it: %s } }",
    "Reviewer": "query ($review: ID!) { it: review(id: $review) { it: reviewer { it: %s } } }",
}
"""How to come to a gate that is not at the top."""
BOOK, REVIEW = (uuid.UUID(int=number) for number in (1, 2))
SAMPLE_VALUES = {"ID": to_global_id("Book", new_id()), "String": "x", "Int": 1, "Boolean": True, "Decimal": "1.00"}


@dataclass(frozen=True, slots=True)
class ProtectedField:
    """A field with the least role that may use it, and a document that asks for it with the least that is valid."""

    name: str
    role: str | None
    document: str
    variables: dict[str, Any]

    async def query(self, client: ApiClient) -> tuple[Any, list[str]]:
        """What is answered, and the codes of the errors."""
        response = await client.execute(self.document, **self.variables)
        assert response.data is not None, response.errors
        found = response.data["it"]
        while isinstance(found, dict) and "it" in found:
            found = found["it"]
        return found, response.codes


def _list_fields() -> Iterator[ProtectedField]:
    for parent in SCHEMA.type_map.values():
        if isinstance(parent, GraphQLObjectType):
            for name, field in parent.fields.items():
                role = _get_printed_role(field)
                if parent in (SCHEMA.query_type, SCHEMA.mutation_type):
                    yield _build_root_field(parent, name, field, role)
                elif role:
                    yield _build_nested_field(parent, name, field, role)


def _get_printed_role(field: GraphQLField) -> str | None:
    printed = (field.ast_node and field.ast_node.directives) or ()
    gates = [node for node in printed if node.name.value == "requiresAuth"]
    return _parse_role(gates[0]) if gates else None


def _parse_role(gate: DirectiveNode) -> str:
    """`USER` is left out in print."""
    values = [argument.value for argument in gate.arguments or ()]
    return next((value.value for value in values if isinstance(value, EnumValueNode)), "USER")


def _build_root_field(parent: GraphQLObjectType, name: str, field: GraphQLField, role: str | None) -> ProtectedField:
    needed = {key: argument.type for key, argument in field.args.items() if is_required_argument(argument)}
    declared = f"({', '.join(f'${key}: {type_}' for key, type_ in needed.items())})" if needed else ""
    passed = f"({', '.join(f'{key}: ${key}' for key in needed)})" if needed else ""
    selection = "" if is_leaf_type(get_named_type(field.type)) else " { __typename }"
    document = f"{parent.name.lower()} {declared} {{ it: {name}{passed}{selection} }}"
    return ProtectedField(
        f"{parent.name}.{name}", role, document, {key: _build_minimal_value(type_) for key, type_ in needed.items()}
    )


def _build_nested_field(parent: GraphQLObjectType, name: str, field: GraphQLField, role: str) -> ProtectedField:
    """A type without a way to it fails here, with its name."""
    selection = "" if is_leaf_type(get_named_type(field.type)) else " { __typename }"
    document = PARENT_QUERIES[parent.name] % (name + selection)
    keys = {"book": to_global_id("Book", BOOK), "review": to_global_id("Review", REVIEW)}
    return ProtectedField(
        f"{parent.name}.{name}", role, document, {key: keys[key] for key in keys if f"${key}:" in document}
    )


def _build_minimal_value(input_type: GraphQLInputType) -> Any:
    """The smallest value of this type."""
    type_ = get_nullable_type(input_type)
    if is_list_type(type_):
        return []
    if isinstance(type_, GraphQLEnumType):
        return next(iter(type_.values))
    if isinstance(type_, GraphQLInputObjectType):
        return {name: _build_minimal_value(field.type) for name, field in _list_required_fields(type_)}
    return SAMPLE_VALUES[str(type_)]


def _list_required_fields(type_: GraphQLInputObjectType) -> Iterator[tuple[str, GraphQLInputField]]:
    fields = list(type_.fields.items())
    if type_.is_one_of:
        yield fields[0]
    else:
        yield from ((name, field) for name, field in fields if is_required_input_field(field))


ALL_FIELDS = list(_list_fields())
PROTECTED_FIELDS = [pytest.param(door, id=door.name) for door in ALL_FIELDS if door.role]
ADMIN_FIELDS = [pytest.param(door, id=door.name) for door in ALL_FIELDS if door.role == "ADMIN"]
CUSTOMER_FIELDS = [pytest.param(door, id=door.name) for door in ALL_FIELDS if door.role != "ADMIN"]


@pytest.fixture(autouse=True)
async def _protected_data(shop: Shop, postgres: asyncpg.Connection) -> None:
    book, reader = await add_book(shop), await add_user(shop)
    async with shop.database.transaction() as tx:
        review_id = await add_review(tx, reader.id, book.id, 4, None)
    await postgres.execute("UPDATE reviews SET id = $2 WHERE id = $1", review_id, REVIEW)
    await postgres.execute("INSERT INTO books (id, slug, title, price) VALUES ($1, 'behind', 'Behind', 1)", BOOK)


async def _dump_rows(postgres: asyncpg.Connection) -> list[str]:
    return [
        row[0]
        for table in Base.metadata.sorted_tables
        for row in await postgres.fetch(f"SELECT t::text FROM {table.name} t ORDER BY 1")
    ]


def test_every_non_public_field_requires_auth() -> None:
    assert {door.name for door in ALL_FIELDS if door.role is None} == PUBLIC_FIELDS
    assert {door.role for door in ALL_FIELDS} == {None, "USER", "ADMIN"}


@pytest.mark.parametrize("door", PROTECTED_FIELDS)
async def test_anonymous_caller_is_unauthenticated(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, door: ProtectedField
) -> None:
    assert await door.query(client) == (None, ["UNAUTHENTICATED"])
    user = await add_user(shop)
    before = await _dump_rows(postgres)
    late = shop.tokens.issue_access_token(user.id, "USER", user.session_id, -dt.timedelta(minutes=1)).text
    assert await door.query(client.with_token(late)) == (None, ["AUTH_TOKEN_EXPIRED"])
    assert await door.query(client.with_token("x")) == (None, ["UNAUTHENTICATED"])
    assert await _dump_rows(postgres) == before


@pytest.mark.parametrize("door", PROTECTED_FIELDS)
async def test_deactivated_and_logged_out_users_are_rejected(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, door: ProtectedField
) -> None:
    out, over = await add_admin(shop), await add_admin(shop)
    await postgres.execute("UPDATE users SET is_active = false WHERE id = $1", out.id)
    await postgres.execute("UPDATE sessions SET revoked_at = now() WHERE id = $1", over.session_id)
    before = await _dump_rows(postgres)
    assert await door.query(client.with_token(out.token)) == (None, ["AUTH_ACCOUNT_DEACTIVATED"])
    assert await door.query(client.with_token(over.token)) == (None, ["UNAUTHENTICATED"])
    assert await _dump_rows(postgres) == before


@pytest.mark.parametrize("door", ADMIN_FIELDS)
async def test_customer_is_forbidden_from_admin_fields(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, door: ProtectedField
) -> None:
    user = await add_user(shop)
    before = await _dump_rows(postgres)
    assert await door.query(client.with_token(user.token)) == (None, ["FORBIDDEN"])
    assert await _dump_rows(postgres) == before


@pytest.mark.parametrize("door", ADMIN_FIELDS)
async def test_admin_is_allowed(client: ApiClient, shop: Shop, door: ProtectedField) -> None:
    admin = await add_admin(shop)
    assert not await _is_rejected(door, client.with_token(admin.token))


@pytest.mark.parametrize("door", CUSTOMER_FIELDS)
async def test_public_fields_are_allowed(client: ApiClient, shop: Shop, door: ProtectedField) -> None:
    caller = client.with_token((await add_user(shop)).token) if door.role else client
    assert not await _is_rejected(door, caller)


async def _is_rejected(door: ProtectedField, client: ApiClient) -> bool:
    response = await client.execute(door.document, **door.variables)
    return bool({"UNAUTHENTICATED", "FORBIDDEN", "INTERNAL_SERVER_ERROR"} & set(response.codes))


@pytest.mark.parametrize("declare", [query, mutation])
def test_field_without_permission_cannot_be_declared(declare: Any) -> None:
    async def opened_by_oversight() -> int:
        """Forgets to say who may."""
        return 1

    with pytest.raises(TypeError, match="permission"):
        declare()(opened_by_oversight)
    with pytest.raises(TypeError, match="not an instance of StrawberryField"):
        create_type("Query", [declare(opened_by_oversight)])
