"""The maximum age of responses: the minimum that all selected fields declare, for public fields only."""

from collections.abc import Callable
from typing import Any

import pytest
from graphql import GraphQLObjectType

from graph.execution.documents import Documents
from graph.kit.declare import field, query
from graph.kit.permissions import admin_only, signed_in
from graph.schema import schema

QUERY_MAX_AGES = {
    "node": None,
    "nodes": None,
    "books": 1,
    "book": 1,
    "genres": 60,
    "genre": 60,
    "authors": 1,
    "author": 60,
    "review": 1,
    "me": None,
    "order": None,
    "oauthLogins": None,
    "admin": None,
}
TYPE_MAX_AGES = {
    "Book": 1,
    "Author": 60,
    "Genre": 60,
    "Review": 1,
    "Reviewer": 1,
    "RatingBucket": 1,
    "Money": 60,
    "PageInfo": 60,
    "BookConnection": 1,
    "BookEdge": 1,
    "AuthorConnection": 1,
    "AuthorEdge": 1,
    "ReviewConnection": 1,
    "ReviewEdge": 1,
    "BookFacets": 1,
    "GenreFacet": 1,
    "FormatFacet": 1,
}
"""The maximum age that the fields of a type declare, unless they are in `FIELD_MAX_AGES`."""
FIELD_MAX_AGES = {
    "Author.books": 1,
    "Genre.books": 1,
    "Book.viewerReview": None,
    "Book.viewerCanReview": None,
    "Book.viewerHasWishlisted": None,
    "Book.viewerPrebooking": None,
    "Book.waitingPrebookings": None,
    "Review.viewerCanUpdate": None,
    "Review.viewerCanDelete": None,
    "Reviewer.account": None,
}


def list_declared_max_ages(type_: GraphQLObjectType) -> dict[str, int | None]:
    return {
        name: field_.extensions["strawberry-definition"].metadata.get("max_age")
        for name, field_ in type_.fields.items()
    }


def compute_max_age(document: str, name: str | None = None) -> int | None:
    operation = Documents(introspection=True).get(document).get_operation(name)
    assert operation is not None
    return operation.max_age


# ── Declarations ──────────────────────────────────────────────────────────────────────────


def test_max_age_of_every_query() -> None:
    assert schema._schema.query_type
    assert list_declared_max_ages(schema._schema.query_type) == QUERY_MAX_AGES


def test_max_age_of_every_field() -> None:
    for type_ in schema._schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__") and type_.name != "Query":
            default = TYPE_MAX_AGES.get(type_.name)
            expected = {name: FIELD_MAX_AGES.get(f"{type_.name}.{name}", default) for name in type_.fields}
            has_definition = "strawberry-definition" in next(iter(type_.fields.values())).extensions
            assert has_definition, type_.name
            assert list_declared_max_ages(type_) == expected, type_.name


@pytest.mark.parametrize("permission", [signed_in, admin_only])
def test_private_fields_cannot_declare_max_age(permission: Any) -> None:
    async def secret() -> int:
        """Return a number."""
        return 1

    for declare in (
        lambda: query(permission, max_age=1)(secret),
        lambda: field(permission=permission, max_age=1)(secret),
    ):
        declaring: Callable[[], Any] = declare
        with pytest.raises(TypeError, match="secret needs a permission"):
            declaring()


def test_field_without_max_age_is_not_cacheable() -> None:
    @field()
    def undeclared() -> int:
        """Return a number."""
        return 1

    assert "max_age" not in undeclared.metadata


# ── Operations ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "document",
    [
        "{ __typename }",
        "{ me { displayName } }",
        "{ genres { name } me { id } }",
        "{ books { nodes { title viewerHasWishlisted } } }",
        "{ books { nodes { title viewerHasWishlisted @skip(if: true) } } }",
        "query ($mine: Boolean!) { books { nodes { title viewerReview @include(if: $mine) { id } } } }",
        "{ books { nodes { reviews { nodes { viewerCanUpdate } } } } }",
        "{ books { nodes { ... { ...Outer } } } } fragment Outer on Book { title ...Inner } fragment Inner on Book { viewerCanReview }",
        "{ books { nodes { ... on Node { id } } } }",
        '{ node(id: "a") { ... on Book { title } } }',
        "{ genres { name } __schema { types { name } } }",
        '{ genres { name } __type(name: "Book") { name } }',
        'mutation { deleteBook(input: {bookId: "a"}) { ... on BookDeleted { bookId } } }',
        'mutation { deleteReview(input: {reviewId: "a"}) { ... on ReviewDeleted { book { title } } } }',
    ],
)
def test_uncacheable_operations(document: str) -> None:
    assert compute_max_age(document) is None


@pytest.mark.parametrize(
    ("document", "seconds"),
    [
        ("{ genres { id name slug __typename } }", 60),
        ('{ author(by: {slug: "a"}) { name } }', 60),
        ('{ author(by: {slug: "a"}) { name books { totalCount } } }', 1),
        ("{ genres { name } books { totalCount } }", 1),
        ("{ genres { ...G } books { nodes { genre { ...G } } } } fragment G on Genre { name }", 1),
        ("{ books { edges { cursor node { price { amount } } } pageInfo { hasNextPage } facets { minPrice { amount } } } }", 1),
    ],
)  # fmt: skip
def test_minimum_max_age_applies(document: str, seconds: int) -> None:
    assert compute_max_age(document) == seconds


def test_each_operation_has_its_own_max_age() -> None:
    document = "query A { genres { name } } query B { me { id } }"
    assert (compute_max_age(document, "A"), compute_max_age(document, "B")) == (60, None)
