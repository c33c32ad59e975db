"""Errors of the domain: user errors, which clients can act on, and errors that ask them to retry later."""

import decimal
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from persistence.accounts import UserRow
from persistence.catalog import BookRow, GenreRow
from persistence.orders import OrderRow
from persistence.prebookings import PrebookingRow
from persistence.reviews import ReviewRow


class Constraint(StrEnum):
    """A rule that an input field can violate."""

    REQUIRED = "REQUIRED"
    TOO_SHORT = "TOO_SHORT"
    TOO_LONG = "TOO_LONG"
    TOO_SMALL = "TOO_SMALL"
    TOO_LARGE = "TOO_LARGE"
    MALFORMED = "MALFORMED"
    NOT_ALLOWED = "NOT_ALLOWED"


@dataclass(frozen=True, slots=True)
class FieldError:
    """A violated constraint of one input field."""

    path: tuple[str, ...]
    rule: Constraint
    message: str


@dataclass(frozen=True, slots=True)
class Shortage:
    """A book with fewer copies in stock than requested."""

    book: BookRow
    requested: int
    available: int


class UserError(Exception):
    """An expected error that a client can act on; `code` identifies it."""

    code: ClassVar[str]

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInput(UserError):
    """At least one field of the input is invalid."""

    code = "INVALID_INPUT"

    def __init__(self, issues: list[FieldError]) -> None:
        super().__init__(issues[0].message)
        self.issues = issues


class NotFound(UserError):
    """`entity` with `entity_id` does not exist, or the caller cannot see it."""

    code = "NOT_FOUND"

    def __init__(self, entity: str, entity_id: uuid.UUID) -> None:
        super().__init__(f"This {entity.lower()} does not exist.")
        self.entity = entity
        self.entity_id = entity_id


class EmailTaken(UserError):
    """An account with this email address exists."""

    code = "AUTH_EMAIL_TAKEN"

    def __init__(self) -> None:
        super().__init__("An account with this email already exists. Log in instead.")


class InvalidCredentials(UserError):
    """The email address or the password is wrong."""

    code = "AUTH_INVALID_CREDENTIALS"

    def __init__(self, message: str = "The email or the password is wrong.") -> None:
        super().__init__(message)


class AccountDeactivated(UserError):
    """An administrator has deactivated the account."""

    code = "AUTH_ACCOUNT_DEACTIVATED"

    def __init__(self) -> None:
        super().__init__("This account is deactivated. Contact the store to reactivate it.")


class InvalidToken(UserError):
    """The refresh token or one-time token is unknown, used or expired."""

    code = "AUTH_TOKEN_INVALID"

    def __init__(self, message: str = "This session has ended. Log in again.") -> None:
        super().__init__(message)


class InsufficientStock(UserError):
    """At least one book has fewer copies in stock than requested."""

    code = "ORDER_INSUFFICIENT_STOCK"

    def __init__(self, shortages: list[Shortage]) -> None:
        title, available = shortages[0].book.title, shortages[0].available
        if available == 0:
            message = f"“{title}” is out of stock."
        elif available == 1:
            message = f"Only 1 copy of “{title}” is left."
        else:
            message = f"Only {available} copies of “{title}” are left."
        super().__init__(message)
        self.shortages = shortages


class CartEmpty(UserError):
    """The cart holds nothing to check out."""

    code = "ORDER_CART_EMPTY"

    def __init__(self) -> None:
        super().__init__("The cart is empty. Add a book before checking out.")


class PriceChanged(UserError):
    """The cart's total differs from the total that the customer confirmed."""

    code = "ORDER_PRICE_CHANGED"

    def __init__(self, expected_total: decimal.Decimal, user_id: uuid.UUID) -> None:
        super().__init__("Prices in the cart have changed. Check the new total and try again.")
        self.expected_total = expected_total
        self.user_id = user_id


class PaymentFailed(UserError):
    """The payment provider declined the payment."""

    code = "ORDER_PAYMENT_FAILED"

    def __init__(self, order: OrderRow) -> None:
        reason = f" {order.decline_reason}" if order.decline_reason else ""
        super().__init__(f"The payment was declined.{reason} The books are back in the cart.")
        self.order = order


class OrderNotCancellable(UserError):
    """The order's status does not allow cancellation."""

    code = "ORDER_NOT_CANCELLABLE"

    def __init__(self, order: OrderRow) -> None:
        super().__init__(f"Order {order.number} can no longer be cancelled.")
        self.order = order


class OrderNotShippable(UserError):
    """The order's status does not allow shipping."""

    code = "ORDER_NOT_SHIPPABLE"

    def __init__(self, order: OrderRow) -> None:
        super().__init__(f"Order {order.number} cannot be shipped.")
        self.order = order


class BookInStock(UserError):
    """The book is in stock, so it cannot be prebooked."""

    code = "PREBOOK_BOOK_IN_STOCK"

    def __init__(self, book: BookRow) -> None:
        super().__init__(f"“{book.title}” is in stock. Add it to the cart instead.")
        self.book = book


class AlreadyPrebooked(UserError):
    """The user is already on the book's waiting list."""

    code = "PREBOOK_DUPLICATE"

    def __init__(self, prebooking: PrebookingRow) -> None:
        super().__init__("You are already on the waiting list for this book.")
        self.prebooking = prebooking


class PurchaseRequired(UserError):
    """The user has not bought the book and cannot review it."""

    code = "REVIEW_PURCHASE_REQUIRED"

    def __init__(self, book: BookRow) -> None:
        super().__init__(f"Only customers who bought “{book.title}” can review it.")
        self.book = book


class DuplicateReview(UserError):
    """The user has already reviewed the book."""

    code = "REVIEW_DUPLICATE"

    def __init__(self, existing_review: ReviewRow) -> None:
        super().__init__("You have already reviewed this book. Edit your review instead.")
        self.existing_review = existing_review


class IsbnTaken(UserError):
    """Another book has this ISBN."""

    code = "BOOK_ISBN_TAKEN"

    def __init__(self, book: BookRow) -> None:
        super().__init__(f"“{book.title}” already has this ISBN.")
        self.book = book


class GenreNameTaken(UserError):
    """Another genre has this name."""

    code = "GENRE_NAME_TAKEN"

    def __init__(self, genre: GenreRow) -> None:
        super().__init__(f"The genre “{genre.name}” already exists.")
        self.genre = genre


class GenreNotEmpty(UserError):
    """The genre still contains books."""

    code = "GENRE_NOT_EMPTY"

    def __init__(self, genre: GenreRow) -> None:
        super().__init__(f"The genre “{genre.name}” still contains books. Move them first.")
        self.genre = genre


class ProtectedAccount(UserError):
    """The account belongs to an administrator and cannot be deactivated."""

    code = "ADMIN_PROTECTED_ACCOUNT"

    def __init__(self, user: UserRow) -> None:
        super().__init__("Administrators' accounts cannot be deactivated.")
        self.user = user


class RetryableError(Exception):
    """The request cannot be processed now. The client can repeat it after `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Try again in {retry_after} seconds.")
        self.retry_after = retry_after


class Overloaded(RetryableError):
    """The server is at capacity or waits for the payment provider."""


class RateLimited(RetryableError):
    """The caller exceeded a rate limit or a throttle. The request was not processed."""
