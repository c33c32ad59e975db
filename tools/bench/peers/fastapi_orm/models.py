"""The bodies of requests and responses, as Pydantic models."""

import datetime as dt
import uuid
from decimal import Decimal

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class AuthorOut(Model):
    name: str


class GenreOut(Model):
    name: str


class RatingOut(Model):
    count: int
    average: float


class BookOut(Model):
    id: uuid.UUID
    title: str
    isbn: str | None
    price: Decimal
    stock_quantity: int
    authors: list[AuthorOut]
    genre: GenreOut | None
    rating: RatingOut | None


class BooksOut(BaseModel):
    items: list[BookOut]
    next: str | None
    total: int | None = None


class MatchOut(Model):
    id: uuid.UUID
    title: str
    price: Decimal
    stock_quantity: int
    authors: list[AuthorOut]
    rating: RatingOut | None


class SearchOut(BaseModel):
    items: list[MatchOut]
    has_more: bool


class ReviewerOut(Model):
    display_name: str


class ReviewOut(Model):
    id: uuid.UUID
    rating: int
    text: str | None
    created_at: dt.datetime
    user: ReviewerOut


class BookPageOut(BookOut):
    description: str | None


class BookWithReviewsOut(BaseModel):
    book: BookPageOut
    reviews: list[ReviewOut]
    has_more_reviews: bool


class CartBookOut(Model):
    id: uuid.UUID
    title: str
    price: Decimal


class CartItemIn(BaseModel):
    book_id: uuid.UUID
    quantity: int = 1


class CartItemOut(Model):
    quantity: int
    book: CartBookOut


class CartOut(BaseModel):
    items: list[CartItemOut]
    total: Decimal


class CheckoutIn(BaseModel):
    idempotency_key: str
    payment_token: str | None = None


class OrderItemOut(Model):
    title: str
    quantity: int
    unit_price: Decimal


class OrderOut(Model):
    id: uuid.UUID
    number: str
    status: str
    total: Decimal
    total_quantity: int
    items: list[OrderItemOut]
