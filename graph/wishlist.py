"""Wishlists: books saved for later."""

import datetime as dt
import uuid
from typing import Annotated, Any

import strawberry

from domain import wishlist
from graph.catalog import Book
from graph.context import Info
from graph.errors import NotFound
from graph.fields import column, input_shape, mutation, outcomes, shape
from graph.gates import signed_in
from graph.ids import global_id, key_of, own_id
from graph.nodes import Node, refetched
from graph.pagination import Connection, ListKind, argument, connection_type, page_of
from graph.questions import BOOK, loaded, there
from persistence import wishlist as rows
from persistence.catalog import Book as BookRow
from persistence.wishlist import WishlistItem as ItemRow

WishlistConnection = connection_type(
    "WishlistItem", Annotated["WishlistItem", strawberry.lazy("graph.wishlist")], "saved books", prefix="Wishlist"
)


@shape(of=ItemRow)
class WishlistItem(Node):
    """A book saved for later. Its price and stock are today's."""

    id: strawberry.ID = own_id("WishlistItem", "The item's global ID.")
    added_at: dt.datetime = column("When it was saved.")

    @loaded(BOOK, Book)
    def book(book: BookRow | None) -> BookRow:
        """The book."""
        return there(book)


@refetched("WishlistItem")
async def find_wishlist_item(info: Info, key: Any) -> ItemRow | None:
    viewer = await info.context.viewer()
    item = await info.context.loaders.wishlist_item.load(key) if viewer else None
    return item if viewer and item and (item.user_id == viewer.user.id or viewer.user.role == "ADMIN") else None


async def wishlist_of(
    info: Info, user_id: uuid.UUID, first: int | None, after: str | None, last: int | None, before: str | None
) -> Connection[ItemRow]:
    kind = ListKind(f"wishlist {user_id}", dt.datetime)
    slice_ = await rows.list_wishlist_items(info.context.reading, user_id, page_of(kind, first, after, last, before))
    return Connection(kind, slice_, lambda: rows.count_wishlist_items(info.context.reading, user_id))


@input_shape()
class AddToWishlistInput:
    """A book to save."""

    book_id: strawberry.ID = column("The ID of the book.")


@input_shape()
class RemoveFromWishlistInput:
    """A book to take off the wishlist."""

    book_id: strawberry.ID = column("The ID of the book.")


@shape()
class WishlistItemAdded:
    """The book is saved for later."""

    item: ItemRow = column("The item.", WishlistItem)


@shape()
class WishlistItemRemoved:
    """The book is not on the wishlist any more."""

    item_id: strawberry.ID | None = column("The ID of the item that was removed. `null` when there was none.")
    book: BookRow = column("The book.", Book)


AddToWishlistResult = Annotated[WishlistItemAdded | NotFound, outcomes("AddToWishlistResult", "addToWishlist")]
RemoveFromWishlistResult = Annotated[
    WishlistItemRemoved | NotFound, outcomes("RemoveFromWishlistResult", "removeFromWishlist")
]


@mutation(signed_in)
async def add_to_wishlist(
    info: Info, input: Annotated[AddToWishlistInput, argument("The book.")]
) -> AddToWishlistResult | None:
    """Saves a book for later. Does nothing if it is saved already."""
    customer = (await info.context.signed_in()).user.id
    book_id = key_of("Book", input.book_id)
    return WishlistItemAdded(item=await wishlist.add_to_wishlist(info.context.shop, customer, book_id))


@mutation(signed_in)
async def remove_from_wishlist(
    info: Info, input: Annotated[RemoveFromWishlistInput, argument("The book.")]
) -> RemoveFromWishlistResult | None:
    """Takes a book off the wishlist. Does nothing if it is not on it."""
    customer = (await info.context.signed_in()).user.id
    item_id, book = await wishlist.remove_from_wishlist(info.context.shop, customer, key_of("Book", input.book_id))
    removed = global_id("WishlistItem", item_id) if item_id else None
    return WishlistItemRemoved(item_id=removed, book=book)
