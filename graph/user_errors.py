"""Declares the object type of each user error of the domain, and the codes of all errors."""

from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, TypeVar, dataclass_transform

import strawberry

from domain import errors
from domain.errors import Constraint, FieldError, Shortage
from graph.context import Info
from graph.kit.declare import attribute, docstring, enum_type, field, object_type
from graph.kit.ids import to_global_id
from graph.kit.money import Money
from graph.kit.mutations import ERROR_TYPES
from persistence import catalog as rows
from persistence.accounts import UserRow
from persistence.cart import CartRow
from persistence.orders import OrderRow
from persistence.prebookings import PrebookingRow
from persistence.reviews import ReviewRow

T = TypeVar("T")

Book: Any = Annotated["Book", strawberry.lazy("graph.catalog")]
Genre: Any = Annotated["Genre", strawberry.lazy("graph.catalog")]
User: Any = Annotated["User", strawberry.lazy("graph.accounts")]
Cart: Any = Annotated["Cart", strawberry.lazy("graph.cart")]
Order: Any = Annotated["Order", strawberry.lazy("graph.orders")]
Prebooking: Any = Annotated["Prebooking", strawberry.lazy("graph.prebookings")]
Review: Any = Annotated["Review", strawberry.lazy("graph.reviews")]


CODES = {
    "INVALID_INPUT": "Result: some of the input is not acceptable.",
    "NOT_FOUND": "Result: the input names something that does not exist, or not for this caller.",
    "AUTH_EMAIL_TAKEN": "Result: an account with this email exists.",
    "AUTH_INVALID_CREDENTIALS": (
        "Result: the email and password do not match an account, or the current password is wrong."
    ),
    "AUTH_TOKEN_INVALID": "Result: the token or code is unknown, used or expired.",
    "ORDER_INSUFFICIENT_STOCK": "Result: fewer copies are left than were asked for.",
    "ORDER_CART_EMPTY": "Result: there is nothing in the cart to check out.",
    "ORDER_PRICE_CHANGED": "Result: the total is no longer the one the customer agreed to.",
    "ORDER_PAYMENT_FAILED": "Result: the payment was declined.",
    "ORDER_NOT_CANCELLABLE": "Result: the status of the order does not allow cancelling it.",
    "ORDER_NOT_SHIPPABLE": "Result: the status of the order does not allow shipping it.",
    "PREBOOK_BOOK_IN_STOCK": "Result: the book is in stock, so there is nothing to wait for.",
    "PREBOOK_DUPLICATE": "Result: the caller is on the waiting list already.",
    "REVIEW_PURCHASE_REQUIRED": "Result: only those who bought the book may review it.",
    "REVIEW_DUPLICATE": "Result: the caller has reviewed the book before.",
    "BOOK_ISBN_TAKEN": "Result: another book has this ISBN.",
    "GENRE_NAME_TAKEN": "Result: another genre has this name.",
    "GENRE_NOT_EMPTY": "Result: books are still in the genre.",
    "ADMIN_PROTECTED_ACCOUNT": "Result: administrators' accounts cannot be deactivated.",
    "AUTH_ACCOUNT_DEACTIVATED": "Result or top-level: the account has been deactivated.",
    "UNAUTHENTICATED": "Top-level: the field needs a signed-in caller, or the access token is not valid.",
    "AUTH_TOKEN_EXPIRED": "Top-level: the access token has expired; refresh the session and try again.",
    "FORBIDDEN": "Top-level: the caller is signed in but may not do this.",
    "RATE_LIMITED": "Top-level: too many requests; `extensions.retryAfter` holds the seconds to wait.",
    "BAD_USER_INPUT": "Top-level: an argument is not valid, such as a malformed ID or a page size over the limit.",
    "BAD_REQUEST": (
        "Top-level: the endpoint does not accept the HTTP request, because of its method, media type, size or shape."
    ),
    "TIMEOUT": "Top-level: execution took longer than the server allows; select less, or try again.",
    "GRAPHQL_PARSE_FAILED": "Top-level: the document is not GraphQL.",
    "GRAPHQL_VALIDATION_FAILED": "Top-level: the document is not valid against this schema.",
    "QUERY_TOO_COMPLEX": "Top-level: the document is too large, too deep or too expensive.",
    "PERSISTED_QUERY_NOT_FOUND": "Top-level: the server accepts trusted documents only, and this one is not among them.",
    "SERVICE_UNAVAILABLE": (
        "Top-level: the service is unavailable for now; `extensions.retryAfter` holds the seconds to wait."
    ),
    "INTERNAL_SERVER_ERROR": "Top-level: the server failed; `extensions.requestId` finds the cause in its log.",
}
_make_enum: Any = Enum  # mypy expects literal names
ErrorCode: Any = enum_type(
    _make_enum("ErrorCode", {name: name for name in CODES}),
    "Every way a request can fail. Codes come in two places: in the `code` of a `UserError`, and in `extensions.code` "
    "of a top-level error. Codes may be added; treat one you do not know as `INTERNAL_SERVER_ERROR`.",
    **CODES,
)

