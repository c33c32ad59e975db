"""The cart."""

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Annotated

import strawberry

from domain import cart as carts
from domain.errors import Shortage
from graph.catalog import Book
from graph.context import Info
from graph.errors import InsufficientStock, InvalidInput, NotFound, StockShortage
from graph.fields import column, field, input_shape, mutation, outcomes, shape
from graph.gates import signed_in
from graph.ids import key_of, own_id
from graph.money import Money
from graph.nodes import Node
from graph.pagination import argument
from graph.questions import BOOK, Question, loaded, there
from persistence import catalog
from persistence.cart import Cart as CartRow
from persistence.cart import CartItem as CartItemRow

ITEMS = Question(lambda loaders: loaders.items_of_cart, "user_id")


@shape(of=CartItemRow)
class CartItem:
    """A book in the cart. A book has one line, so the book is the key to change it by."""

    id: strawberry.ID = own_id("CartItem", "The line's ID.")
    quantity: int = column("The number of copies.")
    added_at: dt.datetime = column("When it was added.")

    @loaded(BOOK, Book)
    def book(book: catalog.Book | None) -> catalog.Book:
        """The book."""
        return there(book)

    @field()
    def line_total(self: CartItemRow, info: Info) -> Money:
        """What these copies cost now."""
        return Money(amount=self.line_total, currency=info.context.shop.policy.currency)


@shape(of=CartRow)
class Cart(Node):
    """What a customer is about to buy, at today's prices."""

    id: strawberry.ID = own_id("Cart", "The cart's global ID.", "user_id")

    @loaded(ITEMS, list[CartItem])
    def items(items: Sequence[CartItemRow]) -> Sequence[CartItemRow]:
        """The books, in the order they were added."""
        return items

    @loaded(ITEMS)
    def total_quantity(items: Sequence[CartItemRow]) -> int:
        """How many copies there are in all: the number on the badge."""
        return sum(item.quantity for item in items)

    @field()
    async def total(self: CartRow, info: Info) -> Money:
        """What it all costs now."""
        items = await info.context.loaders.items_of_cart.load(self.user_id)
        return Money(amount=carts.total_of(items), currency=info.context.shop.policy.currency)

    @field(list[StockShortage])
    async def shortages(self: CartRow, info: Info) -> list[Shortage]:
        """The books there are not enough copies of. The cart can be checked out when this is empty."""
        short = [
            item
            for item in await info.context.loaders.items_of_cart.load(self.user_id)
            if item.quantity > item.available
        ]
        books = await info.context.loaders.book.load_all([item.book_id for item in short])
        return [Shortage(book, item.quantity, item.available) for item, book in zip(short, books, strict=True) if book]


# ── Inputs and outcomes ───────────────────────────────────────────────────────────────────


@input_shape()
class AddToCartInput:
    """A book to put in the cart."""

    book_id: strawberry.ID = column("The ID of the book.")
    quantity: int = strawberry.field(default=1, description="The number of copies to add, at least 1.")


@input_shape()
class UpdateCartItemInput:
    """A new quantity for a book in the cart."""

    book_id: strawberry.ID = column("The ID of the book.")
    quantity: int = column("The number of copies to have, at least 1.")


@input_shape()
class RemoveFromCartInput:
    """A book to take out of the cart."""

    book_id: strawberry.ID = column("The ID of the book.")


@input_shape()
class CartItemInput:
    """A line of a visitor's cart."""

    book_id: strawberry.ID = column("The ID of the book.")
    quantity: int = column("The number of copies, at least 1.")


@input_shape()
class MergeCartInput:
    """A visitor's cart."""

    items: list[CartItemInput] = column("Its lines, 100 at most.")


@shape()
class CartUpdated:
    """The cart has changed."""

    cart: CartRow = column("The cart as it is now.", Cart)


AddToCartResult = Annotated[
    CartUpdated | InsufficientStock | NotFound | InvalidInput, outcomes("AddToCartResult", "addToCart")
]
UpdateCartItemResult = Annotated[
    CartUpdated | InsufficientStock | NotFound | InvalidInput, outcomes("UpdateCartItemResult", "updateCartItem")
]
RemoveFromCartResult = Annotated[CartUpdated, outcomes("RemoveFromCartResult", "removeFromCart")]
MergeCartResult = Annotated[CartUpdated | InvalidInput, outcomes("MergeCartResult", "mergeCart")]


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


async def _customer(info: Info) -> uuid.UUID:
    return (await info.context.signed_in()).user.id


@mutation(signed_in)
async def add_to_cart(
    info: Info, input: Annotated[AddToCartInput, argument("The book and the number of copies.")]
) -> AddToCartResult | None:
    """Puts copies of a book in the cart, on top of those already there."""
    customer = await _customer(info)
    await carts.add_to_cart(info.context.shop, customer, key_of("Book", input.book_id), input.quantity)
    return CartUpdated(cart=CartRow(customer))


@mutation(signed_in)
async def update_cart_item(
    info: Info, input: Annotated[UpdateCartItemInput, argument("The book and the number of copies.")]
) -> UpdateCartItemResult | None:
    """Sets the number of copies of a book that is in the cart."""
    customer = await _customer(info)
    await carts.update_cart_item(info.context.shop, customer, key_of("Book", input.book_id), input.quantity)
    return CartUpdated(cart=CartRow(customer))


@mutation(signed_in)
async def remove_from_cart(
    info: Info, input: Annotated[RemoveFromCartInput, argument("The book.")]
) -> RemoveFromCartResult | None:
    """Takes a book out of the cart. Does nothing if it is not in there."""
    customer = await _customer(info)
    await carts.remove_from_cart(info.context.shop, customer, key_of("Book", input.book_id))
    return CartUpdated(cart=CartRow(customer))


@mutation(signed_in)
async def merge_cart(
    info: Info, input: Annotated[MergeCartInput, argument("What the visitor had picked.")]
) -> MergeCartResult | None:
    """Adds a cart that the frontend kept for a visitor to the cart of the account they signed in to.

    The larger quantity wins where both hold a book; books that are gone are left out.
    """
    customer = await _customer(info)
    picked = [(key_of("Book", item.book_id), item.quantity) for item in input.items]
    await carts.merge_cart(info.context.shop, customer, picked)
    return CartUpdated(cart=CartRow(customer))
