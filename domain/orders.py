"""Orders: checkout as reserve, charge and settle, then shipping and cancelling.

Locks are taken in one order everywhere: the order, the cart, the books by ascending id.
"""

import asyncio
import datetime as dt
import hashlib
import json
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from decimal import Decimal

import structlog

from domain import letters
from domain.cart import MOST_COPIES, total_of
from domain.errors import (
    Busy,
    CartEmpty,
    InsufficientStock,
    NotFound,
    OrderNotCancellable,
    OrderNotShippable,
    PaymentFailed,
    PriceChanged,
    Rule,
    Shortage,
)
from domain.payments import Approved, Outcome
from domain.shop import Shop
from domain.stock import move_stock
from domain.validation import Checker, checking, invalid
from persistence import cart, catalog, orders, sales
from persistence.accounts import User
from persistence.database import Transaction
from persistence.faults import Conflict, Unavailable, retried
from persistence.letters import LetterKind
from persistence.orders import Address, Order, OrderStatus
from persistence.stock import Reason

log = structlog.get_logger()

KEY_LENGTH = 200
TOKEN_LENGTH = 500
ADDRESS_LENGTH = 200
LARGEST_TOTAL = Decimal("9999999999.99")
CHARGE_TIMEOUT = 30  # seconds
ANSWER_WAIT = 8  # seconds that a customer waits for the payment, below what a request may take
REPLAY_WAIT = 5  # seconds
REPLAY_POLL = 0.1  # seconds
RETRY_AFTER = 5  # seconds
TILL_WAIT = 2  # seconds
NO_ANSWER = "No answer came from the payment provider."


@dataclass(frozen=True, slots=True)
class Purchase:
    idempotency_key: str
    expected_total: Decimal | None = None
    address: Address | None = None
    payment_token: str | None = field(default=None, repr=False)

    @property
    def digest(self) -> bytes:
        """Tells a retry from another purchase under the same key."""
        total = None if self.expected_total is None else str(self.expected_total.normalize())
        told = [total, self.address and asdict(self.address), self.payment_token]
        return hashlib.sha256(json.dumps(told).encode()).digest()


async def checkout(shop: Shop, customer_id: uuid.UUID, purchase: Purchase) -> Order:
    """Buys what is in the cart, once for each key however often it is tried.

    Raises `InvalidInput`, `CartEmpty`, `InsufficientStock` or `PriceChanged`, after which the key is free again;
    `PaymentFailed`, which stays; `Busy` while another try under this key is not settled.
    """
    purchase = _checked(purchase)
    async with _till(shop):
        order = await _reserve(shop, customer_id, purchase)
    if order is None:
        return await _replay(shop, customer_id, purchase)
    payment = asyncio.create_task(_pay(shop, order))
    shop.under_way.add(payment)
    payment.add_done_callback(shop.under_way.discard)
    try:
        async with asyncio.timeout(ANSWER_WAIT):
            return _told(await asyncio.shield(payment))
    except TimeoutError as error:  # the payment goes on; the same key will find what became of it
        raise Busy(RETRY_AFTER) from error


async def _pay(shop: Shop, order: Order) -> Order:
    outcome = await _charge(shop, order)
    async with shop.tills:
        return await settle(shop, order.id, outcome)


@asynccontextmanager
async def _till(shop: Shop) -> AsyncIterator[None]:
    """Raises `Busy` when none is free for some time."""
    try:
        async with asyncio.timeout(TILL_WAIT):
            await shop.tills.acquire()
    except TimeoutError as error:
        raise Busy(TILL_WAIT) from error
    try:
        yield
    finally:
        shop.tills.release()


@retried
async def _reserve(shop: Shop, customer_id: uuid.UUID, purchase: Purchase) -> Order | None:
    """Takes the books off the shelf and out of the cart; `None` when the key has been used before."""
    async with shop.database.transaction() as tx:
        order_id = await _claim(tx, shop, customer_id, purchase)
        if order_id is None:
            return None
        await cart.lock_cart(tx, customer_id)
        lines = await cart.list_cart_items(tx, [customer_id])
        books = {book.id: book for book in await catalog.lock_books(tx, [line.book_id for line in lines])}
        lines = [line for line in lines if line.book_id in books]
        if not lines:
            raise CartEmpty
        for line in lines:  # the locks may have waited for somebody who changed these
            line.unit_price, line.available = books[line.book_id].price, books[line.book_id].stock_quantity
        shortages = [
            Shortage(books[line.book_id], line.quantity, line.available)
            for line in lines
            if line.quantity > line.available
        ]
        if shortages:
            raise InsufficientStock(shortages)
        total = total_of(lines)
        if purchase.expected_total is not None and purchase.expected_total != total:
            raise PriceChanged(purchase.expected_total, customer_id)
        if total > LARGEST_TOTAL:
            raise invalid(("expectedTotal",), Rule.TOO_LARGE, f"An order can cost {LARGEST_TOTAL:,} at most.")
        await move_stock(tx, {line.book_id: -line.quantity for line in lines}, Reason.SALE, order_id)
        bought = [
            {
                "book_id": line.book_id,
                "title": books[line.book_id].title,
                "quantity": line.quantity,
                "unit_price": line.unit_price,
            }
            for line in lines
        ]
        await orders.add_order_items(tx, order_id, bought)
        order = await orders.set_order(tx, order_id, total=total, total_quantity=sum(line.quantity for line in lines))
        if purchase.address is not None:
            await orders.add_address(tx, order_id, purchase.address)
        await cart.remove_cart_items(tx, customer_id, [line.book_id for line in lines])
        return order


