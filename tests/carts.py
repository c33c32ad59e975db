"""What a customer asks to change their cart."""

from typing import Any

from persistence.catalog import Book
from tests.customers import CART, Customer
from tests.factories import book_id

_PROBLEM = """
fragment Problem on UserError {
  code
  message
  ... on InsufficientStock { shortages { requested available book { title } } }
  ... on NotFound { id }
  ... on InvalidInput { issues { path rule } }
}
"""
_TOLD = "{ __typename ...Problem ... on CartUpdated { cart { ...CartTold } } }"

ADD = f"{CART}{_PROBLEM} mutation ($input: AddToCartInput!) {{ change: addToCart(input: $input) {_TOLD} }}"
UPDATE = f"{CART}{_PROBLEM} mutation ($input: UpdateCartItemInput!) {{ change: updateCartItem(input: $input) {_TOLD} }}"
MERGE = f"{CART}{_PROBLEM} mutation ($input: MergeCartInput!) {{ change: mergeCart(input: $input) {_TOLD} }}"
REMOVE = (
    CART
    + """
mutation ($input: RemoveFromCartInput!) {
  change: removeFromCart(input: $input) { ... on CartUpdated { cart { ...CartTold } } }
}
"""
)


async def change(customer: Customer, document: str, book: Book, **more: Any) -> Any:
    return (await customer.ask(document, input={"bookId": book_id(book), **more}))["change"]


async def merge(customer: Customer, *lines: tuple[Book, int]) -> Any:
    items = [{"bookId": book_id(book), "quantity": quantity} for book, quantity in lines]
    return (await customer.ask(MERGE, input={"items": items}))["change"]


def lines_of(changed: Any) -> list[tuple[str, int]]:
    """Titles and copies, in the order of the cart."""
    return [(item["book"]["title"], item["quantity"]) for item in changed["cart"]["items"]]