InputRule = enum_type(
    Constraint,
    "A rule that a field of an input can break.",
    REQUIRED="It must be given and must not be blank.",
    TOO_SHORT="It must be longer, or a list must have more items.",
    TOO_LONG="It must be shorter, or a list must have fewer items.",
    TOO_SMALL="It must be a larger number or a later date.",
    TOO_LARGE="It must be a smaller number or an earlier date.",
    MALFORMED="It must have the right form, such as that of an email address or an ISBN.",
    NOT_ALLOWED="The value is not allowed; the message says why.",
    name="InputRule",
)


@strawberry.interface(
    description="A problem that the user can solve, returned as the result of a mutation. Its type says what went wrong and "
    "has the fields that help to solve it."
)
class UserError:
    """The interface of all user errors: each reads the exception of the domain."""

    error: strawberry.Private[errors.UserError]

    @field(ErrorCode)
    def code(self: "UserError") -> str:
        """The problem as a code, for programs: to branch on, to translate, to count."""
        return self.error.code

    @field()
    def message(self: "UserError") -> str:
        """The problem in an English sentence to show to the user."""
        return self.error.message


@dataclass_transform(kw_only_default=True, field_specifiers=(attribute,))
def user_error_type(error_type: type[errors.UserError]) -> Callable[[type[T]], type[T]]:
    """Declare the object type of a user error of the domain."""

    def declare(cls: type[T]) -> type[T]:
        ERROR_TYPES[error_type] = graphql_type = strawberry.type(cls, description=docstring(cls))
        return graphql_type

    return declare


@object_type(source_type=FieldError)
class InputIssue:
    """What is wrong with one field of an input."""

    path: list[str] = attribute('The path of the field inside `input`, such as `["shippingAddress", "city"]`.')
    rule: Constraint = attribute("The rule it breaks.", InputRule)
    message: str = attribute("The issue in an English sentence.")


@object_type(source_type=Shortage)
class StockShortage:
    """A book of which fewer copies are left than were asked for."""

    book: rows.BookRow = attribute("The book.", Book)
    requested: int = attribute("The number of copies asked for, with those already in the cart.")
    available: int = attribute("The number of copies left, perhaps none.")


@user_error_type(errors.InvalidInput)
class InvalidInput(UserError):
    """Some of the input is not acceptable."""

    error: strawberry.Private[errors.InvalidInput]

    @field(list[InputIssue])
    def issues(self: "InvalidInput") -> list[FieldError]:
        """All issues, to show next to the form's fields."""
        return self.error.issues


@user_error_type(errors.NotFound)
class NotFound(UserError):
    """What the input names does not exist, or not for this caller."""

    error: strawberry.Private[errors.NotFound]

    @field()
    def id(self: "NotFound") -> strawberry.ID:
        """The ID that was not found."""
        return to_global_id(self.error.entity, self.error.entity_id)


@user_error_type(errors.EmailTaken)
class EmailTaken(UserError):
    """An account with this email exists: offer to log in or to reset the password."""


@user_error_type(errors.InvalidCredentials)
class InvalidCredentials(UserError):
    """The credentials are wrong. For security the error does not say whether the email or the password is."""


@user_error_type(errors.AccountDeactivated)
class AccountDeactivated(UserError):
    """The credentials are right but the account has been deactivated."""


@user_error_type(errors.InvalidToken)
class InvalidToken(UserError):
    """The token or code is unknown, used or expired: start again."""


@user_error_type(errors.InsufficientStock)
class InsufficientStock(UserError):
    """Fewer copies are left than were asked for. Nothing has changed."""

    error: strawberry.Private[errors.InsufficientStock]

    @field(list[StockShortage])
    def shortages(self: "InsufficientStock") -> list[Shortage]:
        """Every book that is short."""
        return self.error.shortages


