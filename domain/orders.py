"""Orders: checkout in three steps (reserve, charge, finalize), shipping and cancellation.

The reservation and the finalization are one transaction each; no row is locked while the payment provider is called.
"""

import asyncio
import datetime as dt
import hashlib
import json
import secrets
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from decimal import Decimal

import structlog

from domain.accounts import is_owner_or_admin
from domain.cart import MAX_QUANTITY, cart_total
from domain.email import emails
from domain.errors import (
    CartEmpty,
    Constraint,
    InsufficientStock,
    NotFound,
    OrderNotCancellable,
    OrderNotShippable,
    Overloaded,
    PaymentFailed,
    PriceChanged,
    Shortage,
)
from domain.payments import Approved, PaymentOutcome
from domain.shop import Shop
from domain.stock import apply_stock_changes
from domain.text import remove_separators
from domain.validation import Validator, invalid_input, validating
from persistence import cart, locks, orders, sales
from persistence.accounts import UserRow
from persistence.cart import CartItemRow
from persistence.catalog import BookRow
from persistence.emails import EmailKind
from persistence.orders import AddressRow, NewOrderItem, OrderRow, OrderStatus
from persistence.postgres.database import Transaction
from persistence.postgres.errors import Conflict, Unavailable, retry_on_conflict
from persistence.stock import MovementReason

log = structlog.get_logger()

MAX_KEY_LENGTH = 200
MAX_TOKEN_LENGTH = 500
MAX_ADDRESS_LENGTH = 200
MAX_NUMBER_LENGTH = 100
"""The most characters of a text that is read as an order number, with its separators."""
MAX_TOTAL = Decimal("9999999999.99")
CHARGE_TIMEOUT = 30  # seconds
PAYMENT_WAIT_TIMEOUT = 8  # seconds; shorter than the timeout of a request
REPLAY_TIMEOUT = 5  # seconds that a repeated checkout waits for the first one
REPLAY_POLL_INTERVAL = 0.1  # seconds
RETRY_AFTER = 5  # seconds
CHECKOUT_SLOT_TIMEOUT = 2  # seconds
NO_PROVIDER_RESPONSE = "The payment provider did not respond."


@dataclass(frozen=True, slots=True)
class CheckoutRequest:
    """The input of a checkout. A different `expected_total` than the cart's total rejects it."""

    idempotency_key: str
    expected_total: Decimal | None = None
    address: AddressRow | None = None
    payment_token: str | None = field(default=None, repr=False)

    @property
    def digest(self) -> bytes:
        """A hash that distinguishes a retry from another purchase with the same key."""
        total = None if self.expected_total is None else str(self.expected_total.normalize())
        payload = [total, self.address and asdict(self.address), self.payment_token]
        return hashlib.sha256(json.dumps(payload).encode()).digest()


async def checkout(shop: Shop, customer_id: uuid.UUID, request: CheckoutRequest) -> OrderRow:
    """Buy the books in the cart, once per idempotency key.

    A retry with the same key and input returns the first checkout's order or raises its `PaymentFailed` again.
    After any other user error the key can be used again.

    Raises:
        InvalidInput: The input is invalid, or another purchase used the key.
        CartEmpty: The cart holds no books.
        InsufficientStock: Fewer copies are in stock than in the cart.
        PriceChanged: The total is not the expected one.
        PaymentFailed: The payment was declined.
        Overloaded: No checkout slot is free, or the outcome of the payment is not known yet.
    """
    request = _validate(request)
    async with _checkout_slot(shop):
        order = await _reserve(shop, customer_id, request)
    if order is None:
        return await _replay(shop, customer_id, request)
    payment_task = asyncio.create_task(_charge_and_finalize(shop, order))
    shop.pending_payments.add(payment_task)
    payment_task.add_done_callback(shop.pending_payments.discard)
    try:
        async with asyncio.timeout(PAYMENT_WAIT_TIMEOUT):
            return _raise_if_failed(await asyncio.shield(payment_task))
    except TimeoutError as error:  # the payment continues; a retry with the same key returns its outcome
        raise Overloaded(RETRY_AFTER) from error


async def _charge_and_finalize(shop: Shop, order: OrderRow) -> OrderRow:
    outcome = await _charge(shop, order)
    async with shop.checkout_slots:
        return await finalize(shop, order.id, outcome)


@asynccontextmanager
async def _checkout_slot(shop: Shop) -> AsyncIterator[None]:
    """Hold one of the slots that limit concurrent checkouts.

    Raises:
        Overloaded: No slot is free within `CHECKOUT_SLOT_TIMEOUT`.
    """
    try:
        async with asyncio.timeout(CHECKOUT_SLOT_TIMEOUT):
            await shop.checkout_slots.acquire()
    except TimeoutError as error:
        raise Overloaded(CHECKOUT_SLOT_TIMEOUT) from error
    try:
        yield
    finally:
        shop.checkout_slots.release()


