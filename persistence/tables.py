"""The tables and their constraints. Other modules import this one as `tables` and write `tables.Book`."""

import datetime as dt
import decimal
import uuid
from typing import Annotated, ClassVar

import uuid_utils.compat
from sqlalchemy import (
    CHAR,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Numeric,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

new_id = uuid_utils.compat.uuid7
"""Return a new UUIDv7: ids sort by creation. PostgreSQL itself generates UUIDv7 only from version 18."""

PrimaryKey = Annotated[uuid.UUID, mapped_column(primary_key=True, default=new_id)]
Price = Annotated[decimal.Decimal, mapped_column(Numeric(10, 2))]
Total = Annotated[decimal.Decimal, mapped_column(Numeric(12, 2))]
DefaultNow = Annotated[dt.datetime, mapped_column(server_default=func.now())]

IS_NOT_DELETED = text("deleted_at IS NULL")
IS_WAITING = text("status = 'WAITING'")


def _fold(expression: str, max_length: int = 500) -> str:
    """Return SQL without case and accents, cut because an index entry must fit a third of a page."""
    return f"left(fold({expression}), {max_length})"


def _build_search_vector(**expressions_by_weight: str) -> str:
    """Return SQL for a tsvector of the words. `words()` folds like `fold()` and turns ASCII punctuation into spaces."""
    return " || ".join(
        f"setweight(to_tsvector('simple', words({text})), '{weight}')" for weight, text in expressions_by_weight.items()
    )


class Base(DeclarativeBase):
    """The base of all tables, with the names of constraints and the types of columns."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        str: Text,
        dt.datetime: DateTime(timezone=True),
        bytes: LargeBinary,
    }


# ── Catalog ───────────────────────────────────────────────────────────────────────────────


class Genre(Base):
    """A genre; each book has one at most."""

    __tablename__ = "genres"

    id: Mapped[PrimaryKey]
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]

    __table_args__ = (Index("uq_genres_name", text("lower(name)"), unique=True),)


class Author(Base):
    """An author."""

    __tablename__ = "authors"

    id: Mapped[PrimaryKey]
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    sort_name: Mapped[str] = mapped_column(Text(collation="C"), Computed(_fold("name"), persisted=True))
    search: Mapped[str] = mapped_column(TSVECTOR, Computed(_build_search_vector(A="name"), persisted=True))

    __table_args__ = (
        Index("uq_authors_name", text("lower(name)"), unique=True),
        Index("ix_authors_sort_name_id", "sort_name", "id"),
        Index("ix_authors_search", "search", postgresql_using="gin"),
    )


class Book(Base):
    """A book of the catalog."""

    __tablename__ = "books"

    id: Mapped[PrimaryKey]
    slug: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    subtitle: Mapped[str | None]
    isbn: Mapped[str | None] = mapped_column(CHAR(13), unique=True)
    description: Mapped[str | None]
    cover_url: Mapped[str | None]
    genre_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(Genre.id, ondelete="RESTRICT"))
    format: Mapped[str | None]
    publisher: Mapped[str | None]
    published_on: Mapped[dt.date | None]
    page_count: Mapped[int | None]
    language: Mapped[str | None]
    price: Mapped[Price]
    stock_quantity: Mapped[int] = mapped_column(server_default="0")
    added_at: Mapped[DefaultNow]
    updated_at: Mapped[DefaultNow]
    author_names: Mapped[str] = mapped_column(
        server_default="",
        comment="Kept here, one a line, because a generated column reads its own row only.",
    )
    sort_title: Mapped[str] = mapped_column(Text(collation="C"), Computed(_fold("title"), persisted=True))
    author_key: Mapped[str] = mapped_column(Computed(_fold("author_names", 5000), persisted=True))
    spelling: Mapped[str] = mapped_column(Computed(_fold("title || ' ' || author_names", 5000), persisted=True))
    search: Mapped[str] = mapped_column(
        TSVECTOR, Computed(_build_search_vector(A="title", B="author_names"), persisted=True)
    )

    __table_args__ = (
        CheckConstraint("price > 0", name="price"),
        CheckConstraint("stock_quantity >= 0", name="stock_quantity"),
        CheckConstraint("page_count BETWEEN 1 AND 100000", name="page_count"),
        CheckConstraint("isbn ~ '^[0-9]{13}$'", name="isbn"),
        CheckConstraint(
            "format IN ('HARDCOVER', 'PAPERBACK', 'BOX_SET', 'AUDIOBOOK')",
            name="format",
        ),
        Index("ix_books_added_at_id", "added_at", "id"),
        Index("ix_books_sort_title_id", "sort_title", "id"),
        Index("ix_books_price_id", "price", "id"),
        Index(
            "ix_books_published_first",
            text("coalesce(published_on, 'infinity'::date)"),
            "id",
        ),
        Index(
            "ix_books_published_last",
            text("coalesce(published_on, '-infinity'::date)"),
            "id",
        ),
        Index("ix_books_genre_id_added_at_id", "genre_id", "added_at", "id"),
        Index("ix_books_search", "search", postgresql_using="gin"),
        Index(
            "ix_books_author_key",
            "author_key",
            postgresql_using="gin",
            postgresql_ops={"author_key": "gin_trgm_ops"},
        ),
        Index(
            "ix_books_spelling",
            "spelling",
            postgresql_using="gin",
            postgresql_ops={"spelling": "gin_trgm_ops"},
        ),
        {"postgresql_with": {"fillfactor": 80}},  # room for heap-only updates of the stock
    )


class BookAuthor(Base):
    """An author of a book."""

    __tablename__ = "book_authors"

    book_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Book.id, ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, comment="The order of the title page, from 0.")
    author_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Author.id, ondelete="RESTRICT"))

    __table_args__ = (
        UniqueConstraint("book_id", "author_id"),
        Index("ix_book_authors_author_id_book_id", "author_id", "book_id"),
    )


# ── Accounts ──────────────────────────────────────────────────────────────────────────────


class User(Base):
    """An account; the role decides whether it is an administrator's."""

    __tablename__ = "users"

    id: Mapped[PrimaryKey]
    email: Mapped[str] = mapped_column(unique=True)
    display_name: Mapped[str]
    password_hash: Mapped[str | None]
    role: Mapped[str] = mapped_column(server_default="USER")
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[DefaultNow]
    email_verified_at: Mapped[dt.datetime | None]

    __table_args__ = (
        CheckConstraint("email = lower(email)", name="email"),
        CheckConstraint("role IN ('USER', 'ADMIN')", name="role"),
        Index("ix_users_created_at_id", "created_at", "id"),
        Index(
            "ix_users_email_display_name",
            "email",
            "display_name",
            postgresql_using="gin",
            postgresql_ops={"email": "gin_trgm_ops", "display_name": "gin_trgm_ops"},
        ),
    )


class Session(Base):
    """A login on one device, with the refresh tokens that descend from it."""

    __tablename__ = "sessions"

    id: Mapped[PrimaryKey]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    user_agent: Mapped[str | None]
    created_at: Mapped[DefaultNow]
    last_used_at: Mapped[DefaultNow]
    expires_at: Mapped[dt.datetime]
    revoked_at: Mapped[dt.datetime | None]


class RefreshToken(Base):
    """A refresh token; each has one successor at most."""

    __tablename__ = "refresh_tokens"

    id: Mapped[PrimaryKey]
    session_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Session.id, ondelete="CASCADE"), index=True)
    parent_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("refresh_tokens.id", ondelete="CASCADE"), unique=True
    )
    hash: Mapped[bytes] = mapped_column(unique=True, comment="SHA-256 of the token, which is kept nowhere.")
    created_at: Mapped[DefaultNow]
    expires_at: Mapped[dt.datetime]
    used_at: Mapped[dt.datetime | None]

    __table_args__ = (CheckConstraint("octet_length(hash) = 32", name="hash"),)


