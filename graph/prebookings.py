"""Declares pre-bookings, the waiting lists of books that are out of stock."""

import datetime as dt
import uuid
from typing import Annotated, Any

import strawberry

from domain import prebookings
from domain.errors import AlreadyPrebooked, BookInStock, NotFound
from graph.catalog import Book
from graph.context import Info
from graph.kit.batch_fields import batch_field, require_row
from graph.kit.declare import argument, attribute, enum_type, input_type, none_if_unset, object_type
from graph.kit.ids import global_id_field, parse_key
from graph.kit.mutations import mutation
from graph.kit.nodes import Node, node_resolver
from graph.kit.pagination import Connection, CursorCodec, connection_type, parse_page
from graph.kit.permissions import signed_in
from graph.loaders import BOOK
from persistence import prebookings as rows
from persistence.catalog import BookRow
from persistence.prebookings import PrebookingRow, PrebookingStatus

enum_type(
    PrebookingStatus,
    "The status of a pre-booking.",
    WAITING="The customer waits for the book to be in stock again.",
    NOTIFIED="The book was in stock again and the customer was notified.",
    CANCELLED="The customer left the list.",
)
PrebookingStatusesArgument = Annotated[
    list[PrebookingStatus] | None, argument("Only pre-bookings with one of these statuses.")
]

PrebookingConnection = connection_type(
    "Prebooking", Annotated["Prebooking", strawberry.lazy("graph.prebookings")], "pre-bookings"
)


@object_type(source_type=PrebookingRow)
class Prebooking(Node):
    """A customer's place on the waiting list of a book."""

    id: strawberry.ID = global_id_field("Prebooking", "The pre-booking's global ID.")
    status: PrebookingStatus = attribute("Its status.")
    created_at: dt.datetime = attribute("When they joined the list.")
    notified_at: dt.datetime | None = attribute("When they were notified that the book is in stock again.")
    cancelled_at: dt.datetime | None = attribute("When they left the list.")

    @batch_field(BOOK, Book)
    def book(book: BookRow | None) -> BookRow:
        """The book they wait for."""
        return require_row(book)


@node_resolver("Prebooking")
async def find_prebooking(info: Info, key: Any) -> PrebookingRow | None:
    """Find a pre-booking for `node`."""
    return await info.context.load_owned(info.context.loaders.prebooking, key)


async def resolve_prebookings(
    info: Info,
    user_id: uuid.UUID,
    statuses: list[PrebookingStatus] | None,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[PrebookingRow]:
    """Resolve a page of a user's pre-bookings.

    Raises:
        BadUserInput: An argument is not valid.
    """
    statuses = none_if_unset(statuses)
    status_values = None if statuses is None else tuple(sorted({status.value for status in statuses}))
    codec = CursorCodec(f"prebookings {user_id} {status_values}", dt.datetime)
    page = parse_page(codec, first, after, last, before)
    page_result = await rows.list_prebookings(info.context.read_session, user_id, status_values, page)
    return Connection(
        codec, page_result, lambda: rows.count_prebookings(info.context.read_session, user_id, status_values)
    )


@input_type()
class PrebookInput:
    """A book to wait for."""

    book_id: strawberry.ID = attribute("The ID of the book.")


@input_type()
class CancelPrebookingInput:
    """A pre-booking to cancel."""

    prebooking_id: strawberry.ID = attribute("The ID of the pre-booking.")


@object_type()
class Prebooked:
    """The caller is on the waiting list."""

    prebooking: PrebookingRow = attribute("The pre-booking.", Prebooking)


@object_type()
class PrebookingCancelled:
    """The caller is off the waiting list."""

    prebooking: PrebookingRow = attribute("The pre-booking.", Prebooking)


@mutation(signed_in, Prebooked, errors=(BookInStock, AlreadyPrebooked, NotFound))
async def prebook(info: Info, input: Annotated[PrebookInput, argument("The book.")]) -> Prebooked:
    """Joins the waiting list of a book that is out of stock, to be notified by email when it is in stock again."""
    user_id = (await info.context.require_viewer()).user.id
    return Prebooked(prebooking=await prebookings.prebook(info.context.shop, user_id, parse_key("Book", input.book_id)))


@mutation(signed_in, PrebookingCancelled, errors=(NotFound,))
async def cancel_prebooking(
    info: Info, input: Annotated[CancelPrebookingInput, argument("The pre-booking.")]
) -> PrebookingCancelled:
    """Leaves the waiting list. Does nothing if the pre-booking is not waiting any more."""
    user_id = (await info.context.require_viewer()).user.id
    prebooking_id = parse_key("Prebooking", input.prebooking_id)
    return PrebookingCancelled(
        prebooking=await prebookings.cancel_prebooking(info.context.shop, user_id, prebooking_id)
    )
