"""Customers at the till: what a buyer asks over HTTP, and what comes back."""

from dataclasses import dataclass
from typing import Any

from domain.shop import Shop
from persistence.catalog import Book
from tests.client import Reply, Visitor
from tests.factories import Member, add_member, fill_cart

ORDER = """
fragment OrderTold on Order {
  id number status totalQuantity trackingUrl placedAt shippedAt cancelledAt viewerCanCancel
  total { amount currency }
  items { title quantity unitPrice { amount } lineTotal { amount } book { id } }
  shippingAddress { recipient line1 line2 city region postalCode country phone }
  customer { id email }
}
"""

CART = """
fragment CartTold on Cart {
  totalQuantity
  total { amount currency }
  items { quantity lineTotal { amount } book { id title } }
  shortages { requested available book { id } }
}
"""

CHECKOUT = (
    ORDER
    + CART
    + """
mutation Checkout($input: CheckoutInput!) {
  checkout(input: $input) {
    __typename
    ... on UserError { code message }
    ... on OrderPlaced { order { ...OrderTold } }
    ... on PaymentFailed { order { ...OrderTold } }
    ... on PriceChanged { expectedTotal { amount currency } cart { ...CartTold } }
    ... on InsufficientStock { shortages { requested available book { id title } } }
    ... on InvalidInput { issues { path rule message } }
  }
}
"""
)

MY_CART = CART + "{ me { cart { ...CartTold } } }"
MY_ORDERS = ORDER + "{ me { orders { totalCount nodes { ...OrderTold } } } }"

CANCEL = (
    ORDER
    + """
mutation Cancel($id: ID!) {
  cancelOrder(input: {orderId: $id}) {
    __typename
    ... on UserError { code message }
    ... on OrderCancelled { order { ...OrderTold } }
    ... on OrderNotCancellable { order { ...OrderTold } }
    ... on NotFound { id }
  }
}
"""
)

SHIP = (
    ORDER
    + """
mutation Ship($id: ID!, $url: String) {
  shipOrder(input: {orderId: $id, trackingUrl: $url}) {
    __typename
    ... on UserError { code message }
    ... on OrderShipped { order { ...OrderTold } }
    ... on OrderNotShippable { order { ...OrderTold } }
    ... on NotFound { id }
    ... on InvalidInput { issues { path rule } }
  }
}
"""
)


@dataclass(frozen=True, slots=True)
class Customer:
    """Someone signed in, in front of a shop that answers over HTTP."""

    member: Member
    visitor: Visitor

    async def ask(self, document: str, /, **variables: Any) -> Reply:
        return await self.visitor.ask(document, **variables)

    async def tries_to_buy(self, key: str = "key", token: str | None = "mock-approve", **more: Any) -> Reply:
        """The whole reply, for those that may have errors."""
        return await self.ask(CHECKOUT, input={"idempotencyKey": key, "paymentToken": token, **more})

    async def buys(self, key: str = "key", token: str | None = "mock-approve", **more: Any) -> Any:
        """How a checkout ended."""
        return (await self.tries_to_buy(key, token, **more))["checkout"]

    async def cancels(self, order_id: str) -> Any:
        return (await self.ask(CANCEL, id=order_id))["cancelOrder"]

    async def ships(self, order_id: str, url: str | None = None) -> Any:
        return (await self.ask(SHIP, id=order_id, url=url))["shipOrder"]

    async def cart(self) -> Any:
        return (await self.ask(MY_CART))["me"]["cart"]

    async def cart_lines(self) -> list[tuple[str, int]]:
        """Titles and copies, in the order of the cart."""
        return [(item["book"]["title"], item["quantity"]) for item in (await self.cart())["items"]]

    async def orders(self) -> list[Any]:
        """All of them on a page, the latest first."""
        orders: list[Any] = (await self.ask(MY_ORDERS))["me"]["orders"]["nodes"]
        return orders

    def at(self, visitor: Visitor) -> "Customer":
        """The same customer in front of another server of the same shop."""
        return Customer(self.member, visitor.signed_in(self.member.token))


async def add_customer(visitor: Visitor, shop: Shop, *lines: tuple[Book, int], role: str = "USER") -> Customer:
    """Someone new, with these books in their cart."""
    member = await add_member(shop, role=role)
    await fill_cart(shop, member, *lines)
    return Customer(member, visitor.signed_in(member.token))
