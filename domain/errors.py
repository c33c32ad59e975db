"""Every refusal: what a user can do something about, with what they need to do it."""

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
    """A rule that a field of an input can break."""

    REQUIRED = "REQUIRED"
    TOO_SHORT = "TOO_SHORT"
    TOO_LONG = "TOO_LONG"
    TOO_SMALL = "TOO_SMALL"
    TOO_LARGE = "TOO_LARGE"
    MALFORMED = "MALFORMED"
    NOT_ALLOWED = "NOT_ALLOWED"


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of an input."""

    path: tuple[str, ...]
    rule: Constraint
    message: str


@dataclass(frozen=True, slots=True)
class Shortage:
    """A book of which fewer copies are left than were asked for."""

    book: BookRow
    requested: int
    available: int


class UserError(Exception):
    """The shop says no, for a reason that `code` names."""

    code: ClassVar[str]

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInput(UserError):
    code = "INVALID_INPUT"

    def __init__(self, issues: list[FieldError]) -> None:
        super().__init__(issues[0].message)
        self.issues = issues


class NotFound(UserError):
    """`kind` and `key` name what is not there, or not for this caller."""

    code = "NOT_FOUND"

    def __init__(self, entity: str, entity_id: uuid.UUID) -> None:
        super().__init__(f"This {entity.lower()} does not exist.")
        self.entity = entity
        self.entity_id = entity_id


class EmailTaken(UserError):
    code = "AUTH_EMAIL_TAKEN"

    def __init__(self) -> None:
        super().__init__("An account with this email exists. Log in instead.")


class InvalidCredentials(UserError):
    code = "AUTH_INVALID_CREDENTIALS"

    def __init__(self, message: str = "The email or the password is wrong.") -> None:
        super().__init__(message)


class AccountDeactivated(UserError):
    code = "AUTH_ACCOUNT_DEACTIVATED"

    def __init__(self) -> None:
        super().__init__("This account has been deactivated. Ask the store to let you in again.")


class InvalidToken(UserError):
    code = "AUTH_TOKEN_INVALID"

    def __init__(self, message: str = "This session is over. Log in again.") -> None:
        super().__init__(message)


class InsufficientStock(UserError):
    code = "ORDER_INSUFFICIENT_STOCK"

    def __init__(self, shortages: list[Shortage]) -> None:
        first = shortages[0]
        left = {0: "no copies are", 1: "one copy is"}.get(first.available, f"{first.available} copies are")
        super().__init__(f"Of “{first.book.title}” {left} left.")
        self.shortages = shortages


class CartEmpty(UserError):
    code = "ORDER_CART_EMPTY"

    def __init__(self) -> None:
        super().__init__("There is nothing in the cart to check out.")


class PriceChanged(UserError):
    code = "ORDER_PRICE_CHANGED"

    def __init__(self, expected_total: decimal.Decimal, user_id: uuid.UUID) -> None:
        super().__init__("Prices have changed since the cart was shown. Look at the new total and try again.")
        self.expected_total = expected_total
        self.user_id = user_id


class PaymentFailed(UserError):
    code = "ORDER_PAYMENT_FAILED"

    def __init__(self, order: OrderRow) -> None:
        reason = f" {order.decline_reason}" if order.decline_reason else ""
        super().__init__(f"The payment was declined.{reason} The books are back in the cart.")
        self.order = order


class OrderNotCancellable(UserError):
    code = "ORDER_NOT_CANCELLABLE"

    def __init__(self, order: OrderRow) -> None:
        super().__init__(f"Order {order.number} can no longer be cancelled.")
        self.order = order


class OrderNotShippable(UserError):
    code = "ORDER_NOT_SHIPPABLE"

    def __init__(self, order: OrderRow) -> None:
        super().__init__(f"Order {order.number} is not one that can be sent.")
        self.order = order


class BookInStock(UserError):
    code = "PREBOOK_BOOK_IN_STOCK"

    def __init__(self, book: BookRow) -> None:
        super().__init__(f"“{book.title}” is in stock. Put it in the cart.")
        self.book = book


class AlreadyPrebooked(UserError):
    code = "PREBOOK_DUPLICATE"

    def __init__(self, prebooking: PrebookingRow) -> None:
        super().__init__("You are on the waiting list for this book already.")
        self.prebooking = prebooking


class PurchaseRequired(UserError):
    code = "REVIEW_PURCHASE_REQUIRED"

    def __init__(self, book: BookRow) -> None:
        super().__init__(f"Only those who bought “{book.title}” may review it.")
        self.book = book


class DuplicateReview(UserError):
    code = "REVIEW_DUPLICATE"

    def __init__(self, existing_review: ReviewRow) -> None:
        super().__init__("You have reviewed this book. Edit that review instead.")
        self.existing_review = existing_review


class IsbnTaken(UserError):
    code = "BOOK_ISBN_TAKEN"

    def __init__(self, book: BookRow) -> None:
        super().__init__(f"“{book.title}” has this ISBN.")
        self.book = book


class GenreNameTaken(UserError):
    code = "GENRE_NAME_TAKEN"

    def __init__(self, genre: GenreRow) -> None:
        super().__init__(f"There is a genre “{genre.name}” already.")
        self.genre = genre


class GenreNotEmpty(UserError):
    code = "GENRE_NOT_EMPTY"

    def __init__(self, genre: GenreRow) -> None:
        super().__init__(f"Books are still in “{genre.name}”. Move them first.")
        self.genre = genre


class ProtectedAccount(UserError):
    code = "ADMIN_PROTECTED_ACCOUNT"

    def __init__(self, user: UserRow) -> None:
        super().__init__("Administrators' accounts cannot be deactivated.")
        self.user = user


class Overloaded(Exception):
    """The shop cannot answer just now. Nothing was decided; try again in `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Try again in {retry_after} seconds.")
        self.retry_after = retry_after


class RateLimited(Exception):
    """It was tried too often. Nothing was looked at; try again in `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Try again in {retry_after} seconds.")
        self.retry_after = retry_after
