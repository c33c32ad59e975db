"""Carts and checkout with ORM sessions, with our guarantees: locks, a stock ledger, one order per idempotency key."""

import datetime as dt
import hashlib
import secrets
import uuid
from collections.abc import Sequence
from decimal import Decimal

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from tools.bench.peers.orm import (
    Book,
    BookSales,
    Cart,
    CartItem,
    Email,
    MockPayment,
    Order,
    OrderItem,
    StockMovement,
    User,
)

MAX_QUANTITY = 999
CURRENCY = "EUR"


class UserError(Exception):
    """An expected error, which the customer can correct."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


async def cart_items(session: AsyncSession, user_id: uuid.UUID) -> Sequence[CartItem]:
    """Return the items of a cart with their books."""
    query = select(CartItem).options(selectinload(CartItem.book)).where(CartItem.user_id == user_id)
    return (await session.scalars(query.order_by(CartItem.id))).all()


def cart_total(items: Sequence[CartItem]) -> Decimal:
    """Return the sum of the items."""
    return sum((item.quantity * item.book.price for item in items), Decimal("0.00"))


async def add_to_cart(session: AsyncSession, user: User, book_id: uuid.UUID, quantity: int) -> Sequence[CartItem]:
    """Add copies of a book, and return the items of the cart.

    Raises:
        UserError: The book does not exist, or there are not enough copies.
    """
    await session.execute(select(Cart).where(Cart.user_id == user.id).with_for_update())
    item = await session.scalar(select(CartItem).where(CartItem.user_id == user.id, CartItem.book_id == book_id))
    book = await session.get(Book, book_id, with_for_update={"read": True, "key_share": True})
    if book is None:
        raise UserError("NOT_FOUND", "The book does not exist.")
    new_quantity = quantity + (item.quantity if item else 0)
    if not 1 <= new_quantity <= MAX_QUANTITY:
        raise UserError("INVALID_INPUT", f"A cart holds at most {MAX_QUANTITY} copies of a book.")
    if new_quantity > book.stock_quantity:
        raise UserError("ORDER_INSUFFICIENT_STOCK", "There are not enough copies.")
    if item:
        item.quantity = new_quantity
    else:
        session.add(CartItem(user_id=user.id, book_id=book_id, quantity=new_quantity))
    await session.commit()
    return await cart_items(session, user.id)


async def checkout(session: AsyncSession, user: User, key: str, payment_token: str | None) -> Order:
    """Place an order in three transactions, as ours does: no lock is held during the payment.

    Raises:
        UserError: The cart is empty, or there are not enough copies.
    """
    same_key = (
        select(Order).options(selectinload(Order.items)).where(Order.user_id == user.id, Order.idempotency_key == key)
    )
    if order := await session.scalar(same_key):
        return order
    order = await _reserve(session, user, key, payment_token)
    session.add(MockPayment(key=str(order.id), status="APPROVED", amount=order.total, currency=CURRENCY))
    await session.commit()
    await _finalize(session, order)
    return order


async def _reserve(session: AsyncSession, user: User, key: str, payment_token: str | None) -> Order:
    await session.execute(select(Cart).where(Cart.user_id == user.id).with_for_update())
    items = (await session.scalars(select(CartItem).where(CartItem.user_id == user.id).order_by(CartItem.id))).all()
    if not items:
        raise UserError("ORDER_CART_EMPTY", "The cart is empty.")
    query = select(Book).where(Book.id.in_([item.book_id for item in items])).order_by(Book.id)
    query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    books = {book.id: book for book in await session.scalars(query)}
    order = Order(
        id=uuid.uuid4(),
        number=new_number(),
        user_id=user.id,
        total=sum((item.quantity * books[item.book_id].price for item in items), Decimal("0.00")),
        total_quantity=sum(item.quantity for item in items),
        currency=CURRENCY,
        idempotency_key=key,
        input_digest=hashlib.sha256(f"{key} {payment_token}".encode()).digest(),
        payment_token=payment_token,
        items=[],
    )
    session.add(order)
    await session.flush()
    for item in items:
        book = books[item.book_id]
        if item.quantity > book.stock_quantity:
            raise UserError("ORDER_INSUFFICIENT_STOCK", "There are not enough copies.")
        book.stock_quantity -= item.quantity
        order.items.append(OrderItem(book_id=book.id, title=book.title, quantity=item.quantity, unit_price=book.price))
        movement = {"change": -item.quantity, "reason": "SALE", "order_id": order.id}
        session.add(StockMovement(book_id=book.id, title=book.title, **movement))
        await session.delete(item)
    await session.commit()
    return order


async def _finalize(session: AsyncSession, order: Order) -> None:
    await session.refresh(order, ["status"], with_for_update=True)
    order.status = "CONFIRMED"
    now = dt.datetime.now(dt.UTC)
    session.add(
        Email(kind="ORDER_CONFIRMED", subject_id=order.id, user_id=order.user_id, status="SUPPRESSED", settled_at=now)
    )
    for item in sorted(order.items, key=lambda item: str(item.book_id)):
        statement = update(BookSales).where(BookSales.book_id == item.book_id)
        await session.execute(statement.values(copies=BookSales.copies + item.quantity))
    await session.commit()


def new_number() -> str:
    """Return a random order number."""
    return "-".join(secrets.token_hex(2).upper() for _ in range(3))
