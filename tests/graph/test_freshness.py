"""Which answers caches may keep, and for how long: only what is declared for everybody, and the least of it."""

from collections.abc import Callable
from typing import Any

import pytest
from graphql import GraphQLObjectType

from graph.documents import Documents
from graph.fields import field, query
from graph.gates import administrator, signed_in
from graph.schema import schema

QUERIES = {
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
PUBLIC = {
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
"""Types, and what their fields declare unless they are named below."""
OTHERWISE = {
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


def declared(type_: GraphQLObjectType) -> dict[str, int | None]:
    return {
        name: told.extensions["strawberry-definition"].metadata.get("fresh_for") for name, told in type_.fields.items()
    }


def fresh_for(document: str, name: str | None = None) -> int | None:
    operation = Documents(introspection=True).get(document).operation(name)
    assert operation is not None
    return operation.fresh_for


# ── What is declared ──────────────────────────────────────────────────────────────────────


def test_every_query_is_as_it_is_listed_here() -> None:
    assert schema._schema.query_type
    assert declared(schema._schema.query_type) == QUERIES


def test_every_field_is_as_it_is_listed_here() -> None:
    for type_ in schema._schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__") and type_.name != "Query":
            usual = PUBLIC.get(type_.name)
            expected = {name: OTHERWISE.get(f"{type_.name}.{name}", usual) for name in type_.fields}
            has_definition = "strawberry-definition" in next(iter(type_.fields.values())).extensions
            assert has_definition, type_.name
            assert declared(type_) == expected, type_.name


@pytest.mark.parametrize("gate", [signed_in, administrator])
def test_what_is_not_for_everybody_cannot_be_declared(gate: Any) -> None:
    async def secret() -> int:
        """Tells."""
        return 1

    for declare in (lambda: query(gate, fresh_for=1)(secret), lambda: field(gate=gate, fresh_for=1)(secret)):
        declaring: Callable[[], Any] = declare
        with pytest.raises(TypeError, match="secret is not for everybody"):
            declaring()


def test_a_field_that_says_nothing_is_not_kept() -> None:
    @field()
    def silent() -> int:
        """Forgot to say."""
        return 1

    assert "fresh_for" not in silent.metadata


# ── What comes of it ──────────────────────────────────────────────────────────────────────


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
        "{ books { nodes { ... { ...Mine } } } } fragment Mine on Book { title ...More } fragment More on Book { viewerCanReview }",
        "{ books { nodes { ... on Node { id } } } }",
        '{ node(id: "a") { ... on Book { title } } }',
        "{ genres { name } __schema { types { name } } }",
        '{ genres { name } __type(name: "Book") { name } }',
        'mutation { deleteBook(input: {bookId: "a"}) { ... on BookDeleted { bookId } } }',
        'mutation { deleteReview(input: {reviewId: "a"}) { ... on ReviewDeleted { book { title } } } }',
    ],
)
def test_nobody_may_keep(document: str) -> None:
    assert fresh_for(document) is None


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
def test_the_least_counts(document: str, seconds: int) -> None:
    assert fresh_for(document) == seconds


def test_each_operation_has_its_own() -> None:
    document = "query A { genres { name } } query B { me { id } }"
    assert (fresh_for(document, "A"), fresh_for(document, "B")) == (60, None)
