"""Declares orders and the mutations that place, ship and cancel them."""

import datetime as dt
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any

import strawberry

from domain import orders
from domain.errors import (
    CartEmpty,
    InsufficientStock,
    InvalidInput,
    NotFound,
    OrderNotCancellable,
    OrderNotShippable,
    PaymentFailed,
    PriceChanged,
)
from graph.catalog import Book
from graph.context import Info
from graph.kit.batch_fields import batch_field
from graph.kit.declare import (
    argument,
    attribute,
    enum_type,
    field,
    input_type,
    none_if_unset,
    object_type,
    optional,
    query,
)
from graph.kit.ids import global_id_field, parse_key
from graph.kit.money import Money
from graph.kit.mutations import mutation
from graph.kit.nodes import Node, node_resolver
from graph.kit.pagination import Connection, CursorCodec, connection_type, parse_page
from graph.kit.permissions import admin_only, signed_in
from graph.loaders import BOOK, USER, batch_loader
from persistence import catalog
from persistence import orders as rows
from persistence.accounts import UserRow
from persistence.orders import AddressRow, OrderItemRow, OrderRow, OrderStatus

enum_type(
    OrderStatus,
    "The status of an order.",
    PENDING="The books are reserved and the payment is in progress.",
    CONFIRMED="Paid, and not sent yet.",
    PAYMENT_FAILED="The payment was declined; the books are back in stock.",
    SHIPPED="Sent.",
    CANCELLED="Cancelled before it was sent; the payment is refunded and the books are back in stock.",
)

User: Any = Annotated["User", strawberry.lazy("graph.accounts")]
OrderConnection = connection_type("Order", Annotated["Order", strawberry.lazy("graph.orders")], "orders")
OrderStatusesArgument = Annotated[list[OrderStatus] | None, argument("Only orders with one of these statuses.")]


@object_type(source_type=OrderItemRow)
class OrderItem:
    """A line of an order."""

    id: strawberry.ID = global_id_field("OrderItem", "The line's ID.")
    title: str = attribute("The title on the day of the purchase.")
    quantity: int = attribute("The number of copies.")

    @batch_field(BOOK, Book | None)
    def book(book: catalog.BookRow | None) -> catalog.BookRow | None:
        """The book as it is today. `null` once it has left the catalog."""
        return book

    @field()
    def unit_price(self: OrderItemRow) -> Money:
        """What one copy cost on the day of the purchase."""
        return Money(amount=self.unit_price, currency=self.currency)

    @field()
    def line_total(self: OrderItemRow) -> Money:
        """The price of these copies on the day of the purchase."""
        return Money(amount=self.line_total, currency=self.currency)


@object_type(source_type=AddressRow)
class Address:
    """A shipping address."""

    recipient: str = attribute("The recipient's name.")
    line1: str = attribute("Street and number.")
    line2: str | None = attribute("Flat, floor, company.")
    city: str = attribute("The town.")
    region: str | None = attribute("The state, county or province.")
    postal_code: str | None = attribute("The postal code.")
    country: str = attribute("The country, as an ISO 3166-1 code of two letters.")
    phone: str | None = attribute("The number the courier may call.")


@object_type(source_type=OrderRow)
class Order(Node):
    """A purchase. Titles and prices are those of the day it was made."""

    id: strawberry.ID = global_id_field("Order", "The order's global ID.")
    number: str = attribute("The number to quote in emails and on the phone.")
    status: OrderStatus = attribute("Its status.")
    total_quantity: int = attribute("The number of copies of all books.")
    tracking_url: str | None = attribute("The URL to track the parcel at.")
    placed_at: dt.datetime = attribute("When it was placed.")
    shipped_at: dt.datetime | None = attribute("When it was sent.")
    cancelled_at: dt.datetime | None = attribute("When it was cancelled.")

    @batch_field(batch_loader(lambda loaders: loaders.order_items, "id"), list[OrderItem])
    def items(items: Sequence[OrderItemRow]) -> Sequence[OrderItemRow]:
        """The books that were bought, with their quantities."""
        return items

    @field()
    def total(self: OrderRow) -> Money:
        """The total of the order."""
        return Money(amount=self.total, currency=self.currency)

    @batch_field(batch_loader(lambda loaders: loaders.order_addresses, "id"), Address | None)
    def shipping_address(addresses: Sequence[AddressRow]) -> AddressRow | None:
        """The address to send it to. `null` when it is picked up."""
        return addresses[0] if addresses else None

    @batch_field(USER, User)
    def customer(user: UserRow | None) -> UserRow | None:
        """The customer."""
        return user

    @field()
    async def viewer_can_cancel(self: OrderRow, info: Info) -> bool:
        """Whether the caller may cancel it now."""
        viewer = await info.context.get_viewer()
        return viewer is not None and orders.can_cancel(self, viewer.user)