@user_error_type(errors.CartEmpty)
class CartEmpty(UserError):
    """There is nothing in the cart to check out."""


@user_error_type(errors.PriceChanged)
class PriceChanged(UserError):
    """The total is not the one the customer was shown. Nothing was bought: show the cart again."""

    error: strawberry.Private[errors.PriceChanged]

    @field()
    def expected_total(self: "PriceChanged", info: Info) -> Money:
        """The total the customer was shown."""
        return Money(amount=self.error.expected_total, currency=info.context.shop.policy.currency)

    @field(Cart)
    def cart(self: "PriceChanged") -> CartRow:
        """The cart at today's prices."""
        return CartRow(self.error.user_id)


@user_error_type(errors.PaymentFailed)
class PaymentFailed(UserError):
    """The payment was declined. The books are back in the cart: offer another way to pay, with a new key."""

    error: strawberry.Private[errors.PaymentFailed]

    @field(Order)
    def order(self: "PaymentFailed") -> OrderRow:
        """The record of the attempt, with the status `PAYMENT_FAILED`."""
        return self.error.order


@user_error_type(errors.OrderNotCancellable)
class OrderNotCancellable(UserError):
    """The status of the order does not allow cancelling it."""

    error: strawberry.Private[errors.OrderNotCancellable]

    @field(Order)
    def order(self: "OrderNotCancellable") -> OrderRow:
        """The order, with its status."""
        return self.error.order


@user_error_type(errors.OrderNotShippable)
class OrderNotShippable(UserError):
    """The status of the order does not allow shipping it."""

    error: strawberry.Private[errors.OrderNotShippable]

    @field(Order)
    def order(self: "OrderNotShippable") -> OrderRow:
        """The order, with its status."""
        return self.error.order


@user_error_type(errors.BookInStock)
class BookInStock(UserError):
    """The book is in stock, so there is nothing to wait for: offer the cart."""

    error: strawberry.Private[errors.BookInStock]

    @field(Book)
    def book(self: "BookInStock") -> rows.BookRow:
        """The book."""
        return self.error.book


@user_error_type(errors.AlreadyPrebooked)
class AlreadyPrebooked(UserError):
    """The caller is on the waiting list already."""

    error: strawberry.Private[errors.AlreadyPrebooked]

    @field(Prebooking)
    def prebooking(self: "AlreadyPrebooked") -> PrebookingRow:
        """The pre-booking they have."""
        return self.error.prebooking


@user_error_type(errors.PurchaseRequired)
class PurchaseRequired(UserError):
    """Only those who bought the book may review it."""

    error: strawberry.Private[errors.PurchaseRequired]

    @field(Book)
    def book(self: "PurchaseRequired") -> rows.BookRow:
        """The book."""
        return self.error.book


@user_error_type(errors.DuplicateReview)
class DuplicateReview(UserError):
    """The caller has reviewed the book before: offer to edit that review."""

    error: strawberry.Private[errors.DuplicateReview]

    @field(Review)
    def existing_review(self: "DuplicateReview") -> ReviewRow:
        """The review they wrote, to open in the editor."""
        return self.error.existing_review


@user_error_type(errors.IsbnTaken)
class IsbnTaken(UserError):
    """Another book has this ISBN."""

    error: strawberry.Private[errors.IsbnTaken]

    @field(Book)
    def book(self: "IsbnTaken") -> rows.BookRow:
        """That book."""
        return self.error.book


@user_error_type(errors.GenreNameTaken)
class GenreNameTaken(UserError):
    """Another genre has this name, letter case aside."""

    error: strawberry.Private[errors.GenreNameTaken]

    @field(Genre)
    def genre(self: "GenreNameTaken") -> rows.GenreRow:
        """That genre."""
        return self.error.genre


@user_error_type(errors.GenreNotEmpty)
class GenreNotEmpty(UserError):
    """Books are still in the genre: move them first."""

    error: strawberry.Private[errors.GenreNotEmpty]

    @field(Genre)
    def genre(self: "GenreNotEmpty") -> rows.GenreRow:
        """The genre, with its books."""
        return self.error.genre


@user_error_type(errors.ProtectedAccount)
class ProtectedAccount(UserError):
    """Administrators' accounts cannot be deactivated."""

    error: strawberry.Private[errors.ProtectedAccount]

    @field(User)
    def user(self: "ProtectedAccount") -> UserRow:
        """The administrator."""
        return self.error.user
