"""Related books: bought together first, then by the same authors, then of the same genre."""

import asyncpg
import pytest

from domain.shop import Shop
from persistence.catalog import BookRow
from tests.support.http.client import ApiClient
from tests.support.shop.customers import add_customer
from tests.support.shop.factories import add_book, add_genre, add_user, book_id
from tests.support.shop.past_orders import add_past_order

RELATED_QUERY = "query ($id: ID!, $first: Int! = 20) { book(by: {id: $id}) { relatedBooks(first: $first) { title } } }"


async def list_related(client: ApiClient, book: BookRow, **arguments: int) -> list[str]:
    titles = (await client.execute(RELATED_QUERY, id=book_id(book), **arguments))["book"]["relatedBooks"]
    return [related_book["title"] for related_book in titles]


async def buy_together(shop: Shop, postgres: asyncpg.Connection, *books: BookRow, status: str = "CONFIRMED") -> None:
    await add_past_order(postgres, await add_user(shop), *((book, 1) for book in books), status=status)


@pytest.mark.parametrize("first", [-1, 21, 2**31 - 1])
async def test_more_than_20_is_a_request_error(client: ApiClient, shop: Shop, first: int) -> None:
    response = await client.execute(RELATED_QUERY, id=book_id(await add_book(shop)), first=first)
    assert (response.data, response.codes) == ({"book": None}, ["BAD_USER_INPUT"])


async def test_only_book_has_no_related_books(client: ApiClient, shop: Shop) -> None:
    book = await add_book(shop, authors=("Jane Austen",), genre_id=(await add_genre(shop)).id)
    await add_book(shop, authors=("Somebody Else",), genre_id=(await add_genre(shop)).id)
    assert await list_related(client, book) == []


async def test_sorted_by_bought_together_then_author_then_genre(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    genre_id = (await add_genre(shop)).id
    emma = await add_book(shop, "Emma", authors=("Jane Austen", "A Friend"), genre_id=genre_id)
    same_genre = await add_book(shop, "Same shelf", genre_id=genre_id)
    same_author = await add_book(shop, "Same author", authors=("A Friend",))
    once = await add_book(shop, "Once", genre_id=genre_id)
    twice = await add_book(shop, "Twice", authors=("Jane Austen",))
    await add_book(shop, "Unrelated")
    await buy_together(shop, postgres, emma, once, twice)
    await buy_together(shop, postgres, emma, twice, status="SHIPPED")
    await buy_together(shop, postgres, once, same_genre)
    assert await list_related(client, emma) == ["Twice", "Once", "Same author", "Same shelf"]
    assert await list_related(client, emma, first=2) == ["Twice", "Once"]
    assert await list_related(client, emma, first=0) == []
    assert await list_related(client, same_author) == ["Emma"]
    assert (await list_related(client, same_genre))[0] == "Once"


@pytest.mark.parametrize("status", ["PENDING", "PAYMENT_FAILED", "CANCELLED"])
async def test_ineffective_orders_do_not_relate_books(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, status: str
) -> None:
    first_book, second_book = await add_book(shop), await add_book(shop)
    await buy_together(shop, postgres, first_book, second_book, status=status)
    assert await list_related(client, first_book) == []


async def test_cancelled_order_no_longer_relates_books(client: ApiClient, shop: Shop) -> None:
    first_book, second_book = await add_book(shop, "One"), await add_book(shop, "Other")
    buyer = await add_customer(client, shop, (first_book, 1), (second_book, 1))
    order = (await buyer.checkout())["order"]
    assert await list_related(client, first_book) == ["Other"]
    await buyer.cancel_order(order["id"])
    assert await list_related(client, first_book) == []


async def test_deleted_book_is_not_related(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    first_book, second_book = await add_book(shop, authors=("A",)), await add_book(shop, authors=("A",))
    await buy_together(shop, postgres, first_book, second_book)
    await postgres.execute("DELETE FROM books WHERE id = $1", second_book.id)
    assert await list_related(client, first_book) == []


async def test_default_six_and_maximum_twenty(client: ApiClient, shop: Shop) -> None:
    genre_id = (await add_genre(shop)).id
    books = [await add_book(shop, authors=("A", "B"), genre_id=genre_id) for _ in range(25)]
    response = await client.execute(
        "query ($id: ID!) { book(by: {id: $id}) { relatedBooks { title } } }", id=book_id(books[0])
    )
    assert len(response["book"]["relatedBooks"]) == 6
    titles = await list_related(client, books[0])
    assert len(set(titles)) == 20
    assert books[0].title not in titles


async def test_each_of_many_books_has_its_own_related_books(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    pairs = [(await add_book(shop, f"{number} a"), await add_book(shop, f"{number} b")) for number in range(5)]
    for pair in pairs:
        await buy_together(shop, postgres, *pair)
    response = await client.execute("{ books(first: 100, sort: TITLE_ASC) { nodes { title relatedBooks { title } } } }")
    titles = {
        node["title"]: [related_book["title"] for related_book in node["relatedBooks"]]
        for node in response["books"]["nodes"]
    }
    assert titles == {f"{number} {one}": [f"{number} {other}"] for number in range(5) for one, other in ("ab", "ba")}