class LinkedAccount(Base):
    """An account at an OAuth provider that a user logs in with, identified by the provider's id, not by e-mail."""

    __tablename__ = "identities"

    id: Mapped[PrimaryKey]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    provider: Mapped[str]
    account: Mapped[str] = mapped_column(comment="The provider's own id of the account, which never changes.")
    created_at: Mapped[DefaultNow]

    __table_args__ = (
        UniqueConstraint("provider", "account"),
        CheckConstraint("provider IN ('GOOGLE', 'GITHUB')", name="provider"),
    )


class OneTimeToken(Base):
    """A token in an e-mail link or an OAuth redirect; it can be redeemed once, until it expires."""

    __tablename__ = "one_time_tokens"

    id: Mapped[PrimaryKey]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"))
    purpose: Mapped[str]
    hash: Mapped[bytes] = mapped_column(unique=True, comment="SHA-256 of the token, which is kept nowhere.")
    created_at: Mapped[DefaultNow]
    expires_at: Mapped[dt.datetime]
    used_at: Mapped[dt.datetime | None]

    __table_args__ = (
        CheckConstraint("purpose IN ('VERIFY_EMAIL', 'RESET_PASSWORD', 'OAUTH_LOGIN')", name="purpose"),
        CheckConstraint("octet_length(hash) = 32", name="hash"),
        Index("ix_one_time_tokens_user_id_purpose", "user_id", "purpose"),
    )