async def _claim(tx: Transaction, shop: Shop, customer_id: uuid.UUID, purchase: Purchase) -> uuid.UUID | None:
    order_id = await orders.claim_order(
        tx,
        number=new_order_number(),
        user_id=customer_id,
        total=Decimal(0),
        total_quantity=0,
        currency=shop.policy.currency,
        idempotency_key=purchase.idempotency_key,
        input_digest=purchase.digest,
        payment_token=purchase.payment_token,
    )
    if order_id is None and await orders.find_order_by_key(tx, customer_id, purchase.idempotency_key) is None:
        raise Conflict  # the number was taken, not the key
    return order_id


async def _charge(shop: Shop, order: Order) -> Outcome:
    try:
        async with asyncio.timeout(CHARGE_TIMEOUT):
            return await shop.payments.charge(str(order.id), order.total, order.currency, order.payment_token)
    except Exception as error:  # what became of it is for the sweeper to find out
        expected = isinstance(error, (TimeoutError, OSError, Unavailable))
        log.warning("charge_unanswered", order=order.number, exc_info=not expected)
        raise Busy(RETRY_AFTER) from error


@retried
async def settle(shop: Shop, order_id: uuid.UUID, outcome: Outcome | None) -> Order:
    """Acts on an order that is still PENDING; an approval that comes too late is given back.

    `None` is a charge that nobody knows of: it has failed, and is called off in case it is still on its way.
    """
    async with shop.database.transaction() as tx:
        order = await orders.lock_order(tx, order_id)
        assert order is not None
        if order.status == OrderStatus.PENDING:
            if isinstance(outcome, Approved):
                order = await orders.set_order(tx, order_id, status=OrderStatus.CONFIRMED)
                await letters.write(tx, LetterKind.ORDER_CONFIRMED, order_id, order.user_id)
                await sales.add_sales(tx, await _copies(tx, order))
            else:
                reason = outcome.reason if outcome else NO_ANSWER
                due = None if outcome else dt.datetime.now(dt.UTC)
                failed = OrderStatus.PAYMENT_FAILED
                order = await orders.set_order(tx, order_id, status=failed, decline_reason=reason, refund_due_at=due)
                await _put_back(tx, order, Reason.PAYMENT_FAILED)
        elif order.status == OrderStatus.PAYMENT_FAILED and isinstance(outcome, Approved):
            order = await orders.set_order(tx, order_id, refund_due_at=dt.datetime.now(dt.UTC))
        return order


async def _replay(shop: Shop, customer_id: uuid.UUID, purchase: Purchase) -> Order:
    """What was answered before under this key, with the order as it is now."""
    deadline = asyncio.get_running_loop().time() + REPLAY_WAIT
    while True:
        order = await orders.find_order_by_key(shop.database.reading, customer_id, purchase.idempotency_key)
        assert order is not None
        if order.input_digest != purchase.digest:
            raise invalid(
                ("idempotencyKey",),
                Rule.NOT_ALLOWED,
                "This key was used for another purchase. Make a new one for this.",
            )
        if order.status != OrderStatus.PENDING:
            return _told(order)
        if asyncio.get_running_loop().time() >= deadline:
            raise Busy(RETRY_AFTER)
        await asyncio.sleep(REPLAY_POLL)


def _told(order: Order) -> Order:
    if order.status == OrderStatus.PAYMENT_FAILED:
        raise PaymentFailed(order)
    return order


def _checked(purchase: Purchase) -> Purchase:
    with checking() as check:
        key = check.text(("idempotencyKey",), purchase.idempotency_key, KEY_LENGTH)
        token = check.optional(("paymentToken",), purchase.payment_token, TOKEN_LENGTH)
        address = purchase.address and Address(
            recipient=check.text(("shippingAddress", "recipient"), purchase.address.recipient, ADDRESS_LENGTH),
            line1=check.text(("shippingAddress", "line1"), purchase.address.line1, ADDRESS_LENGTH),
            line2=check.optional(("shippingAddress", "line2"), purchase.address.line2, ADDRESS_LENGTH),
            city=check.text(("shippingAddress", "city"), purchase.address.city, ADDRESS_LENGTH),
            region=check.optional(("shippingAddress", "region"), purchase.address.region, ADDRESS_LENGTH),
            postal_code=check.optional(("shippingAddress", "postalCode"), purchase.address.postal_code, ADDRESS_LENGTH),
            country=check.country(("shippingAddress", "country"), purchase.address.country),
            phone=check.optional(("shippingAddress", "phone"), purchase.address.phone, ADDRESS_LENGTH),
        )
        total = None if purchase.expected_total is None else _checked_total(check, purchase.expected_total)
    return Purchase(key, total, address, token)


