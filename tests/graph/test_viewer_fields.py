"""Fields that begin with `viewer`: each caller's own, and none for visitors."""

import asyncpg
import pytest

from domain.shop import Shop
from graph.ids import global_id
from persistence.catalog import Book
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_book, book_id
from tests.purchases import bought

VIEWED = """
query ($id: ID!) {
  book(by: {id: $id}) {
    title viewerReview { rating text } viewerCanReview viewerHasWishlisted viewerPrebooking { status book { id } }
    reviews { nodes { rating viewerCanUpdate viewerCanDelete } }
  }
}
"""
NOTHING: dict[str, object] = {
    "viewerReview": None,
    "viewerCanReview": False,
    "viewerHasWishlisted": False,
    "viewerPrebooking": None,
    "reviews": {"nodes": []},
}
REVIEW = """mutation ($id: ID!, $stars: Int!) { end: createReview(input: {bookId: $id, rating: $stars}) {
    ... on ReviewSaved { review { id } } } }"""
WISH = "mutation ($id: ID!) { addToWishlist(input: {bookId: $id}) { __typename } }"
WAIT = "mutation ($id: ID!) { end: prebook(input: {bookId: $id}) { ... on Prebooked { prebooking { id } } } }"


async def view(viewer: Visitor | Customer, book: Book) -> dict[str, object]:
    told: dict[str, object] = (await viewer.ask(VIEWED, id=book_id(book)))["book"]
    assert told.pop("title") == book.title
    return told


@pytest.fixture
async def book(shop: Shop) -> Book:
    return await add_book(shop, stock=0)


async def test_a_visitor_and_a_newcomer_have_none(visitor: Visitor, shop: Shop, book: Book) -> None:
    assert await view(visitor, book) == NOTHING
    assert await view(await add_customer(visitor, shop), book) == NOTHING


async def test_a_token_that_is_no_good_is_never_silently_a_visitor(visitor: Visitor, book: Book) -> None:
    for name in ("viewerReview { id }", "viewerPrebooking { id }"):
        document = f"query ($id: ID!) {{ book(by: {{id: $id}}) {{ title {name} }} }}"
        reply = await visitor.signed_in("x").ask(document, id=book_id(book))
        assert reply.data == {"book": {"title": book.title, name.split()[0]: None}}
        assert reply.codes == ["UNAUTHENTICATED"]
    for name in ("viewerCanReview", "viewerHasWishlisted"):
        document = f"query ($id: ID!) {{ book(by: {{id: $id}}) {{ title {name} }} genres {{ id }} }}"
        reply = await visitor.signed_in("x").ask(document, id=book_id(book))
        assert reply.data == {"book": None, "genres": []}  # not null, so that the book goes with them
        assert reply.codes == ["UNAUTHENTICATED"]


async def test_each_sees_their_own(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, book: Book) -> None:
    reader, other = await add_customer(visitor, shop), await add_customer(visitor, shop)
    for customer in (reader, other):
        await bought(postgres, customer.member, (book, 1))
    assert await view(reader, book) == NOTHING | {"viewerCanReview": True}
    await reader.ask(REVIEW, id=book_id(book), stars=2)
    await reader.ask(WISH, id=book_id(book))
    await reader.ask(WAIT, id=book_id(book))
    shown = {"rating": 2, "viewerCanUpdate": True, "viewerCanDelete": True}
    assert await view(reader, book) == {
        "viewerReview": {"rating": 2, "text": None},
        "viewerCanReview": False,
        "viewerHasWishlisted": True,
        "viewerPrebooking": {"status": "WAITING", "book": {"id": book_id(book)}},
        "reviews": {"nodes": [shown]},
    }
    hidden = {"rating": 2, "viewerCanUpdate": False, "viewerCanDelete": False}
    assert await view(other, book) == NOTHING | {"viewerCanReview": True, "reviews": {"nodes": [hidden]}}
    administrator = await add_customer(visitor, shop, role="ADMIN")
    assert (await view(administrator, book))["reviews"] == {"nodes": [hidden | {"viewerCanDelete": True}]}
    assert (await view(visitor, book))["reviews"] == {"nodes": [hidden]}


async def test_what_is_over_shows_no_more(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, book: Book
) -> None:
    reader = await add_customer(visitor, shop)
    order_id = await bought(postgres, reader.member, (book, 1))
    review = (await reader.ask(REVIEW, id=book_id(book), stars=2))["end"]["review"]["id"]
    place = (await reader.ask(WAIT, id=book_id(book)))["end"]["prebooking"]["id"]
    await reader.ask(WISH, id=book_id(book))
    for mutation in (
        f'deleteReview(input: {{reviewId: "{review}"}})',
        f'cancelPrebooking(input: {{prebookingId: "{place}"}})',
        f'removeFromWishlist(input: {{bookId: "{book_id(book)}"}})',
    ):
        assert not (await reader.ask(f"mutation {{ {mutation} {{ __typename }} }}")).errors
    assert await view(reader, book) == NOTHING | {"viewerCanReview": True}
    await reader.cancels(global_id("Order", order_id))
    assert await view(reader, book) == NOTHING


async def test_who_was_told_waits_no_more(visitor: Visitor, shop: Shop, book: Book) -> None:
    reader, manager = await add_customer(visitor, shop), await add_customer(visitor, shop, role="ADMIN")
    await reader.ask(WAIT, id=book_id(book))
    restock = "mutation ($id: ID!) { updateStock(input: {bookId: $id, change: {setTo: 1}}) { __typename } }"
    await manager.ask(restock, id=book_id(book))
    assert await view(reader, book) == NOTHING


async def test_a_list_of_books_tells_each_apart(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    books = [await add_book(shop, f"{number}", stock=0) for number in range(4)]
    reader = await add_customer(visitor, shop)
    await bought(postgres, reader.member, (books[0], 1), (books[1], 1))
    await reader.ask(REVIEW, id=book_id(books[0]), stars=4)
    await reader.ask(WISH, id=book_id(books[2]))
    await reader.ask(WAIT, id=book_id(books[3]))
    reply = await reader.ask(
        """{ books(sort: TITLE_ASC) { nodes {
            viewerReview { rating } viewerCanReview viewerHasWishlisted viewerPrebooking { status } } } }"""
    )
    assert [tuple(node.values()) for node in reply["books"]["nodes"]] == [
        ({"rating": 4}, False, False, None),
        (None, True, False, None),
        (None, False, True, None),
        (None, False, False, {"status": "WAITING"}),
    ]
