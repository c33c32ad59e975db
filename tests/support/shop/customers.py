"""Customers who check out, and read and cancel their orders, over HTTP."""

from dataclasses import dataclass
from typing import Any

from domain.shop import Shop
from persistence.catalog import BookRow
from tests.support.http.client import ApiClient, GraphQLResponse
from tests.support.shop.factories import SignedInUser, add_user, fill_cart

ORDER_FRAGMENT = """
fragment OrderFields on Order {
  id number status totalQuantity trackingUrl placedAt shippedAt cancelledAt viewerCanCancel
  total { amount currency }
  items { title quantity unitPrice { amount } lineTotal { amount } book { id } }
  shippingAddress { recipient line1 line2 city region postalCode country phone }
  customer { id email }
}
"""

CART_FRAGMENT = """
fragment CartFields on Cart {
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
    ... on OrderPlaced { order { ...OrderFields } }
    ... on PaymentFailed { order { ...OrderFields } }
    ... on PriceChanged { expectedTotal { amount currency } cart { ...CartFields } }
    ... on InsufficientStock { shortages { requested available book { id title } } }
    ... on InvalidInput { issues { path rule message } }
  }
}
"""
)

MY_CART_QUERY = CART_FRAGMENT + "{ me { cart { ...CartFields } } }"
MY_ORDERS_QUERY = ORDER_FRAGMENT + "{ me { orders { totalCount nodes { ...OrderFields } } } }"

CANCEL_ORDER = (
    ORDER_FRAGMENT
    + """
mutation Cancel($id: ID!) {
  cancelOrder(input: {orderId: $id}) {
    __typename
    ... on UserError { code message }
    ... on OrderCancelled { order { ...OrderFields } }
    ... on OrderNotCancellable { order { ...OrderFields } }
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
    ... on OrderShipped { order { ...OrderFields } }
    ... on OrderNotShippable { order { ...OrderFields } }
    ... on NotFound { id }
    ... on InvalidInput { issues { path rule } }
  }
}
"""
)


@dataclass(frozen=True, slots=True)
class Customer:
    """A signed-in user with a client."""

    user: SignedInUser
    client: ApiClient

    async def execute(self, document: str, /, **variables: Any) -> GraphQLResponse:
        """Send a document with the user's access token."""
        return await self.client.execute(document, **variables)

    async def try_checkout(
        self, key: str = "key", token: str | None = "mock-approve", **fields: Any
    ) -> GraphQLResponse:
        """Check out and return the response, which may have request errors."""
        return await self.execute(CHECKOUT_MUTATION, input={"idempotencyKey": key, "paymentToken": token, **fields})

    async def checkout(self, key: str = "key", token: str | None = "mock-approve", **fields: Any) -> Any:
        """Check out and return the result, any member of its union."""
        return (await self.try_checkout(key, token, **fields))["checkout"]

    async def cancel_order(self, order_id: str) -> Any:
        """Return the result of `cancelOrder`."""
        return (await self.execute(CANCEL_ORDER, id=order_id))["cancelOrder"]

    async def ship_order(self, order_id: str, url: str | None = None) -> Any:
        """Return the result of `shipOrder`, which needs an administrator."""
        return (await self.execute(SHIP_ORDER, id=order_id, url=url))["shipOrder"]

    async def get_cart(self) -> Any:
        """Return the user's cart."""
        return (await self.execute(MY_CART_QUERY))["me"]["cart"]

    async def get_cart_lines(self) -> list[tuple[str, int]]:
        """Return the items of the cart, in its order, as (title, quantity)."""
        return [(item["book"]["title"], item["quantity"]) for item in (await self.get_cart())["items"]]

    async def list_orders(self) -> list[Any]:
        """Return the first page of the user's orders, latest first."""
        orders: list[Any] = (await self.execute(MY_ORDERS_QUERY))["me"]["orders"]["nodes"]
        return orders

    def with_client(self, client: ApiClient) -> "Customer":
        """Return the same user with a client of another server."""
        return Customer(self.user, client.with_token(self.user.token))


async def add_customer(client: ApiClient, shop: Shop, *lines: tuple[BookRow, int], role: str = "USER") -> Customer:
    """Add a user with these books and quantities in the cart."""
    user = await add_user(shop, role=role)
    await fill_cart(shop, user, *lines)
    return Customer(user, client.with_token(user.token))
