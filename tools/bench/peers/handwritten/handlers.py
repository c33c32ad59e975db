"""The handler of each document. Carts and orders use our domain; the rest is SQL and dictionaries."""

import asyncio

from domain import cart as carts
from domain import orders
from domain.orders import CheckoutRequest
from domain.shop import Shop
from graph.book_list import _cursor_codec
from graph.kit.ids import parse_key
from persistence import accounts, cart, catalog
from persistence.browse.book_query import BookQuery
from persistence.orders import list_order_items
from tools.bench.peers.handwritten.rows import (
    MATCHES,
    NEWEST_BOOKS,
    NEXT_BOOKS,
    ONE_BOOK,
    REVIEWS,
    Json,
    Key,
    global_id,
)
from tools.bench.peers.statements import STATEMENTS

NEWEST = _cursor_codec(BookQuery())


class Handlers:
    """One method per document."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._all = shop.database.read_session.all

    async def list_books(self, variables: Json) -> Json:
        return {"books": await self._page(variables)}

    async def list_books_with_count(self, variables: Json) -> Json:
        everything = BookQuery()
        count = self._shop.count_cache.get(
            everything, lambda: self._shop.database.read_session.first(STATEMENTS["countBooks"])
        )
        total, page = await asyncio.gather(count, self._page(variables))
        return {"books": {"totalCount": total, **page}}

    async def _page(self, variables: Json) -> Json:
        size, after = variables["first"], variables.get("after")
        if after:
            position = NEWEST.decode(after)
            rows = await self._all(NEXT_BOOKS, limit=size + 1, after_key=position.key, after_id=position.id)
        else:
            rows = await self._all(NEWEST_BOOKS, limit=size + 1)
        end = NEWEST.encode(*rows[:size][-1][:2]) if rows[:size] else None
        return {
            "nodes": [book for _, _, book in rows[:size]],
            "pageInfo": {"hasNextPage": len(rows) > size, "endCursor": end},
        }

    async def search(self, variables: Json) -> Json:
        size = variables["first"]
        rows = await self._all(MATCHES, limit=size + 1, search=variables["words"].casefold())
        return {"books": {"nodes": rows[:size], "pageInfo": {"hasNextPage": len(rows) > size}}}

    async def find_book(self, variables: Json) -> Json:
        key, size = parse_key("Book", variables["id"]), variables["first"]
        rows = await self._all(ONE_BOOK, value=key)
        if not rows:
            return {"book": None}
        [book] = rows
        reviews = await self._all(REVIEWS, limit=size + 1, book_id=key)
        book["reviews"] = {"nodes": reviews[:size], "pageInfo": {"hasNextPage": len(reviews) > size}}
        return {"book": book}

    async def add_to_cart(self, variables: Json, token: str) -> Json:
        user_id, values = await self._authenticate(token), variables["input"]
        await carts.add_to_cart(self._shop, user_id, parse_key("Book", values["bookId"]), values.get("quantity", 1))
        items = await cart.list_cart_items(self._shop.database.read_session, [user_id])
        books = await catalog.list_books_by_id(self._shop.database.read_session, [item.book_id for item in items])
        titles = {book.id: book.title for book in books}
        lines = [
            {
                "quantity": item.quantity,
                "lineTotal": {"amount": str(item.line_total)},
                "book": {"id": global_id(b"Book:", item.book_id), "title": titles[item.book_id]},
            }
            for item in items
        ]
        content = {
            "totalQuantity": sum(item.quantity for item in items),
            "total": {"amount": str(carts.cart_total(items))},
            "items": lines,
        }
        return {"addToCart": {"__typename": "CartUpdated", "cart": content}}

    async def checkout(self, variables: Json, token: str) -> Json:
        user_id, values = await self._authenticate(token), variables["input"]
        purchase = CheckoutRequest(values["idempotencyKey"], payment_token=values["paymentToken"])
        order = await orders.checkout(self._shop, user_id, purchase)
        items = await list_order_items(self._shop.database.read_session, [order.id])
        lines = [
            {"title": item.title, "quantity": item.quantity, "unitPrice": {"amount": str(item.unit_price)}}
            for item in items
        ]
        placed = {
            "id": global_id(b"Order:", order.id),
            "number": order.number,
            "status": order.status,
            "totalQuantity": order.total_quantity,
            "total": {"amount": str(order.total)},
            "items": lines,
        }
        return {"checkout": {"__typename": "OrderPlaced", "order": placed}}

    async def _authenticate(self, token: str) -> Key:
        claims = self._shop.tokens.decode_access_token(token)
        viewer = await accounts.find_viewer(self._shop.database.read_session, claims.session_id)
        if viewer is None or not viewer.is_session_active or not viewer.user.is_active:
            raise PermissionError
        return viewer.user.id