async def resolve_orders(
    info: Info,
    user_id: uuid.UUID,
    statuses: list[OrderStatus] | None,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[OrderRow]:
    """Resolve a page of a user's orders.

    Raises:
        BadUserInput: An argument is not valid.
    """
    statuses = none_if_unset(statuses)
    selected_statuses = None if statuses is None else tuple(sorted(set(statuses)))
    codec = CursorCodec(f"orders {user_id} {selected_statuses}", dt.datetime)
    page = parse_page(codec, first, after, last, before)
    page_result = await rows.list_orders(info.context.read_session, user_id, selected_statuses, page)
    return Connection(
        codec, page_result, lambda: rows.count_orders(info.context.read_session, user_id, selected_statuses)
    )


# ── Queries ───────────────────────────────────────────────────────────────────────────────


async def _find_order(info: Info, key: uuid.UUID) -> OrderRow | None:
    return await info.context.load_owned(info.context.loaders.order, key)


node_resolver("Order")(_find_order)


@input_type(one_of=True)
class OrderLookup:
    """The key of an order: exactly one of these."""

    id: strawberry.ID | None = optional("Its global ID.")
    number: str | None = optional("Its number.")


@query(signed_in, Order | None)
async def order(
    info: Info, by: Annotated[OrderLookup, argument("The key to look the order up by.")]
) -> OrderRow | None:
    """One order, by any of its keys. Customers find their own orders here, administrators find everyone's."""
    if isinstance(by.id, str):
        return await _find_order(info, parse_key("Order", by.id))
    viewer = await info.context.require_viewer()
    number = orders.normalize_order_number(by.number or "")
    order_row = await rows.find_order_by_number(info.context.read_session, number) if number else None
    return order_row if order_row and orders.can_view(order_row, viewer.user) else None


# ── Inputs and results ────────────────────────────────────────────────────────────────────


@input_type()
class AddressInput:
    """A shipping address."""

    recipient: str = attribute("The recipient's name.")
    line1: str = attribute("Street and number.")
    line2: str | None = optional("Flat, floor, company.")
    city: str = attribute("The town.")
    region: str | None = optional("The state, county or province.")
    postal_code: str | None = optional("The postal code.")
    country: str = attribute("The country, as an ISO 3166-1 code of two letters.")
    phone: str | None = optional("The number the courier may call.")


@input_type()
class CheckoutInput:
    """A purchase."""

    idempotency_key: str = attribute(
        "A unique string for this purchase, such as a UUID. Send the same one when you retry because no response came: "
        "the first result is returned again and nothing is bought or charged twice."
    )
    expected_total: Decimal | None = optional(
        "The total the customer was shown. If prices have changed since, nothing is bought and the result "
        "is `PriceChanged`. Left out, today's prices are accepted without comparison.",
    )
    shipping_address: AddressInput | None = optional("Where to send the books. Left out when they are picked up.")
    payment_token: str | None = optional(
        "The token that the payment provider gave to the frontend. The built-in mock provider takes "
        "`mock-approve` and `mock-decline`, and without a token approves nine payments in ten.",
    )


@input_type()
class CancelOrderInput:
    """An order to cancel."""

    order_id: strawberry.ID = attribute("The ID of the order.")


@input_type()
class ShipOrderInput:
    """An order that was sent."""

    order_id: strawberry.ID = attribute("The ID of the order.")
    tracking_url: str | None = optional("The URL to track the parcel at.")


@object_type()
class OrderPlaced:
    """The order is placed and paid."""

    order: OrderRow = attribute("The order.", Order)


@object_type()
class OrderCancelled:
    """The order is cancelled and will be refunded."""

    order: OrderRow = attribute("The order.", Order)


@object_type()
class OrderShipped:
    """The order is marked as sent."""

    order: OrderRow = attribute("The order.", Order)


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


@mutation(
    signed_in,
    OrderPlaced,
    errors=(CartEmpty, InsufficientStock, PriceChanged, PaymentFailed, InvalidInput),
    exclusive=True,
)
async def checkout(
    info: Info,
    input: Annotated[CheckoutInput, argument("The payment, the address, and the key that makes a retry safe.")],
) -> OrderPlaced:
    """Buys what is in the cart: checks the stock of every book, takes the payment and places the order, all or nothing.

    A declined payment puts the books back in the cart.
    """
    viewer = await info.context.require_viewer()
    address = input.shipping_address
    checkout_request = orders.CheckoutRequest(
        idempotency_key=input.idempotency_key,
        expected_total=none_if_unset(input.expected_total),
        address=_build_address(address) if address else None,
        payment_token=input.payment_token or None,
    )
    return OrderPlaced(order=await orders.checkout(info.context.shop, viewer.user.id, checkout_request))


def _build_address(address_input: AddressInput) -> AddressRow:
    return AddressRow(
        recipient=address_input.recipient,
        line1=address_input.line1,
        line2=address_input.line2 or None,
        city=address_input.city,
        region=address_input.region or None,
        postal_code=address_input.postal_code or None,
        country=address_input.country,
        phone=address_input.phone or None,
    )


@mutation(signed_in, OrderCancelled, errors=(OrderNotCancellable, NotFound))
async def cancel_order(info: Info, input: Annotated[CancelOrderInput, argument("The order.")]) -> OrderCancelled:
    """Cancels an order that has not been sent, refunds it and puts the books back in stock.

    Customers may cancel their own orders, administrators any.
    """
    viewer = await info.context.require_viewer()
    order_id = parse_key("Order", input.order_id)
    return OrderCancelled(order=await orders.cancel_order(info.context.shop, viewer.user, order_id))


@mutation(admin_only, OrderShipped, errors=(OrderNotShippable, NotFound, InvalidInput))
async def ship_order(
    info: Info, input: Annotated[ShipOrderInput, argument("The order and its tracking link.")]
) -> OrderShipped:
    """Marks an order as sent and emails the customer.

    For an order that was sent before, a new tracking link replaces the old one, and the customer is told.
    """
    order_id = parse_key("Order", input.order_id)
    return OrderShipped(order=await orders.ship_order(info.context.shop, order_id, none_if_unset(input.tracking_url)))
