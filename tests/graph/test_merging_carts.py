"""Merging the cart of a visitor into that of the account they signed in to."""

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import catalog
from domain.shop import Shop
from tests.carts import MERGE, lines_of, merge
from tests.client import Visitor
from tests.customers import add_customer
from tests.factories import add_book, book_id
from tests.memory import remembered


async def test_visitors_have_no_cart_to_merge_into(visitor: Visitor, shop: Shop) -> None:
    items = [{"bookId": book_id(await add_book(shop)), "quantity": 1}]
    reply = await visitor.ask(MERGE, input={"items": items})
    assert (reply.data, reply.codes) == ({"change": None}, ["UNAUTHENTICATED"])


async def test_a_merge_with_a_bad_line_changes_nothing_and_names_every_issue(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    emma, persuasion = await add_book(shop), await add_book(shop)
    customer = await add_customer(visitor, shop, (emma, 1))
    before = await remembered(postgres)
    merged = await merge(customer, (emma, 0), (persuasion, 2), (persuasion, 1000))
    assert merged["issues"] == [
        {"path": ["items", "0", "quantity"], "rule": "TOO_SMALL"},
        {"path": ["items", "2", "quantity"], "rule": "TOO_LARGE"},
    ]
    assert await remembered(postgres) == before


async def test_books_unknown_or_sold_out_are_left_out_of_a_merge(visitor: Visitor, shop: Shop) -> None:
    customer = await add_customer(visitor, shop)
    gone, sold_out, there = await add_book(shop), await add_book(shop, stock=0), await add_book(shop, "There")
    await catalog.delete_book(shop, gone.id)
    assert lines_of(await merge(customer, (gone, 1), (sold_out, 1), (there, 2))) == [("There", 2)]
    assert lines_of(await merge(customer)) == [("There", 2)]


@given(
    in_cart=st.lists(st.integers(0, 6), min_size=3, max_size=3),
    picked=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12)), max_size=6),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_larger_quantity_wins_up_to_the_stock(
    visitor: Visitor, shop: Shop, in_cart: list[int], picked: list[tuple[int, int]]
) -> None:
    books = [await add_book(shop, stock=stock) for stock in (6, 8, 20)]
    held = [(book, copies) for book, copies in zip(books, in_cart, strict=True) if copies]
    customer = await add_customer(visitor, shop, *held)

    merged = await merge(customer, *[(books[which], copies) for which, copies in picked])

    wanted = list(in_cart)
    for which, copies in picked:
        wanted[which] = max(wanted[which], copies)
    expected = {
        book.title: min(copies, book.stock_quantity) for book, copies in zip(books, wanted, strict=True) if copies
    }
    assert dict(lines_of(merged)) == expected
    assert len(merged["cart"]["items"]) == len(expected)