# ── Cart ──────────────────────────────────────────────────────────────────────────────────


class Cart(Base):
    """A user's cart, created with the account so that there is always a row to lock."""

    __tablename__ = "carts"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), primary_key=True)


class CartItem(Base):
    """A book in a cart."""

    __tablename__ = "cart_items"

    id: Mapped[PrimaryKey]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Cart.user_id, ondelete="CASCADE"))
    book_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Book.id, ondelete="CASCADE"), index=True)
    quantity: Mapped[int]
    added_at: Mapped[DefaultNow]

    __table_args__ = (
        UniqueConstraint("user_id", "book_id"),
        CheckConstraint("quantity BETWEEN 1 AND 999", name="quantity"),
    )


# ── Orders ────────────────────────────────────────────────────────────────────────────────


class Order(Base):
    """An order; `domain/orders.py` has its state machine."""

    __tablename__ = "orders"

    id: Mapped[PrimaryKey]
    number: Mapped[str] = mapped_column(unique=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="RESTRICT"))
    status: Mapped[str] = mapped_column(server_default="PENDING")
    total: Mapped[Total]
    total_quantity: Mapped[int]
    currency: Mapped[str] = mapped_column(CHAR(3))
    idempotency_key: Mapped[str]
    input_digest: Mapped[bytes] = mapped_column(comment="SHA-256 of the input, to tell a retry from another purchase.")
    payment_token: Mapped[str | None]
    decline_reason: Mapped[str | None]
    tracking_url: Mapped[str | None]
    placed_at: Mapped[DefaultNow]
    shipped_at: Mapped[dt.datetime | None]
    cancelled_at: Mapped[dt.datetime | None]
    swept_at: Mapped[dt.datetime | None] = mapped_column(comment="When a sweeper last took it up.")
    refund_due_at: Mapped[dt.datetime | None] = mapped_column(comment="When to try the refund; null when none is owed.")
    refund_attempts: Mapped[int] = mapped_column(server_default="0")
    refunded_at: Mapped[dt.datetime | None]

    __table_args__ = (
        UniqueConstraint("user_id", "idempotency_key"),
        CheckConstraint(
            "status IN ('PENDING', 'CONFIRMED', 'PAYMENT_FAILED', 'SHIPPED', 'CANCELLED')",
            name="status",
        ),
        CheckConstraint("total >= 0 AND total_quantity >= 0", name="total"),
        CheckConstraint("(status = 'SHIPPED') = (shipped_at IS NOT NULL)", name="shipped"),
        CheckConstraint("(status = 'CANCELLED') = (cancelled_at IS NOT NULL)", name="cancelled"),
        Index("ix_orders_user_id_placed_at_id", "user_id", "placed_at", "id"),
        Index("ix_orders_placed_at_id", "placed_at", "id"),
        Index(
            "ix_orders_pending",
            "placed_at",
            postgresql_where=text("status = 'PENDING'"),
        ),
        Index(
            "ix_orders_refund_due_at",
            "refund_due_at",
            postgresql_where=text("refund_due_at IS NOT NULL"),
        ),
    )


