"""What each document is answered with. Carts and orders go through our domain; the rest is SQL and dictionaries."""

import asyncio

from benchmarks.peers.handwritten.rows import (
    FOUND_BOOKS,
    NEWEST_BOOKS,
    NEXT_BOOKS,
    ONE_BOOK,
    REVIEWS,
    Answer,
    Key,
    id_of,
)
from benchmarks.peers.statements import STATEMENTS
from domain import cart as carts
from domain import orders
from domain.orders import CheckoutRequest
from domain.shop import Shop
from graph.book_list import _cursor_codec
from graph.kit.ids import parse_key
from persistence import accounts, cart, catalog
from persistence.browse.book_query import BookQuery
from persistence.orders import list_order_items

NEWEST = _cursor_codec(BookQuery())


class Handlers:
    """One method for each document."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._all = shop.database.read_session.all

    async def catalogue(self, variables: Answer) -> Answer:
        return {"books": await self._page(variables)}

    async def counted(self, variables: Answer) -> Answer:
        whole = BookQuery()
        count = self._shop.count_cache.get(
            whole, lambda: self._shop.database.read_session.first(STATEMENTS["countBooks"])
        )
        total, page = await asyncio.gather(count, self._page(variables))
        return {"books": {"totalCount": total, **page}}

    async def _page(self, variables: Answer) -> Answer:
        size, after = variables["first"], variables.get("after")
        if after:
            position = NEWEST.decode(after)
            told = {"after_key": position.key, "after_id": position.id}
            rows = await self._all(NEXT_BOOKS, limit=size + 1, **told)
        else:
            rows = await self._all(NEWEST_BOOKS, limit=size + 1)
        end = NEWEST.encode(*rows[:size][-1][:2]) if rows[:size] else None
        return {
            "nodes": [book for _, _, book in rows[:size]],
            "pageInfo": {"hasNextPage": len(rows) > size, "endCursor": end},
        }

    async def search(self, variables: Answer) -> Answer:
        size = variables["first"]
        rows = await self._all(FOUND_BOOKS, limit=size + 1, search=variables["words"].casefold())
        return {"books": {"nodes": rows[:size], "pageInfo": {"hasNextPage": len(rows) > size}}}

    async def book(self, variables: Answer) -> Answer:
        key, size = parse_key("Book", variables["id"]), variables["first"]
        found = await self._all(ONE_BOOK, value=key)
        if not found:
            return {"book": None}
        [book] = found
        reviews = await self._all(REVIEWS, limit=size + 1, book_id=key)
        book["reviews"] = {"nodes": reviews[:size], "pageInfo": {"hasNextPage": len(reviews) > size}}
        return {"book": book}

    async def add(self, variables: Answer, token: str) -> Answer:
        customer, told = await self._customer(token), variables["input"]
        await carts.add_to_cart(self._shop, customer, parse_key("Book", told["bookId"]), told.get("quantity", 1))
        items = await cart.list_cart_items(self._shop.database.read_session, [customer])
        books = await catalog.list_books_by_id(self._shop.database.read_session, [item.book_id for item in items])
        titles = {book.id: book.title for book in books}
        lines = [
            {
                "quantity": item.quantity,
                "lineTotal": {"amount": str(item.line_total)},
                "book": {"id": id_of(b"Book:", item.book_id), "title": titles[item.book_id]},
            }
            for item in items
        ]
        kept = {
            "totalQuantity": sum(item.quantity for item in items),
            "total": {"amount": str(carts.cart_total(items))},
            "items": lines,
        }
        return {"addToCart": {"__typename": "CartUpdated", "cart": kept}}

    async def buy(self, variables: Answer, token: str) -> Answer:
        customer, told = await self._customer(token), variables["input"]
        purchase = CheckoutRequest(told["idempotencyKey"], payment_token=told["paymentToken"])
        order = await orders.checkout(self._shop, customer, purchase)
        items = await list_order_items(self._shop.database.read_session, [order.id])
        lines = [
            {"title": item.title, "quantity": item.quantity, "unitPrice": {"amount": str(item.unit_price)}}
            for item in items
        ]
        placed = {
            "id": id_of(b"Order:", order.id),
            "number": order.number,
            "status": order.status,
            "totalQuantity": order.total_quantity,
            "total": {"amount": str(order.total)},
            "items": lines,
        }
        return {"checkout": {"__typename": "OrderPlaced", "order": placed}}

    async def _customer(self, token: str) -> Key:
        speaker = self._shop.tokens.decode_access_token(token)
        viewer = await accounts.find_viewer(self._shop.database.read_session, speaker.session_id)
        if viewer is None or not viewer.is_session_active or not viewer.user.is_active:
            raise PermissionError
        return viewer.user.id
