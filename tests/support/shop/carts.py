"""Mutations of a customer's cart."""

from typing import Any

from persistence.catalog import BookRow
from tests.support.shop.customers import CART_FRAGMENT, Customer
from tests.support.shop.factories import book_id

_FRAGMENTS = (
    CART_FRAGMENT
    + """
fragment UserErrorFields on UserError {
  code
  message
  ... on InsufficientStock { shortages { requested available book { title } } }
  ... on NotFound { id }
  ... on InvalidInput { issues { path rule } }
}
"""
)


def _build_mutation(name: str, input_type: str) -> str:
    selection = (
        "__typename ...UserErrorFields ... on CartUpdated {"
        " cart { ...CartFields } shortages { requested available book { title } } }"
    )
    return f"{_FRAGMENTS} mutation ($input: {input_type}!) {{ change: {name}(input: $input) {{ {selection} }} }}"


ADD_TO_CART = _build_mutation("addToCart", "AddToCartInput")
UPDATE_CART_ITEM = _build_mutation("updateCartItem", "UpdateCartItemInput")
MERGE_CART = _build_mutation("mergeCart", "MergeCartInput")
REMOVE_FROM_CART = (
    CART_FRAGMENT
    + """
mutation ($input: RemoveFromCartInput!) {
  change: removeFromCart(input: $input) { ... on CartUpdated { cart { ...CartFields } } }
}
"""
)


async def change_cart(customer: Customer, document: str, book: BookRow, **fields: Any) -> Any:
    """Return the result of one of these mutations for a book."""
    return (await customer.execute(document, input={"bookId": book_id(book), **fields}))["change"]


async def merge_cart(customer: Customer, *lines: tuple[BookRow, int]) -> Any:
    """Return the result of `mergeCart` with these books and quantities."""
    items = [{"bookId": book_id(book), "quantity": quantity} for book, quantity in lines]
    return (await customer.execute(MERGE_CART, input={"items": items}))["change"]


def get_shortages(result: Any) -> list[tuple[str, int, int]]:
    """Return the shortages of a result, as (title, requested, available)."""
    return [(item["book"]["title"], item["requested"], item["available"]) for item in result["shortages"]]


def get_cart_lines(result: Any) -> list[tuple[str, int]]:
    """Return the items of a result's cart, in its order, as (title, quantity)."""
    return [(item["book"]["title"], item["quantity"]) for item in result["cart"]["items"]]