class OrderItem(Base):
    """A book in an order, with the title and the price of the day; the book itself may be deleted later."""

    __tablename__ = "order_items"

    order_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Order.id, ondelete="CASCADE"))
    id: Mapped[PrimaryKey]
    book_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(Book.id, ondelete="SET NULL"))
    title: Mapped[str]
    quantity: Mapped[int]
    unit_price: Mapped[Price]

    __table_args__ = (
        UniqueConstraint("order_id", "book_id"),
        CheckConstraint("quantity BETWEEN 1 AND 999", name="quantity"),
        Index("ix_order_items_book_id_id", "book_id", "id"),
    )


class OrderAddress(Base):
    """The shipping address of an order; an order without one is picked up."""

    __tablename__ = "order_addresses"

    order_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Order.id, ondelete="CASCADE"), primary_key=True)
    recipient: Mapped[str]
    line1: Mapped[str]
    line2: Mapped[str | None]
    city: Mapped[str]
    region: Mapped[str | None]
    postal_code: Mapped[str | None]
    country: Mapped[str] = mapped_column(CHAR(2))
    phone: Mapped[str | None]


class StockMovement(Base):
    """An entry of the stock ledger; the sum of a book's movements is its stock."""

    __tablename__ = "stock_movements"

    id: Mapped[PrimaryKey]
    book_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(Book.id, ondelete="SET NULL"), index=True)
    title: Mapped[str]
    change: Mapped[int]
    reason: Mapped[str]
    order_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(Order.id, ondelete="RESTRICT"), index=True)
    created_at: Mapped[DefaultNow]

    __table_args__ = (
        CheckConstraint("change <> 0", name="change"),
        CheckConstraint(
            "reason IN ('NEW_BOOK', 'IMPORT', 'STOCKTAKE', 'DELIVERY', 'SALE', 'PAYMENT_FAILED', 'CANCELLATION')",
            name="reason",
        ),
        CheckConstraint(
            "(reason IN ('SALE', 'PAYMENT_FAILED', 'CANCELLATION')) = (order_id IS NOT NULL)",
            name="order",
        ),
    )


# ── Reviews ───────────────────────────────────────────────────────────────────────────────


class Review(Base):
    """A review; deleting it sets `deleted_at`."""

    __tablename__ = "reviews"

    id: Mapped[PrimaryKey]
    book_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Book.id, ondelete="CASCADE"))
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"))
    rating: Mapped[int]
    text: Mapped[str | None]
    created_at: Mapped[DefaultNow]
    updated_at: Mapped[DefaultNow]
    deleted_at: Mapped[dt.datetime | None]

    __table_args__ = (
        CheckConstraint("rating BETWEEN 1 AND 5", name="rating"),
        Index("uq_reviews_living", "user_id", "book_id", unique=True, postgresql_where=IS_NOT_DELETED),
        Index("ix_reviews_book_id", "book_id"),
        Index("ix_reviews_created_at_id", "created_at", "id", postgresql_where=IS_NOT_DELETED),
        Index("ix_reviews_rating_id", "rating", "id", postgresql_where=IS_NOT_DELETED),
        Index("ix_reviews_book_id_created_at_id", "book_id", "created_at", "id", postgresql_where=IS_NOT_DELETED),
        Index("ix_reviews_book_id_rating_id", "book_id", "rating", "id", postgresql_where=IS_NOT_DELETED),
        Index("ix_reviews_user_id_created_at_id", "user_id", "created_at", "id", postgresql_where=IS_NOT_DELETED),
    )


