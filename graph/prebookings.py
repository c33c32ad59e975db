"""Pre-booking: waiting for a book to come back."""

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
    "How a pre-booking stands.",
    WAITING="Waiting for the book to come back.",
    NOTIFIED="The book came back and the customer was told.",
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
    status: PrebookingStatus = attribute("How it stands.")
    created_at: dt.datetime = attribute("When they joined the list.")
    notified_at: dt.datetime | None = attribute("When they were told that the book is back.")
    cancelled_at: dt.datetime | None = attribute("When they left the list.")

    @batch_field(BOOK, Book)
    def book(book: BookRow | None) -> BookRow:
        """The book they wait for."""
        return require_row(book)


@node_resolver("Prebooking")
async def find_prebooking(info: Info, key: Any) -> PrebookingRow | None:
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
    """Joins the waiting list of a book that is out of stock, to hear by email when it is back."""
    user_id = (await info.context.require_viewer()).user.id
    return Prebooked(prebooking=await prebookings.prebook(info.context.shop, user_id, parse_key("Book", input.book_id)))


@mutation(signed_in, PrebookingCancelled, errors=(NotFound,))
async def cancel_prebooking(
    info: Info, input: Annotated[CancelPrebookingInput, argument("The pre-booking.")]
) -> PrebookingCancelled:
    """Leaves the waiting list. Does nothing if the pre-booking was cancelled before."""
    user_id = (await info.context.require_viewer()).user.id
    prebooking_id = parse_key("Prebooking", input.prebooking_id)
    return PrebookingCancelled(
        prebooking=await prebookings.cancel_prebooking(info.context.shop, user_id, prebooking_id)
    )
