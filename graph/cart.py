"""Declares carts and the mutations that change them."""

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Annotated

import strawberry

from domain import cart as carts
from domain.errors import InsufficientStock, InvalidInput, NotFound, Shortage
from graph.catalog import Book
from graph.context import Info
from graph.kit.batch_fields import batch_field, require_row
from graph.kit.declare import argument, attribute, field, input_type, object_type
from graph.kit.ids import global_id_field, parse_key
from graph.kit.money import Money
from graph.kit.mutations import mutation
from graph.kit.nodes import Node
from graph.kit.permissions import signed_in
from graph.loaders import BOOK, batch_loader
from graph.user_errors import StockShortage
from persistence import catalog
from persistence.cart import CartItemRow, CartRow

CART_ITEMS = batch_loader(lambda loaders: loaders.cart_items, "user_id")


@object_type(source_type=CartItemRow)
class CartItem:
    """A book in the cart. Each book has one line, so mutations find the line by the book."""

    id: strawberry.ID = global_id_field("CartItem", "The line's ID.")
    quantity: int = attribute("The number of copies.")
    added_at: dt.datetime = attribute("When it was added.")

    @batch_field(BOOK, Book)
    def book(book: catalog.BookRow | None) -> catalog.BookRow:
        """The book."""
        return require_row(book)

    @field()
    def line_total(self: CartItemRow, info: Info) -> Money:
        """The price of these copies today."""
        return Money(amount=self.line_total, currency=info.context.shop.policy.currency)


@object_type(source_type=CartRow)
class Cart(Node):
    """What a customer is about to buy, at today's prices."""

    id: strawberry.ID = global_id_field("Cart", "The cart's global ID.", "user_id")

    @batch_field(CART_ITEMS, list[CartItem])
    def items(items: Sequence[CartItemRow]) -> Sequence[CartItemRow]:
        """The books, in the order they were added."""
        return items

    @batch_field(CART_ITEMS)
    def total_quantity(items: Sequence[CartItemRow]) -> int:
        """The number of copies of all books."""
        return sum(item.quantity for item in items)

    @field()
    async def total(self: CartRow, info: Info) -> Money:
        """The total at today's prices."""
        items = await info.context.loaders.cart_items.load(self.user_id)
        return Money(amount=carts.cart_total(items), currency=info.context.shop.policy.currency)

    @field(list[StockShortage])
    async def shortages(self: CartRow, info: Info) -> list[Shortage]:
        """The books with too few copies in stock. The cart can be checked out when this is empty."""
        short_items = [
            item for item in await info.context.loaders.cart_items.load(self.user_id) if item.quantity > item.available
        ]
        books = await info.context.loaders.book.load_all([item.book_id for item in short_items])
        return [
            Shortage(book, item.quantity, item.available) for item, book in zip(short_items, books, strict=True) if book
        ]


# ── Inputs and results ────────────────────────────────────────────────────────────────────


@input_type()
class AddToCartInput:
    """A book to put in the cart."""

    book_id: strawberry.ID = attribute("The ID of the book.")
    quantity: int = strawberry.field(default=1, description="The number of copies to add, at least 1.")


@input_type()
class UpdateCartItemInput:
    """A new quantity for a book in the cart."""

    book_id: strawberry.ID = attribute("The ID of the book.")
    quantity: int = attribute("The number of copies to have, at least 1.")


@input_type()
class RemoveFromCartInput:
    """A book to take out of the cart."""

    book_id: strawberry.ID = attribute("The ID of the book.")


@input_type()
class CartItemInput:
    """A line of an anonymous customer's cart."""

    book_id: strawberry.ID = attribute("The ID of the book.")
    quantity: int = attribute("The number of copies, at least 1.")


@input_type()
class MergeCartInput:
    """An anonymous customer's cart."""

    items: list[CartItemInput] = attribute("Its lines, 100 at most.")


@object_type()
class CartUpdated:
    """The cart has changed."""

    cart: CartRow = attribute("The cart as it is now.", Cart)
    shortages: list[Shortage] = attribute(
        "What `mergeCart` could not put in whole: books with fewer copies than were picked. Empty otherwise.",
        list[StockShortage],
    )


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


async def _require_user_id(info: Info) -> uuid.UUID:
    return (await info.context.require_viewer()).user.id


@mutation(signed_in, CartUpdated, errors=(InsufficientStock, NotFound, InvalidInput))
async def add_to_cart(
    info: Info, input: Annotated[AddToCartInput, argument("The book and the number of copies.")]
) -> CartUpdated:
    """Puts copies of a book in the cart, on top of those already there."""
    user_id = await _require_user_id(info)
    await carts.add_to_cart(info.context.shop, user_id, parse_key("Book", input.book_id), input.quantity)
    return CartUpdated(cart=CartRow(user_id), shortages=[])


@mutation(signed_in, CartUpdated, errors=(InsufficientStock, NotFound, InvalidInput))
async def update_cart_item(
    info: Info, input: Annotated[UpdateCartItemInput, argument("The book and the number of copies.")]
) -> CartUpdated:
    """Sets the number of copies of a book that is in the cart."""
    user_id = await _require_user_id(info)
    await carts.update_cart_item(info.context.shop, user_id, parse_key("Book", input.book_id), input.quantity)
    return CartUpdated(cart=CartRow(user_id), shortages=[])


@mutation(signed_in, CartUpdated)
async def remove_from_cart(info: Info, input: Annotated[RemoveFromCartInput, argument("The book.")]) -> CartUpdated:
    """Takes a book out of the cart. Does nothing if it is not in there."""
    user_id = await _require_user_id(info)
    await carts.remove_from_cart(info.context.shop, user_id, parse_key("Book", input.book_id))
    return CartUpdated(cart=CartRow(user_id), shortages=[])


@mutation(signed_in, CartUpdated, errors=(InvalidInput,))
async def merge_cart(info: Info, input: Annotated[MergeCartInput, argument("The cart to add.")]) -> CartUpdated:
    """Adds the cart that the frontend kept for an anonymous customer to the cart of the account they signed in to.

    Where both contain a book, the larger quantity counts, at most the copies in stock: `shortages` lists the books with
    fewer. Books that the catalog no longer has are left out.
    """
    user_id = await _require_user_id(info)
    lines = [(parse_key("Book", item.book_id), item.quantity) for item in input.items]
    shortages = await carts.merge_cart(info.context.shop, user_id, lines)
    return CartUpdated(cart=CartRow(user_id), shortages=shortages)