@retry_on_conflict
async def _reserve(shop: Shop, customer_id: uuid.UUID, request: CheckoutRequest) -> OrderRow | None:
    """Move the books from the stock and the cart to a pending order.

    Returns:
        The order, or `None` when the idempotency key is in use.
    """
    async with shop.database.transaction() as tx:
        order_id = await _claim_order(tx, shop, customer_id, request)
        if order_id is None:
            return None
        lines, books = await _lock_lines(tx, customer_id)
        _require_stock(lines, books)
        total = cart_total(lines)
        _require_total(request, total, customer_id)
        await apply_stock_changes(tx, {line.book_id: -line.quantity for line in lines}, MovementReason.SALE, order_id)
        order_items = [
            NewOrderItem(
                book_id=line.book_id,
                title=books[line.book_id].title,
                quantity=line.quantity,
                unit_price=line.unit_price,
            )
            for line in lines
        ]
        await orders.add_order_items(tx, order_id, order_items)
        order = await orders.update_order(
            tx, order_id, total=total, total_quantity=sum(line.quantity for line in lines)
        )
        if request.address is not None:
            await orders.add_address(tx, order_id, request.address)
        await cart.remove_cart_items(tx, customer_id, [line.book_id for line in lines])
        return order


async def _lock_lines(tx: Transaction, customer_id: uuid.UUID) -> tuple[list[CartItemRow], dict[uuid.UUID, BookRow]]:
    """Lock the cart and its books, and return the lines at current prices, and the books by id."""
    await locks.lock_cart(tx, customer_id)
    lines = await cart.list_cart_items(tx, [customer_id])
    books = {book.id: book for book in await locks.lock_books(tx, [line.book_id for line in lines])}
    lines = [line for line in lines if line.book_id in books]
    if not lines:
        raise CartEmpty
    for line in lines:  # another transaction may have changed these before the books were locked
        line.unit_price, line.available = books[line.book_id].price, books[line.book_id].stock_quantity
    return lines, books


def _require_stock(lines: Sequence[CartItemRow], books: Mapping[uuid.UUID, BookRow]) -> None:
    shortages = [
        Shortage(books[line.book_id], line.quantity, line.available) for line in lines if line.quantity > line.available
    ]
    if shortages:
        raise InsufficientStock(shortages)


def _require_total(request: CheckoutRequest, total: Decimal, customer_id: uuid.UUID) -> None:
    if request.expected_total is not None and request.expected_total != total:
        raise PriceChanged(request.expected_total, customer_id)
    if total > MAX_TOTAL:
        raise invalid_input(("expectedTotal",), Constraint.TOO_LARGE, f"The total must be at most {MAX_TOTAL:,}.")


async def _claim_order(
    tx: Transaction, shop: Shop, customer_id: uuid.UUID, request: CheckoutRequest
) -> uuid.UUID | None:
    """Add a pending order without items, and return its id, or `None` when the idempotency key is in use."""
    order_id = await orders.add_order(
        tx,
        number=generate_order_number(),
        user_id=customer_id,
        total=Decimal(0),
        total_quantity=0,
        currency=shop.policy.currency,
        idempotency_key=request.idempotency_key,
        input_digest=request.digest,
        payment_token=request.payment_token,
    )
    if (
        order_id is None
        and await orders.find_order_by_idempotency_key(tx, customer_id, request.idempotency_key) is None
    ):
        raise Conflict  # the generated number is in use, not the key
    return order_id


async def _charge(shop: Shop, order: OrderRow) -> PaymentOutcome:
    try:
        async with asyncio.timeout(CHARGE_TIMEOUT):
            return await shop.payments.charge(str(order.id), order.total, order.currency, order.payment_token)
    except Exception as error:  # the sweeper finds out the outcome later
        is_expected = isinstance(error, (TimeoutError, OSError, Unavailable))
        log.warning("charge_outcome_unknown", order=order.number, exc_info=not is_expected)
        raise Overloaded(RETRY_AFTER) from error


