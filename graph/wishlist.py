"""Declares wishlists and the mutations that change them."""

import datetime as dt
import uuid
from typing import Annotated, Any

import strawberry

from domain import wishlist
from domain.errors import NotFound
from graph.catalog import Book
from graph.context import Info
from graph.kit.batch_fields import batch_field, require_row
from graph.kit.declare import argument, attribute, input_type, object_type
from graph.kit.ids import global_id_field, parse_key, to_global_id
from graph.kit.mutations import mutation
from graph.kit.nodes import Node, node_resolver
from graph.kit.pagination import Connection, CursorCodec, connection_type, parse_page
from graph.kit.permissions import signed_in
from graph.loaders import BOOK
from persistence import wishlist as rows
from persistence.catalog import BookRow
from persistence.wishlist import WishlistItemRow

WishlistConnection = connection_type(
    "Wishlist", Annotated["WishlistItem", strawberry.lazy("graph.wishlist")], "saved books"
)


@object_type(source_type=WishlistItemRow)
class WishlistItem(Node):
    """A book saved for later. Its price and stock are today's."""

    id: strawberry.ID = global_id_field("WishlistItem", "The item's global ID.")
    added_at: dt.datetime = attribute("When it was saved.")

    @batch_field(BOOK, Book)
    def book(book: BookRow | None) -> BookRow:
        """The book."""
        return require_row(book)


@node_resolver("WishlistItem")
async def find_wishlist_item(info: Info, key: Any) -> WishlistItemRow | None:
    """Find a wishlist item for `node`."""
    return await info.context.load_owned(info.context.loaders.wishlist_item, key)


async def resolve_wishlist(
    info: Info, user_id: uuid.UUID, first: int | None, after: str | None, last: int | None, before: str | None
) -> Connection[WishlistItemRow]:
    """Resolve a page of a user's wishlist.

    Raises:
        BadUserInput: An argument is not valid.
    """
    codec = CursorCodec(f"wishlist {user_id}", dt.datetime)
    page_result = await rows.list_wishlist_items(
        info.context.read_session, user_id, parse_page(codec, first, after, last, before)
    )
    return Connection(codec, page_result, lambda: rows.count_wishlist_items(info.context.read_session, user_id))


@input_type()
class AddToWishlistInput:
    """A book to save."""

    book_id: strawberry.ID = attribute("The ID of the book.")


@input_type()
class RemoveFromWishlistInput:
    """A book to take off the wishlist."""

    book_id: strawberry.ID = attribute("The ID of the book.")


@object_type()
class WishlistItemAdded:
    """The book is saved for later."""

    item: WishlistItemRow = attribute("The item.", WishlistItem)


@object_type()
class WishlistItemRemoved:
    """The book is not on the wishlist any more."""

    item_id: strawberry.ID | None = attribute("The ID of the item that was removed. `null` when there was none.")
    book: BookRow = attribute("The book.", Book)


@mutation(signed_in, WishlistItemAdded, errors=(NotFound,))
async def add_to_wishlist(info: Info, input: Annotated[AddToWishlistInput, argument("The book.")]) -> WishlistItemAdded:
    """Saves a book for later. Does nothing if it is saved already."""
    user_id = (await info.context.require_viewer()).user.id
    book_id = parse_key("Book", input.book_id)
    return WishlistItemAdded(item=await wishlist.add_to_wishlist(info.context.shop, user_id, book_id))


@mutation(signed_in, WishlistItemRemoved, errors=(NotFound,))
async def remove_from_wishlist(
    info: Info, input: Annotated[RemoveFromWishlistInput, argument("The book.")]
) -> WishlistItemRemoved:
    """Takes a book off the wishlist. Does nothing if it is not on it."""
    user_id = (await info.context.require_viewer()).user.id
    item_id, book = await wishlist.remove_from_wishlist(info.context.shop, user_id, parse_key("Book", input.book_id))
    removed_id = to_global_id("WishlistItem", item_id) if item_id else None
    return WishlistItemRemoved(item_id=removed_id, book=book)
