"""The tables as mapped classes with relationships, and a session factory: SQLAlchemy's ORM as documented."""

import datetime as dt
import decimal
import os
import uuid

from sqlalchemy import CHAR, Column, DateTime, ForeignKey, Integer, LargeBinary, Numeric, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, deferred, mapped_column, relationship

from persistence.tables import new_id

engine = create_async_engine(
    make_url(os.environ.get("DATABASE_URL", "postgresql://")).set(drivername="postgresql+asyncpg"),
    pool_size=24,  # as many as eight clients use at once; overflow connections would be opened and closed each time
    max_overflow=0,
)
Session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    type_annotation_map = {str: Text, dt.datetime: DateTime(timezone=True), bytes: LargeBinary}  # noqa: RUF012  # as documented


book_authors = Table(
    "book_authors",
    Base.metadata,
    Column("book_id", Uuid, ForeignKey("books.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("author_id", Uuid, ForeignKey("authors.id")),
)


class Genre(Base):
    __tablename__ = "genres"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    slug: Mapped[str]
    name: Mapped[str]


class Author(Base):
    __tablename__ = "authors"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    slug: Mapped[str]
    name: Mapped[str]


class BookRating(Base):
    __tablename__ = "book_ratings"

    book_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("books.id"), primary_key=True)
    count: Mapped[int]
    average: Mapped[decimal.Decimal]


class BookSales(Base):
    __tablename__ = "book_sales"

    book_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("books.id"), primary_key=True)
    copies: Mapped[int]


class Book(Base):
    __tablename__ = "books"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    slug: Mapped[str]
    title: Mapped[str]
    subtitle: Mapped[str | None]
    isbn: Mapped[str | None]
    description: Mapped[str | None]
    cover_url: Mapped[str | None]
    genre_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("genres.id"))
    format: Mapped[str | None]
    publisher: Mapped[str | None]
    published_on: Mapped[dt.date | None]
    page_count: Mapped[int | None]
    language: Mapped[str | None]
    price: Mapped[decimal.Decimal] = mapped_column(Numeric(10, 2))
    stock_quantity: Mapped[int]
    added_at: Mapped[dt.datetime]
    updated_at: Mapped[dt.datetime]
    search: Mapped[str] = deferred(mapped_column(TSVECTOR))

    genre: Mapped[Genre | None] = relationship()
    authors: Mapped[list[Author]] = relationship(secondary=book_authors, order_by=book_authors.c.position)
    rating: Mapped[BookRating | None] = relationship()
    sales: Mapped[BookSales | None] = relationship()


class User(Base):
    __tablename__ = "users"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    email: Mapped[str]
    display_name: Mapped[str]
    role: Mapped[str]
    is_active: Mapped[bool]


class UserSession(Base):
    __tablename__ = "sessions"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    expires_at: Mapped[dt.datetime]
    revoked_at: Mapped[dt.datetime | None]

    user: Mapped[User] = relationship()


class Review(Base):
    __tablename__ = "reviews"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    book_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("books.id"))
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    rating: Mapped[int]
    text: Mapped[str | None]
    created_at: Mapped[dt.datetime]
    updated_at: Mapped[dt.datetime]
    deleted_at: Mapped[dt.datetime | None]

    user: Mapped[User] = relationship()


class Cart(Base):
    __tablename__ = "carts"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)


class CartItem(Base):
    __tablename__ = "cart_items"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("carts.user_id"))
    book_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("books.id"))
    quantity: Mapped[int]

    book: Mapped[Book] = relationship()


class OrderItem(Base):
    __tablename__ = "order_items"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    order_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("orders.id"))
    book_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("books.id"))
    title: Mapped[str]
    quantity: Mapped[int]
    unit_price: Mapped[decimal.Decimal] = mapped_column(Numeric(10, 2))


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    number: Mapped[str]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    status: Mapped[str] = mapped_column(default="PENDING")
    total: Mapped[decimal.Decimal] = mapped_column(Numeric(12, 2))
    total_quantity: Mapped[int]
    currency: Mapped[str] = mapped_column(CHAR(3))
    idempotency_key: Mapped[str]
    input_digest: Mapped[bytes]
    payment_token: Mapped[str | None]

    items: Mapped[list[OrderItem]] = relationship(order_by=OrderItem.id)


class StockMovement(Base):
    __tablename__ = "stock_movements"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    book_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("books.id"))
    title: Mapped[str]
    change: Mapped[int]
    reason: Mapped[str]
    order_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("orders.id"))


class MockPayment(Base):
    __tablename__ = "mock_payments"

    key: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    amount: Mapped[decimal.Decimal | None] = mapped_column(Numeric(12, 2))
    currency: Mapped[str | None] = mapped_column(CHAR(3))


class Email(Base):
    __tablename__ = "letters"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[str]
    subject_id: Mapped[uuid.UUID]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    status: Mapped[str]
    settled_at: Mapped[dt.datetime | None]
