"""Orders: checkout, history, shipping and cancelling."""

import datetime as dt
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any

import strawberry
from strawberry import UNSET

from domain import orders
from graph.catalog import Book
from graph.context import Info
from graph.errors import (
    CartEmpty,
    InsufficientStock,
    InvalidInput,
    NotFound,
    OrderNotCancellable,
    OrderNotShippable,
    PaymentFailed,
    PriceChanged,
)
from graph.fields import column, field, input_shape, mutation, outcomes, query, shape, vocabulary
from graph.gates import administrator, signed_in
from graph.ids import key_of, own_id
from graph.money import Money
from graph.nodes import Node, refetched
from graph.pagination import Connection, ListKind, argument, connection_type, page_of
from graph.questions import BOOK, USER, Question, loaded
from persistence import catalog
from persistence import orders as rows
from persistence.accounts import User as UserRow
from persistence.orders import Address as AddressRow
from persistence.orders import Order as OrderRow
from persistence.orders import OrderItem as OrderItemRow
from persistence.orders import OrderStatus as Statuses

OrderStatus = vocabulary(
    Statuses,
    "How far an order has come.",
    PENDING="The books are set aside and the payment is under way.",
    CONFIRMED="Paid, and on its way out of the store.",
    PAYMENT_FAILED="The payment was declined; the books are back on the shelf.",
    SHIPPED="Sent.",
    CANCELLED="Called off before it was sent; refunded, and the books are back on the shelf.",
)

User: Any = Annotated["User", strawberry.lazy("graph.accounts")]
OrderConnection = connection_type("Order", Annotated["Order", strawberry.lazy("graph.orders")], "orders")
StatusesArgument = Annotated[list[Statuses] | None, argument("Only orders with one of these statuses.")]


@shape(of=OrderItemRow)
class OrderItem:
    """A line of an order."""

    id: strawberry.ID = own_id("OrderItem", "The line's ID.")
    title: str = column("The title on the day of the purchase.")
    quantity: int = column("The number of copies.")

    @loaded(BOOK, Book | None)
    def book(book: catalog.Book | None) -> catalog.Book | None:
        """The book as it is today. `null` once it has left the catalog."""
        return book

    @field()
    def unit_price(self: OrderItemRow) -> Money:
        """What one copy cost on the day of the purchase."""
        return Money(amount=self.unit_price, currency=self.currency)

    @field()
    def line_total(self: OrderItemRow) -> Money:
        """What these copies cost."""
        return Money(amount=self.line_total, currency=self.currency)


@shape(of=AddressRow)
class Address:
    """Where a parcel goes."""

    recipient: str = column("Who gets it.")
    line1: str = column("Street and number.")
    line2: str | None = column("Flat, floor, company.")
    city: str = column("The town.")
    region: str | None = column("The state, county or province.")
    postal_code: str | None = column("The postal code.")
    country: str = column("The country, as an ISO 3166-1 code of two letters.")
    phone: str | None = column("The number the courier may call.")


@shape(of=OrderRow)
class Order(Node):
    """A purchase. Titles and prices are those of the day it was made."""

    id: strawberry.ID = own_id("Order", "The order's global ID.")
    number: str = column("The number to quote in mails and on the phone.")
    status: Statuses = column("How far it has come.")
    total_quantity: int = column("How many copies were bought in all.")
    tracking_url: str | None = column("Where to follow the parcel.")
    placed_at: dt.datetime = column("When it was placed.")
    shipped_at: dt.datetime | None = column("When it was sent.")
    cancelled_at: dt.datetime | None = column("When it was cancelled.")

    @loaded(Question(lambda loaders: loaders.items_of_order, "id"), list[OrderItem])
    def items(items: Sequence[OrderItemRow]) -> Sequence[OrderItemRow]:
        """What was bought."""
        return items

    @field()
    def total(self: OrderRow) -> Money:
        """What was paid for it all."""
        return Money(amount=self.total, currency=self.currency)

    @loaded(Question(lambda loaders: loaders.address_of_order, "id"), Address | None)
    def shipping_address(addresses: Sequence[AddressRow]) -> AddressRow | None:
        """Where it goes. `null` when it is picked up."""
        return addresses[0] if addresses else None

    @loaded(USER, User)
    def customer(user: UserRow | None) -> UserRow | None:
        """Who bought it."""
        return user

    @field()
    async def viewer_can_cancel(self: OrderRow, info: Info) -> bool:
        """Whether the caller may cancel it now."""
        viewer = await info.context.viewer()
        return viewer is not None and orders.can_be_cancelled(self, viewer.user)