def _checked_total(check: Checker, total: Decimal) -> Decimal:
    path = ("expectedTotal",)
    if total < 0:
        check.refuse(path, Rule.TOO_SMALL, "A total is never below zero.")
    elif total > LARGEST_TOTAL:
        check.refuse(path, Rule.TOO_LARGE, f"An order can cost {LARGEST_TOTAL:,} at most.")
    elif total != round(total, 2):
        check.refuse(path, Rule.MALFORMED, "A total has two decimals at most.")
    else:
        return round(total, 2)
    return total


# ── After the purchase ────────────────────────────────────────────────────────────────────


def can_be_cancelled(order: Order, viewer: User) -> bool:
    return order.status == OrderStatus.CONFIRMED and may_see(order, viewer)


def may_see(order: Order, viewer: User) -> bool:
    return order.user_id == viewer.id or viewer.role == "ADMIN"


@retried
async def cancel_order(shop: Shop, viewer: User, order_id: uuid.UUID) -> Order:
    """Puts the books back in the same transaction; the money follows. Raises `NotFound` or `OrderNotCancellable`."""
    async with shop.database.transaction() as tx:
        order = await orders.lock_order(tx, order_id)
        if order is None or not may_see(order, viewer):
            raise NotFound("Order", order_id)
        if order.status != OrderStatus.CONFIRMED:
            raise OrderNotCancellable(order)
        now = dt.datetime.now(dt.UTC)
        order = await orders.set_order(tx, order_id, status=OrderStatus.CANCELLED, cancelled_at=now, refund_due_at=now)
        await letters.write(tx, LetterKind.ORDER_CANCELLED, order_id, order.user_id)
        await _put_back(tx, order, Reason.CANCELLATION)
        if order.placed_at >= await sales.lock_sales_window(tx):
            await sales.add_sales(tx, {book_id: -copies for book_id, copies in (await _copies(tx, order)).items()})
        return order


@retried
async def ship_order(shop: Shop, order_id: uuid.UUID, tracking_url: str | None) -> Order:
    """Raises `InvalidInput`, `NotFound` or `OrderNotShippable`."""
    with checking() as check:
        url = None if tracking_url is None else check.url(("trackingUrl",), tracking_url)
    async with shop.database.transaction() as tx:
        order = await orders.lock_order(tx, order_id)
        if order is None:
            raise NotFound("Order", order_id)
        if order.status != OrderStatus.CONFIRMED:
            raise OrderNotShippable(order)
        now = dt.datetime.now(dt.UTC)
        order = await orders.set_order(tx, order_id, status=OrderStatus.SHIPPED, shipped_at=now, tracking_url=url)
        await letters.write(tx, LetterKind.ORDER_SHIPPED, order_id, order.user_id)
        return order


async def _copies(tx: Transaction, order: Order) -> dict[uuid.UUID, int]:
    """What was bought of books that are still in the catalogue."""
    items = await orders.list_order_items(tx, [order.id])
    return {item.book_id: item.quantity for item in items if item.book_id is not None}


async def _put_back(tx: Transaction, order: Order, reason: Reason) -> None:
    """Copies go back on the shelf; after a declined payment they are in the cart again, too."""
    copies = await _copies(tx, order)
    if reason is Reason.PAYMENT_FAILED:
        await cart.lock_cart(tx, order.user_id)
    there = {book.id for book in await catalog.lock_books(tx, copies)}
    returned = {book_id: quantity for book_id, quantity in copies.items() if book_id in there}
    await move_stock(tx, returned, reason, order.id)
    if reason is Reason.PAYMENT_FAILED:
        for book_id, quantity in returned.items():
            await cart.return_cart_item(tx, order.user_id, book_id, quantity, MOST_COPIES)


ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: nothing that sounds or looks like something else on the phone."""


def new_order_number() -> str:
    """Random, so that it tells nobody how many orders there are."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(4)) for _ in range(3))


def as_order_number(text: str) -> str | None:
    """The number someone meant, as it is kept: in capitals, with its hyphens; `None` for what is none."""
    bare = text.strip().upper().replace("-", "").replace(" ", "").translate(str.maketrans("OIL", "011"))
    if len(bare) != 12 or not set(bare) <= set(ALPHABET):
        return None
    return "-".join((bare[:4], bare[4:8], bare[8:]))
