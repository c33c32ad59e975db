"""Every field marked `@requiresAuth` rejects callers without the permission."""

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
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
    get_nullable_type,
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
from tests.support.graphql.schema_fields import build_document, build_path_variables, get_at_path, iterate_fields
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_admin, add_book, add_user

PUBLIC_FIELDS = {
    *("Query.node", "Query.nodes", "Query.books", "Query.book", "Query.genres", "Query.genre", "Query.authors"),
    *("Query.author", "Query.review", "Query.me", "Query.oauthLogins"),
    *("Mutation.register", "Mutation.login", "Mutation.loginWithOAuth", "Mutation.refreshSession", "Mutation.logout"),
    *("Mutation.verifyEmail", "Mutation.requestPasswordReset", "Mutation.resetPassword"),
}
"""This list repeats the declarations, so that no field becomes public by mistake."""
BOOK_ID, REVIEW_ID = (uuid.UUID(int=number) for number in (1, 2))
LOOKUPS = {"Book": {"id": to_global_id("Book", BOOK_ID)}, "Review": to_global_id("Review", REVIEW_ID)}
"""Objects with protected fields, by the types that the root looks up."""
SAMPLE_VALUES = {"ID": to_global_id("Book", new_id()), "String": "x", "Int": 1, "Boolean": True, "Decimal": "1.00"}


@dataclass(frozen=True, slots=True)
class Field:
    """A field, `Parent.field`, with the least role that may use it, and the smallest valid document that queries it."""

    name: str
    role: str | None
    document: str
    variables: dict[str, Any]

    async def query(self, client: ApiClient) -> tuple[Any, list[str]]:
        """Return the field's value and the codes of the errors."""
        response = await client.execute(self.document, **self.variables)
        assert response.data is not None, response.errors
        return get_at_path(response.data, self.name), response.codes


def _list_fields() -> Iterator[Field]:
    """Yield all root fields, and those below them that are protected.

    Raises:
        LookupError: No path leads to the type of a protected field.
        KeyError: `LOOKUPS` lacks the type that the path looks up.
    """
    for name, field in iterate_fields():
        parent, role = name.partition(".")[0], _get_printed_role(field)
        if parent in ("Query", "Mutation") or role:
            required = {key: argument.type for key, argument in field.args.items() if is_required_argument(argument)}
            variables = {key: _build_minimal_value(type_) for key, type_ in required.items()}
            variables |= build_path_variables(parent, LOOKUPS)
            yield Field(name, role, build_document(name, arguments=required), variables)


def _get_printed_role(field: GraphQLField) -> str | None:
    """Return the role in the `@requiresAuth` of the printed schema."""
    directives = (field.ast_node and field.ast_node.directives) or ()
    return next((_parse_role(node) for node in directives if node.name.value == "requiresAuth"), None)


def _parse_role(directive: DirectiveNode) -> str:
    """Return the directive's role, whose default is not printed."""
    values = [argument.value for argument in directive.arguments or ()]
    return next((value.value for value in values if isinstance(value, EnumValueNode)), "USER")


def _build_minimal_value(input_type: GraphQLInputType) -> Any:
    """Return the smallest value of this type."""
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
PROTECTED_FIELDS = [pytest.param(field, id=field.name) for field in ALL_FIELDS if field.role]
ADMIN_FIELDS = [pytest.param(field, id=field.name) for field in ALL_FIELDS if field.role == "ADMIN"]
CUSTOMER_FIELDS = [pytest.param(field, id=field.name) for field in ALL_FIELDS if field.role != "ADMIN"]


@pytest.fixture(autouse=True)
async def _protected_data(shop: Shop, postgres: asyncpg.Connection) -> None:
    book, reader = await add_book(shop), await add_user(shop)
    async with shop.database.transaction() as tx:
        review_id = await add_review(tx, reader.id, book.id, 4, None)
    await postgres.execute("UPDATE reviews SET id = $2 WHERE id = $1", review_id, REVIEW_ID)
    await postgres.execute("INSERT INTO books (id, slug, title, price) VALUES ($1, 'behind', 'Behind', 1)", BOOK_ID)


async def _dump_rows(postgres: asyncpg.Connection) -> list[str]:
    return [
        row[0]
        for table in Base.metadata.sorted_tables
        for row in await postgres.fetch(f"SELECT t::text FROM {table.name} t ORDER BY 1")
    ]


def test_every_non_public_field_requires_auth() -> None:
    assert {field.name for field in ALL_FIELDS if field.role is None} == PUBLIC_FIELDS
    assert {field.role for field in ALL_FIELDS} == {None, "USER", "ADMIN"}


@pytest.mark.parametrize("field", PROTECTED_FIELDS)
async def test_anonymous_caller_is_unauthenticated(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, field: Field
) -> None:
    assert await field.query(client) == (None, ["UNAUTHENTICATED"])
    user = await add_user(shop)
    before = await _dump_rows(postgres)
    expired = shop.tokens.issue_access_token(user.id, "USER", user.session_id, -dt.timedelta(minutes=1)).text
    assert await field.query(client.with_token(expired)) == (None, ["AUTH_TOKEN_EXPIRED"])
    assert await field.query(client.with_token("x")) == (None, ["UNAUTHENTICATED"])
    assert await _dump_rows(postgres) == before


@pytest.mark.parametrize("field", PROTECTED_FIELDS)
async def test_deactivated_and_logged_out_users_are_rejected(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, field: Field
) -> None:
    deactivated, logged_out = await add_admin(shop), await add_admin(shop)
    await postgres.execute("UPDATE users SET is_active = false WHERE id = $1", deactivated.id)
    await postgres.execute("UPDATE sessions SET revoked_at = now() WHERE id = $1", logged_out.session_id)
    before = await _dump_rows(postgres)
    assert await field.query(client.with_token(deactivated.token)) == (None, ["AUTH_ACCOUNT_DEACTIVATED"])
    assert await field.query(client.with_token(logged_out.token)) == (None, ["UNAUTHENTICATED"])
    assert await _dump_rows(postgres) == before


@pytest.mark.parametrize("field", ADMIN_FIELDS)
async def test_customer_is_forbidden_from_admin_fields(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, field: Field
) -> None:
    user = await add_user(shop)
    before = await _dump_rows(postgres)
    assert await field.query(client.with_token(user.token)) == (None, ["FORBIDDEN"])
    assert await _dump_rows(postgres) == before


@pytest.mark.parametrize("field", ADMIN_FIELDS)
async def test_admin_is_allowed(client: ApiClient, shop: Shop, field: Field) -> None:
    admin = await add_admin(shop)
    assert not await _is_rejected(field, client.with_token(admin.token))


@pytest.mark.parametrize("field", CUSTOMER_FIELDS)
async def test_public_fields_are_allowed(client: ApiClient, shop: Shop, field: Field) -> None:
    caller = client.with_token((await add_user(shop)).token) if field.role else client
    assert not await _is_rejected(field, caller)


async def _is_rejected(field: Field, client: ApiClient) -> bool:
    response = await client.execute(field.document, **field.variables)
    return bool({"UNAUTHENTICATED", "FORBIDDEN", "INTERNAL_SERVER_ERROR"} & set(response.codes))


@pytest.mark.parametrize("declare", [query, mutation])
def test_field_without_permission_cannot_be_declared(declare: Any) -> None:
    async def without_permission() -> int:
        """A resolver whose declaration names no permission."""
        return 1

    with pytest.raises(TypeError, match="permission"):
        declare()(without_permission)
    with pytest.raises(TypeError, match="not an instance of StrawberryField"):
        create_type("Query", [declare(without_permission)])
