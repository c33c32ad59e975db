"""What a customer asks to change their cart."""

from typing import Any

from persistence.catalog import BookRow
from tests.support.shop.customers import CART_FRAGMENT, Customer
from tests.support.shop.factories import book_id

_USER_ERROR_FRAGMENT = """
fragment Problem on UserError {
  code
  message
  ... on InsufficientStock { shortages { requested available book { title } } }
  ... on NotFound { id }
  ... on InvalidInput { issues { path rule } }
}
"""
_SELECTION = "{ __typename ...Problem ... on CartUpdated { cart { ...CartTold } } }"

ADD_TO_CART = f"{CART_FRAGMENT}{_USER_ERROR_FRAGMENT} mutation ($input: AddToCartInput!) {{ change: addToCart(input: $input) {_SELECTION} }}"
UPDATE_CART_ITEM = f"{CART_FRAGMENT}{_USER_ERROR_FRAGMENT} mutation ($input: UpdateCartItemInput!) {{ change: updateCartItem(input: $input) {_SELECTION} }}"
MERGE_CART = f"{CART_FRAGMENT}{_USER_ERROR_FRAGMENT} mutation ($input: MergeCartInput!) {{ change: mergeCart(input: $input) {_SELECTION} }}"
REMOVE_FROM_CART = (
    CART_FRAGMENT
    + """
mutation ($input: RemoveFromCartInput!) {
  change: removeFromCart(input: $input) { ... on CartUpdated { cart { ...CartTold } } }
}
"""
)


async def change_cart(customer: Customer, document: str, book: BookRow, **fields: Any) -> Any:
    return (await customer.execute(document, input={"bookId": book_id(book), **fields}))["change"]


async def merge_cart(customer: Customer, *lines: tuple[BookRow, int]) -> Any:
    items = [{"bookId": book_id(book), "quantity": quantity} for book, quantity in lines]
    return (await customer.execute(MERGE_CART, input={"items": items}))["change"]


def get_cart_lines(result: Any) -> list[tuple[str, int]]:
    """Titles and copies, in the order of the cart."""
    return [(item["book"]["title"], item["quantity"]) for item in result["cart"]["items"]]