@retry_on_conflict
async def finalize(shop: Shop, order_id: uuid.UUID, outcome: PaymentOutcome | None) -> OrderRow:
    """Confirm or fail a pending order; refund an approval that arrives after the order has failed.

    An outcome of `None` means that the provider does not know the charge. The order fails, and a refund is scheduled
    in case the charge is still in transit.
    """
    async with shop.database.transaction() as tx:
        order = await locks.lock_order(tx, order_id)
        assert order is not None
        if order.status == OrderStatus.PENDING:
            if isinstance(outcome, Approved):
                order = await orders.update_order(tx, order_id, status=OrderStatus.CONFIRMED)
                await emails.enqueue(tx, EmailKind.ORDER_CONFIRMED, order_id, order.user_id)
                await sales.add_sales(tx, await _load_quantities(tx, order))
            else:
                decline_reason = outcome.reason if outcome else NO_PROVIDER_RESPONSE
                refund_due_at = None if outcome else dt.datetime.now(dt.UTC)
                failed_status = OrderStatus.PAYMENT_FAILED
                order = await orders.update_order(
                    tx, order_id, status=failed_status, decline_reason=decline_reason, refund_due_at=refund_due_at
                )
                await _release_stock(tx, order, MovementReason.PAYMENT_FAILED)
        elif order.status == OrderStatus.PAYMENT_FAILED and isinstance(outcome, Approved):
            order = await orders.update_order(tx, order_id, refund_due_at=dt.datetime.now(dt.UTC))
        return order


async def _replay(shop: Shop, customer_id: uuid.UUID, request: CheckoutRequest) -> OrderRow:
    """Return the current order of the first checkout with this key.

    Raises:
        InvalidInput: The key belongs to another purchase.
        PaymentFailed: The payment was declined.
        Overloaded: The order is still pending after `REPLAY_TIMEOUT`.
    """
    deadline = asyncio.get_running_loop().time() + REPLAY_TIMEOUT
    while True:
        order = await orders.find_order_by_idempotency_key(
            shop.database.read_session, customer_id, request.idempotency_key
        )
        assert order is not None
        if order.input_digest != request.digest:
            raise invalid_input(
                ("idempotencyKey",),
                Constraint.NOT_ALLOWED,
                "This key was used for another purchase. Generate a new key.",
            )
        if order.status != OrderStatus.PENDING:
            return _raise_if_failed(order)
        if asyncio.get_running_loop().time() >= deadline:
            raise Overloaded(RETRY_AFTER)
        await asyncio.sleep(REPLAY_POLL_INTERVAL)


def _raise_if_failed(order: OrderRow) -> OrderRow:
    if order.status == OrderStatus.PAYMENT_FAILED:
        raise PaymentFailed(order)
    return order


def _validate(request: CheckoutRequest) -> CheckoutRequest:
    with validating() as validator:
        key = validator.text(("idempotencyKey",), request.idempotency_key, MAX_KEY_LENGTH)
        token = validator.optional_text(("paymentToken",), request.payment_token, MAX_TOKEN_LENGTH)
        address = request.address and AddressRow(
            recipient=validator.text(("shippingAddress", "recipient"), request.address.recipient, MAX_ADDRESS_LENGTH),
            line1=validator.text(("shippingAddress", "line1"), request.address.line1, MAX_ADDRESS_LENGTH),
            line2=validator.optional_text(("shippingAddress", "line2"), request.address.line2, MAX_ADDRESS_LENGTH),
            city=validator.text(("shippingAddress", "city"), request.address.city, MAX_ADDRESS_LENGTH),
            region=validator.optional_text(("shippingAddress", "region"), request.address.region, MAX_ADDRESS_LENGTH),
            postal_code=validator.optional_text(
                ("shippingAddress", "postalCode"), request.address.postal_code, MAX_ADDRESS_LENGTH
            ),
            country=validator.country(("shippingAddress", "country"), request.address.country),
            phone=validator.optional_text(("shippingAddress", "phone"), request.address.phone, MAX_ADDRESS_LENGTH),
        )
        total = None if request.expected_total is None else _validate_total(validator, request.expected_total)
    return CheckoutRequest(key, total, address, token)


def _validate_total(validator: Validator, total: Decimal) -> Decimal:
    path = ("expectedTotal",)
    if total < 0:
        validator.add_error(path, Constraint.TOO_SMALL, "The total must not be negative.")
    elif total > MAX_TOTAL:
        validator.add_error(path, Constraint.TOO_LARGE, f"The total must be at most {MAX_TOTAL:,}.")
    elif total != round(total, 2):
        validator.add_error(path, Constraint.MALFORMED, "The total must have at most two decimals.")
    else:
        return round(total, 2)
    return total


# ── After the purchase ────────────────────────────────────────────────────────────────────


def can_cancel(order: OrderRow, viewer: UserRow) -> bool:
    """Return whether the viewer can cancel the order in its current status."""
    return order.status == OrderStatus.CONFIRMED and can_view(order, viewer)


def can_view(order: OrderRow, viewer: UserRow) -> bool:
    """Return whether the viewer placed the order or is an administrator."""
    return is_owner_or_admin(viewer, order.user_id)


