"""Projections: only selected columns are read, and a field's value does not depend on the other fields selected."""

from typing import Any

import pytest
from graphql import get_named_type, is_leaf_type

from domain.shop import Shop
from graph.schema import schema
from tests.support.http.client import ApiClient
from tests.support.shop.catalog_admin import SAMPLE_DETAILS
from tests.support.shop.factories import add_admin, add_book, add_genre, book_id
from tests.support.shop.reviews import add_buyer, submit_review

BOOK_FIELDS: dict[str, Any] = schema._schema.type_map["Book"].fields  # type: ignore[attr-defined]  # object types have fields
BOOK_LEAVES = " ".join(name for name, field in BOOK_FIELDS.items() if is_leaf_type(get_named_type(field.type)))
BOOK = (
    BOOK_LEAVES
    + """
ratingHistogram{stars,count} price{amount} relatedBooks{title} viewerReview{id} viewerPrebooking{id} reviews{totalCount}
authors{id} authors{slug} authors{name} authors{books{totalCount}} genre{id} genre{slug} genre{name} genre{books{totalCount}}
"""
)
REVIEW = """
id rating text createdAt updatedAt isVerifiedPurchase viewerCanUpdate viewerCanDelete book{title}
reviewer{displayName} reviewer{account{email}}
"""
BOOKS = "query ($id: ID!) {{ book(by: {{id: $id}}) {{ {0} }} books {{ nodes {{ {0} }} edges {{ node {{ {0} }} }} }} }}"
REVIEWS = "query ($id: ID!) {{ book(by: {{id: $id}}) {{ reviews {{ nodes {{ {0} }} edges {{ node {{ {0} }} }} }} }} }}"
EXECUTIONS = 2
"""The executor compiles a document at its second execution and uses the compiled functions afterwards."""
TYPENAMES_QUERY = "query ($id: ID!) { book(by: {id: $id}) { __typename authors { __typename } genre { __typename } } books { totalCount } }"


@pytest.fixture
async def client_and_book(client: ApiClient, shop: Shop) -> tuple[ApiClient, str]:
    """Return an administrator's client, and the id of a book with a value in each of its fields."""
    genre_id = (await add_genre(shop, "Fiction")).id
    book = await add_book(
        shop, **SAMPLE_DETAILS | {"title": "Emma", "authors": ("Jane Austen", "A Friend"), "genre_id": genre_id}
    )
    await add_book(shop, "Persuasion", authors=("Jane Austen",), genre_id=genre_id)
    assert (await submit_review(await add_buyer(client, shop, book), book, text="Fine."))["__typename"] == "ReviewSaved"
    await add_book(shop, "Without anything")
    return client.with_token((await add_admin(shop)).token), book_id(book)


def test_every_field_is_covered() -> None:
    for name, selections in (("Book", BOOK), ("Review", REVIEW)):
        fields = set(schema._schema.type_map[name].fields)  # type: ignore[attr-defined]  # object types have fields
        assert {selection.partition("{")[0] for selection in selections.split()} == fields


@pytest.mark.parametrize(("document", "selections"), [(BOOKS, BOOK), (REVIEWS, REVIEW)], ids=["books", "reviews"])
async def test_fields_alone_and_together_are_equal(
    client_and_book: tuple[ApiClient, str], document: str, selections: str
) -> None:
    visitor, id_ = client_and_book
    all_fields = await visitor.execute(document.format(selections), id=id_)
    assert not all_fields.errors
    for _ in range(EXECUTIONS):
        assert (await visitor.execute(document.format(selections), id=id_)).data == all_fields.data
    for selection in selections.split():
        one_field = await visitor.execute(document.format(selection), id=id_)
        assert (one_field.errors, one_field.data) == ([], _extract(all_fields.data, one_field.data)), selection


@pytest.mark.parametrize(
    "other_selection",
    [
        field_selection
        for field_selection in BOOK.split()
        if "{books" in field_selection or field_selection == "relatedBooks{title}"
    ],
)
@pytest.mark.parametrize(
    "selection",
    [
        field_selection
        for field_selection in BOOK.split()
        if field_selection.startswith(("average", "rating", "genre", "authors"))
    ],
)
async def test_fields_beside_a_batched_field_are_equal(
    client_and_book: tuple[ApiClient, str], selection: str, other_selection: str
) -> None:
    visitor, id_ = client_and_book
    document = BOOKS.format(f"{selection} {other_selection}")
    first_response = await visitor.execute(document, id=id_)
    assert not first_response.errors
    for _ in range(EXECUTIONS):
        later_response = await visitor.execute(document, id=id_)
        assert (later_response.errors, later_response.data) == ([], first_response.data)


def _extract(value: Any, part: Any) -> Any:
    """Return the part of the value that has the same shape as `part`."""
    if isinstance(part, list):
        return [_extract(item, part_item) for item, part_item in zip(value, part, strict=True)]
    return (
        {name: _extract(value[name], part_item) for name, part_item in part.items()}
        if isinstance(part, dict)
        else value
    )


async def test_typename_and_total_count_only(client_and_book: tuple[ApiClient, str]) -> None:
    visitor, id_ = client_and_book
    value = await visitor.execute(TYPENAMES_QUERY, id=id_)
    assert value["book"] == {
        "__typename": "Book",
        "authors": [{"__typename": "Author"}] * 2,
        "genre": {"__typename": "Genre"},
    }
    assert value["books"] == {"totalCount": 3}
