"""Pre-booking: waiting for a book to come back."""

import datetime as dt
import uuid
from typing import Annotated, Any

import strawberry
from strawberry import UNSET

from domain import prebookings
from graph.catalog import Book
from graph.context import Info
from graph.errors import AlreadyPrebooked, BookInStock, NotFound
from graph.fields import column, input_shape, mutation, outcomes, shape, vocabulary
from graph.gates import signed_in
from graph.ids import key_of, own_id
from graph.nodes import Node, refetched
from graph.pagination import Connection, ListKind, argument, connection_type, page_of
from graph.questions import BOOK, loaded, there
from persistence import prebookings as rows
from persistence.catalog import Book as BookRow
from persistence.prebookings import Prebooking as PrebookingRow
from persistence.prebookings import PrebookingStatus as Statuses

PrebookingStatus = vocabulary(
    Statuses,
    "How a pre-booking stands.",
    WAITING="Waiting for the book to come back.",
    NOTIFIED="The book came back and the customer was told.",
    CANCELLED="The customer left the list.",
)
StatusesArgument = Annotated[list[Statuses] | None, argument("Only pre-bookings with one of these statuses.")]

PrebookingConnection = connection_type(
    "Prebooking", Annotated["Prebooking", strawberry.lazy("graph.prebookings")], "pre-bookings"
)


@shape(of=PrebookingRow)
class Prebooking(Node):
    """A customer's place on the waiting list of a book."""

    id: strawberry.ID = own_id("Prebooking", "The pre-booking's global ID.")
    status: Statuses = column("How it stands.")
    created_at: dt.datetime = column("When they joined the list.")
    notified_at: dt.datetime | None = column("When they were told that the book is back.")
    cancelled_at: dt.datetime | None = column("When they left the list.")

    @loaded(BOOK, Book)
    def book(book: BookRow | None) -> BookRow:
        """The book they wait for."""
        return there(book)


@refetched("Prebooking")
async def find_prebooking(info: Info, key: Any) -> PrebookingRow | None:
    viewer = await info.context.viewer()
    found = await info.context.loaders.prebooking.load(key) if viewer else None
    return found if viewer and found and (found.user_id == viewer.user.id or viewer.user.role == "ADMIN") else None


async def prebookings_of(
    info: Info,
    user_id: uuid.UUID,
    statuses: list[Statuses] | None,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[PrebookingRow]:
    given = statuses is not None and statuses is not UNSET
    chosen = tuple(sorted({status.value for status in statuses})) if given and statuses is not None else None
    kind = ListKind(f"prebookings {user_id} {chosen}", dt.datetime)
    page = page_of(kind, first, after, last, before)
    slice_ = await rows.list_prebookings(info.context.reading, user_id, chosen, page)
    return Connection(kind, slice_, lambda: rows.count_prebookings(info.context.reading, user_id, chosen))


@input_shape()
class PrebookInput:
    """A book to wait for."""

    book_id: strawberry.ID = column("The ID of the book.")


@input_shape()
class CancelPrebookingInput:
    """A pre-booking to cancel."""

    prebooking_id: strawberry.ID = column("The ID of the pre-booking.")


@shape()
class Prebooked:
    """The caller is on the waiting list."""

    prebooking: PrebookingRow = column("The pre-booking.", Prebooking)


@shape()
class PrebookingCancelled:
    """The caller is off the waiting list."""

    prebooking: PrebookingRow = column("The pre-booking.", Prebooking)


PrebookResult = Annotated[Prebooked | BookInStock | AlreadyPrebooked | NotFound, outcomes("PrebookResult", "prebook")]
CancelPrebookingResult = Annotated[
    PrebookingCancelled | NotFound, outcomes("CancelPrebookingResult", "cancelPrebooking")
]


@mutation(signed_in)
async def prebook(info: Info, input: Annotated[PrebookInput, argument("The book.")]) -> PrebookResult | None:
    """Joins the waiting list of a book that is out of stock, to hear by email when it is back."""
    customer = (await info.context.signed_in()).user.id
    return Prebooked(prebooking=await prebookings.prebook(info.context.shop, customer, key_of("Book", input.book_id)))


@mutation(signed_in)
async def cancel_prebooking(
    info: Info, input: Annotated[CancelPrebookingInput, argument("The pre-booking.")]
) -> CancelPrebookingResult | None:
    """Leaves the waiting list. Does nothing if the pre-booking was cancelled before."""
    customer = (await info.context.signed_in()).user.id
    prebooking_id = key_of("Prebooking", input.prebooking_id)
    return PrebookingCancelled(
        prebooking=await prebookings.cancel_prebooking(info.context.shop, customer, prebooking_id)
    )