@retry_on_conflict
async def cancel_order(shop: Shop, viewer: UserRow, order_id: uuid.UUID) -> OrderRow:
    """Cancel an order and return its copies to the stock. The sweeper refunds the payment later.

    Raises:
        NotFound: The order does not exist, or the viewer cannot see it.
        OrderNotCancellable: The order is not confirmed.
    """
    async with shop.database.transaction() as tx:
        order = await locks.lock_order(tx, order_id)
        if order is None or not can_view(order, viewer):
            raise NotFound("Order", order_id)
        if order.status != OrderStatus.CONFIRMED:
            raise OrderNotCancellable(order)
        now = dt.datetime.now(dt.UTC)
        order = await orders.update_order(
            tx, order_id, status=OrderStatus.CANCELLED, cancelled_at=now, refund_due_at=now
        )
        await emails.enqueue(tx, EmailKind.ORDER_CANCELLED, order_id, order.user_id)
        await _release_stock(tx, order, MovementReason.CANCELLATION)
        if order.placed_at >= await locks.lock_sales_window(tx):
            await sales.add_sales(
                tx, {book_id: -quantity for book_id, quantity in (await _load_quantities(tx, order)).items()}
            )
        return order


@retry_on_conflict
async def ship_order(shop: Shop, order_id: uuid.UUID, tracking_url: str | None) -> OrderRow:
    """Mark an order as shipped, and send its customer an email with the tracking URL.

    For a shipped order a new tracking URL replaces the old one, and the customer gets another email. The same URL
    changes nothing.

    Raises:
        InvalidInput: The tracking URL is invalid.
        NotFound: The order does not exist.
        OrderNotShippable: The order is neither confirmed, nor shipped and given a tracking URL.
    """
    with validating() as validator:
        url = validator.optional_url(("trackingUrl",), tracking_url)
    async with shop.database.transaction() as tx:
        order = await locks.lock_order(tx, order_id)
        if order is None:
            raise NotFound("Order", order_id)
        if order.status == OrderStatus.SHIPPED and url is not None:
            return await _correct_tracking_url(tx, order, url)
        if order.status != OrderStatus.CONFIRMED:
            raise OrderNotShippable(order)
        now = dt.datetime.now(dt.UTC)
        order = await orders.update_order(tx, order_id, status=OrderStatus.SHIPPED, shipped_at=now, tracking_url=url)
        await emails.enqueue(tx, EmailKind.ORDER_SHIPPED, order_id, order.user_id)
        return order


async def _correct_tracking_url(tx: Transaction, order: OrderRow, url: str) -> OrderRow:
    if order.tracking_url == url:
        return order
    order = await orders.update_order(tx, order.id, tracking_url=url)
    await emails.enqueue_again(tx, EmailKind.ORDER_SHIPPED, order.id, order.user_id)
    return order


async def _load_quantities(tx: Transaction, order: OrderRow) -> dict[uuid.UUID, int]:
    """Return the ordered quantities by book, for books that are still in the catalog."""
    items = await orders.list_order_items(tx, [order.id])
    return {item.book_id: item.quantity for item in items if item.book_id is not None}


async def _release_stock(tx: Transaction, order: OrderRow, reason: MovementReason) -> None:
    """Return the copies to the stock, and after a failed payment also to the cart."""
    quantities = await _load_quantities(tx, order)
    if reason is MovementReason.PAYMENT_FAILED:
        await locks.lock_cart(tx, order.user_id)
    existing_ids = {book.id for book in await locks.lock_books(tx, quantities)}
    returned_quantities = {book_id: quantity for book_id, quantity in quantities.items() if book_id in existing_ids}
    await apply_stock_changes(tx, returned_quantities, reason, order.id)
    if reason is MovementReason.PAYMENT_FAILED:
        for book_id, quantity in returned_quantities.items():
            await cart.restore_cart_item(tx, order.user_id, book_id, quantity, MAX_QUANTITY)


ORDER_NUMBER_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32, which has no letters that are easily confused."""


def generate_order_number() -> str:
    """Return a random order number, such as `7K3M-9QXA-0B2C`. It does not reveal the number of orders."""
    return "-".join("".join(secrets.choice(ORDER_NUMBER_ALPHABET) for _ in range(4)) for _ in range(3))


def normalize_order_number(text: str) -> str | None:
    """Return the order number in stored form, or `None` when the text is not an order number.

    Case, spaces, dashes, format characters and a leading `#` are ignored, and `O`, `I` and `L` are read as digits.
    """
    if len(text) > MAX_NUMBER_LENGTH:
        return None
    characters = remove_separators(text).removeprefix("#").upper().translate(str.maketrans("OIL", "011"))
    if len(characters) != 12 or not set(characters) <= set(ORDER_NUMBER_ALPHABET):
        return None
    return "-".join((characters[:4], characters[4:8], characters[8:]))