STAR_COLUMNS = ("one", "two", "three", "four", "five")
_RATING_COUNT_SQL = " + ".join(STAR_COLUMNS)
_STAR_SUM_SQL = " + ".join(f"{stars} * {name}" for stars, name in enumerate(STAR_COLUMNS, start=1))


class BookRating(Base):
    """How many reviews of a book gave each number of stars; created with the book, updated in the review's transaction."""

    __tablename__ = "book_ratings"

    book_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Book.id, ondelete="CASCADE"), primary_key=True)
    one: Mapped[int] = mapped_column(server_default="0")
    two: Mapped[int] = mapped_column(server_default="0")
    three: Mapped[int] = mapped_column(server_default="0")
    four: Mapped[int] = mapped_column(server_default="0")
    five: Mapped[int] = mapped_column(server_default="0")
    count: Mapped[int] = mapped_column(Computed(_RATING_COUNT_SQL, persisted=True))
    average: Mapped[decimal.Decimal] = mapped_column(
        Numeric(2, 1),
        Computed(f"coalesce(round(({_STAR_SUM_SQL})::numeric / nullif({_RATING_COUNT_SQL}, 0), 1), 0)", persisted=True),
        comment="To one decimal, half up; 0 while there are none.",
    )

    __table_args__ = (
        CheckConstraint(" AND ".join(f"{name} >= 0" for name in STAR_COLUMNS), name="stars"),
        Index("ix_book_ratings_average_book_id", "average", "book_id"),
    )


# ── Wishlists and pre-bookings ────────────────────────────────────────────────────────────


class WishlistItem(Base):
    """A book on a user's wishlist."""

    __tablename__ = "wishlist_items"

    id: Mapped[PrimaryKey]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"))
    book_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Book.id, ondelete="CASCADE"), index=True)
    added_at: Mapped[DefaultNow]

    __table_args__ = (
        UniqueConstraint("user_id", "book_id"),
        Index("ix_wishlist_items_user_id_added_at_id", "user_id", "added_at", "id"),
    )


class Prebooking(Base):
    """A customer's place on the waiting list of a book."""

    __tablename__ = "prebookings"

    id: Mapped[PrimaryKey]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"))
    book_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Book.id, ondelete="CASCADE"), index=True)
    status: Mapped[str] = mapped_column(server_default="WAITING")
    created_at: Mapped[DefaultNow]
    notified_at: Mapped[dt.datetime | None]
    cancelled_at: Mapped[dt.datetime | None]

    __table_args__ = (
        CheckConstraint("status IN ('WAITING', 'NOTIFIED', 'CANCELLED')", name="status"),
        CheckConstraint("(status = 'NOTIFIED') = (notified_at IS NOT NULL)", name="notified"),
        CheckConstraint("(status = 'CANCELLED') = (cancelled_at IS NOT NULL)", name="cancelled"),
        Index("uq_prebookings_waiting", "book_id", "user_id", unique=True, postgresql_where=IS_WAITING),
        Index("ix_prebookings_user_id_created_at_id", "user_id", "created_at", "id"),
    )


# ── Sales ─────────────────────────────────────────────────────────────────────────────────


class BookSales(Base):
    """Copies of a book sold since `SalesWindow.since`; created with the book, updated in the sale's transaction."""

    __tablename__ = "book_sales"

    book_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Book.id, ondelete="CASCADE"), primary_key=True)
    copies: Mapped[int] = mapped_column(server_default="0")

    __table_args__ = (
        CheckConstraint("copies >= 0", name="copies"),
        Index("ix_book_sales_copies_book_id", "copies", "book_id"),
    )


