"""Customers at the till: what a buyer asks over HTTP, and what comes back."""

from dataclasses import dataclass
from typing import Any

from domain.shop import Shop
from persistence.catalog import BookRow
from tests.support.http.client import ApiClient, GraphQLResponse
from tests.support.shop.factories import SignedInUser, add_user, fill_cart

ORDER_FRAGMENT = """
fragment OrderTold on Order {
  id number status totalQuantity trackingUrl placedAt shippedAt cancelledAt viewerCanCancel
  total { amount currency }
  items { title quantity unitPrice { amount } lineTotal { amount } book { id } }
  shippingAddress { recipient line1 line2 city region postalCode country phone }
  customer { id email }
}
"""

CART_FRAGMENT = """
fragment CartTold on Cart {
  totalQuantity
  total { amount currency }
  items { quantity lineTotal { amount } book { id title } }
  shortages { requested available book { id } }
}
"""

CHECKOUT_MUTATION = (
    ORDER_FRAGMENT
    + CART_FRAGMENT
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

MY_CART_QUERY = CART_FRAGMENT + "{ me { cart { ...CartTold } } }"
MY_ORDERS_QUERY = ORDER_FRAGMENT + "{ me { orders { totalCount nodes { ...OrderTold } } } }"

CANCEL_ORDER = (
    ORDER_FRAGMENT
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

SHIP_ORDER = (
    ORDER_FRAGMENT
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

    user: SignedInUser
    client: ApiClient

    async def execute(self, document: str, /, **variables: Any) -> GraphQLResponse:
        return await self.client.execute(document, **variables)

    async def try_checkout(
        self, key: str = "key", token: str | None = "mock-approve", **fields: Any
    ) -> GraphQLResponse:
        """The whole reply, for those that may have errors."""
        return await self.execute(CHECKOUT_MUTATION, input={"idempotencyKey": key, "paymentToken": token, **fields})

    async def checkout(self, key: str = "key", token: str | None = "mock-approve", **fields: Any) -> Any:
        """How a checkout ended."""
        return (await self.try_checkout(key, token, **fields))["checkout"]

    async def cancel_order(self, order_id: str) -> Any:
        return (await self.execute(CANCEL_ORDER, id=order_id))["cancelOrder"]

    async def ship_order(self, order_id: str, url: str | None = None) -> Any:
        return (await self.execute(SHIP_ORDER, id=order_id, url=url))["shipOrder"]

    async def get_cart(self) -> Any:
        return (await self.execute(MY_CART_QUERY))["me"]["cart"]

    async def get_cart_lines(self) -> list[tuple[str, int]]:
        """Titles and copies, in the order of the cart."""
        return [(item["book"]["title"], item["quantity"]) for item in (await self.get_cart())["items"]]

    async def list_orders(self) -> list[Any]:
        """All of them on a page, the latest first."""
        orders: list[Any] = (await self.execute(MY_ORDERS_QUERY))["me"]["orders"]["nodes"]
        return orders

    def with_client(self, client: ApiClient) -> "Customer":
        """The same customer in front of another server of the same shop."""
        return Customer(self.user, client.with_token(self.user.token))


async def add_customer(client: ApiClient, shop: Shop, *lines: tuple[BookRow, int], role: str = "USER") -> Customer:
    """Someone new, with these books in their cart."""
    user = await add_user(shop, role=role)
    await fill_cart(shop, user, *lines)
    return Customer(user, client.with_token(user.token))