async def orders_of(
    info: Info,
    user_id: uuid.UUID,
    statuses: list[Statuses] | None,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[OrderRow]:
    wanted = None if statuses is None or statuses is UNSET else tuple(sorted(set(statuses)))
    kind = ListKind(f"orders {user_id} {wanted}", dt.datetime)
    page = page_of(kind, first, after, last, before)
    slice_ = await rows.list_orders(info.context.reading, user_id, wanted, page)
    return Connection(kind, slice_, lambda: rows.count_orders(info.context.reading, user_id, wanted))


# ── Queries ───────────────────────────────────────────────────────────────────────────────


async def _find_order(info: Info, key: uuid.UUID) -> OrderRow | None:
    viewer = await info.context.viewer()
    order = await info.context.loaders.order.load(key) if viewer else None
    return order if viewer and order and orders.may_see(order, viewer.user) else None


refetched("Order")(_find_order)


@input_shape(one_of=True)
class OrderLookup:
    """The key of an order: exactly one of these."""

    id: strawberry.ID | None = strawberry.field(default=UNSET, description="Its global ID.")
    number: str | None = strawberry.field(default=UNSET, description="Its number.")


@query(signed_in, Order | None)
async def order(
    info: Info, by: Annotated[OrderLookup, argument("The key to look the order up by.")]
) -> OrderRow | None:
    """One order, by any of its keys. Customers find their own orders here, administrators find everyone's."""
    if isinstance(by.id, str):
        return await _find_order(info, key_of("Order", by.id))
    viewer = await info.context.signed_in()
    number = orders.as_order_number(by.number or "")
    found = await rows.find_order_by_number(info.context.reading, number) if number else None
    return found if found and orders.may_see(found, viewer.user) else None


# ── Inputs and outcomes ───────────────────────────────────────────────────────────────────


@input_shape()
class AddressInput:
    """Where to send a parcel."""

    recipient: str = column("Who gets it.")
    line1: str = column("Street and number.")
    line2: str | None = strawberry.field(default=UNSET, description="Flat, floor, company.")
    city: str = column("The town.")
    region: str | None = strawberry.field(default=UNSET, description="The state, county or province.")
    postal_code: str | None = strawberry.field(default=UNSET, description="The postal code.")
    country: str = column("The country, as an ISO 3166-1 code of two letters.")
    phone: str | None = strawberry.field(default=UNSET, description="The number the courier may call.")


@input_shape()
class CheckoutInput:
    """A purchase."""

    idempotency_key: str = column(
        "A unique string made once for this attempt, such as a UUID. Repeat it when you retry because no answer came: "
        "the first answer is given again and nothing is bought or charged twice."
    )
    expected_total: Decimal | None = strawberry.field(
        default=UNSET,
        description="The total the customer was shown. If prices have changed since, nothing is bought and the result "
        "is `PriceChanged`. Left out, today's prices are accepted unseen.",
    )
    shipping_address: AddressInput | None = strawberry.field(
        default=UNSET, description="Where to send the books. Left out when they are picked up."
    )
    payment_token: str | None = strawberry.field(
        default=UNSET,
        description="The token that the payment provider gave to the frontend. The built-in mock provider takes "
        "`mock-approve` and `mock-decline`, and without a token approves nine payments in ten.",
    )


@input_shape()
class CancelOrderInput:
    """An order to cancel."""

    order_id: strawberry.ID = column("The ID of the order.")


@input_shape()
class ShipOrderInput:
    """An order that was sent."""

    order_id: strawberry.ID = column("The ID of the order.")
    tracking_url: str | None = strawberry.field(default=UNSET, description="Where to follow the parcel.")


@shape()
class OrderPlaced:
    """The order stands: it is paid."""

    order: OrderRow = column("The order.", Order)


@shape()
class OrderCancelled:
    """The order is off and the money goes back."""

    order: OrderRow = column("The order.", Order)


@shape()
class OrderShipped:
    """The order is on its way to the customer."""

    order: OrderRow = column("The order.", Order)


CheckoutResult = Annotated[
    OrderPlaced | CartEmpty | InsufficientStock | PriceChanged | PaymentFailed | InvalidInput,
    outcomes("CheckoutResult", "checkout"),
]
CancelOrderResult = Annotated[
    OrderCancelled | OrderNotCancellable | NotFound, outcomes("CancelOrderResult", "cancelOrder")
]
ShipOrderResult = Annotated[
    OrderShipped | OrderNotShippable | NotFound | InvalidInput, outcomes("ShipOrderResult", "shipOrder")
]


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


@mutation(signed_in, alone=True)
async def checkout(
    info: Info,
    input: Annotated[CheckoutInput, argument("How to pay, where to send, and the key that makes a retry safe.")],
) -> CheckoutResult | None:
    """Buys what is in the cart: checks the stock of every book, takes the payment and places the order, all or nothing.

    A declined payment puts the books back in the cart.
    """
    viewer = await info.context.signed_in()
    address = input.shipping_address
    purchase = orders.Purchase(
        idempotency_key=input.idempotency_key,
        expected_total=input.expected_total if input.expected_total is not UNSET else None,
        address=_address(address) if address else None,
        payment_token=input.payment_token or None,
    )
    return OrderPlaced(order=await orders.checkout(info.context.shop, viewer.user.id, purchase))


def _address(given: AddressInput) -> AddressRow:
    return AddressRow(
        recipient=given.recipient,
        line1=given.line1,
        line2=given.line2 or None,
        city=given.city,
        region=given.region or None,
        postal_code=given.postal_code or None,
        country=given.country,
        phone=given.phone or None,
    )


@mutation(signed_in)
async def cancel_order(
    info: Info, input: Annotated[CancelOrderInput, argument("The order.")]
) -> CancelOrderResult | None:
    """Cancels an order that has not been sent, refunds it and puts the books back in stock.

    Customers may cancel their own orders, administrators any.
    """
    viewer = await info.context.signed_in()
    order_id = key_of("Order", input.order_id)
    return OrderCancelled(order=await orders.cancel_order(info.context.shop, viewer.user, order_id))


@mutation(administrator)
async def ship_order(
    info: Info, input: Annotated[ShipOrderInput, argument("The order and its tracking link.")]
) -> ShipOrderResult | None:
    """Marks an order as sent."""
    order_id = key_of("Order", input.order_id)
    return OrderShipped(order=await orders.ship_order(info.context.shop, order_id, input.tracking_url or None))