class SalesWindow(Base):
    """A single row: the start of the period that `BookSales` counts, which the sweeper moves on."""

    __tablename__ = "sales_window"

    id: Mapped[int] = mapped_column(primary_key=True, server_default="1")
    since: Mapped[dt.datetime]

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)


# ── Limits and secrets ────────────────────────────────────────────────────────────────────


class Throttle(Base):
    """Failed attempts of a throttled action; 0 tries mark a client that has succeeded before."""

    __tablename__ = "throttles"

    key: Mapped[bytes] = mapped_column(primary_key=True, comment="HMAC of who tried what.")
    tries: Mapped[int]
    free_at: Mapped[dt.datetime] = mapped_column(comment="When the next try may be made.")
    tried_at: Mapped[dt.datetime] = mapped_column(index=True)

    __table_args__ = (CheckConstraint("tries >= 0", name="tries"),)


class RateLimit(Base):
    """A caller's spent budget. Unlogged: a crash of PostgreSQL empties it, which only resets the budgets."""

    __tablename__ = "rate_limits"

    caller: Mapped[bytes] = mapped_column(primary_key=True, comment="HMAC of a user or of an address.")
    full_at: Mapped[dt.datetime] = mapped_column(index=True, comment="When the caller's budget will be whole again.")

    __table_args__ = ({"prefixes": ["UNLOGGED"]},)


class SecretKey(Base):
    """A SECRET_KEY that a process has run with; only an id derived from it is stored."""

    __tablename__ = "secret_keys"

    id: Mapped[str] = mapped_column(primary_key=True, comment="Derived from the secret; the kid of access tokens.")
    used_at: Mapped[dt.datetime] = mapped_column(comment="When a process last ran with it.")


# ── E-mails ───────────────────────────────────────────────────────────────────────────────


class Email(Base):
    """An outbox row, written in the transaction of the event it reports; a PgQueuer job sends it."""

    __tablename__ = "letters"

    id: Mapped[PrimaryKey]
    kind: Mapped[str]
    subject_id: Mapped[uuid.UUID] = mapped_column(comment="The order, pre-booking, token or identity it tells of.")
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    repeat: Mapped[int] = mapped_column(server_default="0", comment="0 for the first email about it, then 1, 2, …")
    status: Mapped[str] = mapped_column(server_default="QUEUED")
    attempts: Mapped[int] = mapped_column(server_default="0")
    problem: Mapped[str | None] = mapped_column(comment="Why the last attempt failed.")
    created_at: Mapped[DefaultNow]
    settled_at: Mapped[dt.datetime | None] = mapped_column(comment="When it was sent, suppressed or given up.")
    taken_until: Mapped[dt.datetime | None] = mapped_column(comment="Until then one poster alone sends it.")

    __table_args__ = (
        UniqueConstraint("kind", "subject_id", "user_id", "repeat"),
        CheckConstraint("status IN ('QUEUED', 'SENT', 'SUPPRESSED', 'OBSOLETE', 'FAILED')", name="status"),
        CheckConstraint("(status = 'QUEUED') = (settled_at IS NULL)", name="settled"),
        Index("ix_letters_failed", "settled_at", "id", postgresql_where=text("status = 'FAILED'")),
    )


# ── Mock payment provider ─────────────────────────────────────────────────────────────────


class MockPayment(Base):
    """A payment of the built-in mock provider, which stands in for a real provider's own database."""

    __tablename__ = "mock_payments"

    key: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    amount: Mapped[decimal.Decimal | None] = mapped_column(Numeric(12, 2))
    currency: Mapped[str | None] = mapped_column(CHAR(3))
    reason: Mapped[str | None]
    created_at: Mapped[DefaultNow]
    refunded_at: Mapped[dt.datetime | None]

    __table_args__ = (CheckConstraint("status IN ('APPROVED', 'DECLINED', 'VOIDED')", name="status"),)
