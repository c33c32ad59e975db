"""Posting: what becomes of a letter, whatever has become of what it tells and whoever takes it."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from email.message import EmailMessage

import asyncpg
import pytest

from domain import identities
from domain.contents import Contents
from domain.identities import Profile
from domain.posting import LEASE, Desk, InHand, Patience, PostDelayed, PostRefused, begin_again, post
from domain.resets import request_password_reset
from domain.shop import Shop
from domain.tokens import Tokens
from graph.ids import global_id
from persistence import letters
from persistence.accounts import set_user
from persistence.identities import Provider
from persistence.letters import LetterKind
from server.post.smtp import FAREWELL_TIMEOUT, WHOLE_TIMEOUT
from tests.client import Visitor
from tests.clock import let_pass
from tests.customers import add_customer
from tests.factories import Member, add_administrator, add_book, add_member, book_id
from tests.letters import let_leases_run_out
from tests.locks import holding, until_waiting
from tests.stockroom import DELETE, STOCK

PREBOOK = "mutation ($id: ID!) { prebook(input: {bookId: $id}) { __typename } }"


@dataclass(slots=True)
class Office:
    """Takes letters, unless it is told what to say instead."""

    says: BaseException | None = None
    taken: list[EmailMessage] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Letters that are handed in wait until it is opened."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def send(self, message: EmailMessage) -> None:
        self.begun.set()
        await self.gate.wait()
        if self.says is not None:
            raise self.says
        self.taken.append(message)

    @property
    def desk(self) -> Desk:
        return Desk(_note, self)


def _note(contents: Contents) -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["To"] = contents.letter.kind, contents.reader.email
    return message


Fate = tuple[str, int, str | None]


async def fate(postgres: asyncpg.Connection) -> Fate:
    """What became of the only letter: status, attempts, problem."""
    [row] = await postgres.fetch("SELECT status, attempts, problem FROM letters")
    return row["status"], row["attempts"], row["problem"]


async def the_letter(postgres: asyncpg.Connection) -> uuid.UUID:
    [row] = await postgres.fetch("SELECT id FROM letters")
    return uuid.UUID(str(row["id"]))


# ── Letters of each kind, written as the shop writes them ─────────────────────────────────


async def order(shop: Shop, visitor: Visitor) -> Member:
    customer = await add_customer(visitor, shop, (await add_book(shop), 1))
    await customer.buys()
    return customer.member


async def back(shop: Shop, visitor: Visitor) -> Member:
    book, reader = await add_book(shop, stock=0), await add_member(shop)
    await visitor.signed_in(reader.token).ask(PREBOOK, id=book_id(book))
    await visitor.signed_in((await add_administrator(shop)).token).ask(STOCK, id=book_id(book))
    return reader


async def verification(shop: Shop, visitor: Visitor) -> Member:
    reader = await add_member(shop)
    await visitor.signed_in(reader.token).ask("mutation { requestEmailVerification { __typename } }")
    return reader


async def reset(shop: Shop, visitor: Visitor) -> Member:
    reader = await add_member(shop)
    await request_password_reset(shop, reader.user.email)
    return reader


async def link(shop: Shop, visitor: Visitor) -> Member:
    reader = await add_member(shop, email_verified_at=dt.datetime.now(dt.UTC))
    await identities.code_for(shop, Profile(Provider.GITHUB, "42", reader.user.email, True, "Ann"))
    return reader


Write = Callable[[Shop, Visitor], Awaitable[Member]]
ALL: list[Write] = [order, back, verification, reset, link]


@pytest.mark.parametrize("write", ALL)
async def test_each_kind_is_sent_and_only_once(
    write: Write, shop: Shop, visitor: Visitor, postgres: asyncpg.Connection
) -> None:
    reader, office = await write(shop, visitor), Office()
    for _ in range(3):
        assert await post(shop, office.desk, await the_letter(postgres)) is None
    assert [message["To"] for message in office.taken] == [reader.user.email]
    assert await fate(postgres) == ("SENT", 1, None)


@pytest.mark.parametrize("write", ALL)
async def test_mail_that_is_switched_off_is_suppressed(
    write: Write, shop: Shop, visitor: Visitor, postgres: asyncpg.Connection
) -> None:
    await write(shop, visitor)
    assert await post(shop, Desk(_note, None), await the_letter(postgres)) is None
    assert await fate(postgres) == ("SUPPRESSED", 1, None)
    office = Office()
    await post(shop, office.desk, await the_letter(postgres))
    assert office.taken == []


@pytest.mark.parametrize("write", ALL)
async def test_who_may_no_longer_come_in_hears_of_their_orders_only(
    write: Write, shop: Shop, visitor: Visitor, postgres: asyncpg.Connection
) -> None:
    reader, office = await write(shop, visitor), Office()
    async with shop.database.transaction() as tx:
        await set_user(tx, reader.id, is_active=False)
    await post(shop, office.desk, await the_letter(postgres))
    expected = ("SENT", 1, None) if write is order else ("OBSOLETE", 1, "The account is deactivated.")
    assert (await fate(postgres), len(office.taken)) == (expected, int(write is order))


@pytest.mark.parametrize(
    ("write", "change", "why"),
    [
        (verification, "UPDATE one_time_tokens SET used_at = now()", "The link would no longer work."),
        (verification, "UPDATE one_time_tokens SET expires_at = now()", "The link would no longer work."),
        (reset, "UPDATE one_time_tokens SET used_at = now()", "The link would no longer work."),
        (reset, "DELETE FROM one_time_tokens", "The link would no longer work."),
        (link, "DELETE FROM identities", "The provider is not linked any more."),
    ],
)
async def test_what_is_no_longer_so_is_not_told(
    write: Write, change: str, why: str, shop: Shop, visitor: Visitor, postgres: asyncpg.Connection
) -> None:
    await write(shop, visitor)
    await postgres.execute(change)
    office = Office()
    assert await post(shop, office.desk, await the_letter(postgres)) is None
    assert (await fate(postgres), office.taken) == (("OBSOLETE", 1, why), [])


async def test_a_book_that_has_left_is_not_announced(
    shop: Shop, visitor: Visitor, postgres: asyncpg.Connection
) -> None:
    await back(shop, visitor)
    [row] = await postgres.fetch("SELECT book_id FROM prebookings")
    administrator = visitor.signed_in((await add_administrator(shop)).token)
    await administrator.ask(DELETE, id=global_id("Book", uuid.UUID(str(row["book_id"]))))
    office = Office()
    await post(shop, office.desk, await the_letter(postgres))
    assert (await fate(postgres))[0] == "OBSOLETE"
    assert office.taken == []


async def test_a_link_waits_for_the_secret_that_it_was_made_with(
    shop: Shop, visitor: Visitor, postgres: asyncpg.Connection
) -> None:
    await reset(shop, visitor)
    another = replace(shop, tokens=Tokens(["another-secret-of-more-than-32-bytes"], "http://localhost:8000"))
    office = Office()
    assert await post(another, office.desk, await the_letter(postgres)) is not None
    missing = "SECRET_KEY is another than the one that the link was made with."
    assert (await fate(postgres), office.taken) == (("QUEUED", 1, missing), [])

    assert await post(shop, office.desk, await the_letter(postgres)) is None
    assert ((await fate(postgres))[0], len(office.taken)) == ("SENT", 1)


async def test_a_letter_that_was_never_written_is_nothing(shop: Shop) -> None:
    office = Office()
    assert await post(shop, office.desk, uuid.uuid4()) is None
    assert office.taken == []


# ── The office, and our own faults ────────────────────────────────────────────────────────


async def test_a_refusal_is_for_good(shop: Shop, visitor: Visitor, postgres: asyncpg.Connection) -> None:
    await order(shop, visitor)
    office = Office(PostRefused("550 5.1.1 Nobody\r\n\0here"))
    assert await post(shop, office.desk, await the_letter(postgres)) is None
    assert await fate(postgres) == ("FAILED", 1, "550 5.1.1 Nobody here")

    office.says = None
    assert await begin_again(shop, [uuid.uuid4()]) == 0
    assert await begin_again(shop, [await the_letter(postgres)]) == 1
    assert await fate(postgres) == ("QUEUED", 0, None)
    await post(shop, office.desk, await the_letter(postgres))
    assert (await fate(postgres), len(office.taken)) == (("SENT", 1, None), 1)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (PostDelayed("451 Not now"), "451 Not now"),
        (ConnectionRefusedError("no"), "no"),
        (TimeoutError(), "TimeoutError"),
        (ZeroDivisionError("ours"), "ours"),
        (PostDelayed("x" * 10_000), "x" * 500),
    ],
)
async def test_anything_else_is_tried_again(
    error: Exception, problem: str, shop: Shop, visitor: Visitor, postgres: asyncpg.Connection
) -> None:
    await order(shop, visitor)
    office = Office(error)
    delays = [await post(shop, office.desk, await the_letter(postgres)) for _ in range(3)]
    assert delays == [dt.timedelta(seconds=seconds) for seconds in (5, 10, 20)]
    assert await fate(postgres) == ("QUEUED", 3, problem)

    office.says = None
    assert await post(shop, office.desk, await the_letter(postgres)) is None
    assert await fate(postgres) == ("SENT", 4, None)


async def test_a_fault_in_a_template_loses_no_letter(
    shop: Shop, visitor: Visitor, postgres: asyncpg.Connection
) -> None:
    def torn(_: Contents) -> EmailMessage:
        raise KeyError("facts")

    await order(shop, visitor)
    assert await post(shop, Desk(torn, Office()), await the_letter(postgres)) is not None
    assert await fate(postgres) == ("QUEUED", 1, "'facts'")


# ── Several posters ───────────────────────────────────────────────────────────────────────

THE_LETTER = "SELECT FROM letters FOR UPDATE"
SENT = ("ORDER_CONFIRMED", "SENT")


async def sending(shop: Shop, office: Office, letter_id: uuid.UUID) -> "asyncio.Task[dt.timedelta | None]":
    """Posts it to an office that has not answered yet."""
    office.gate.clear()
    posting = asyncio.create_task(post(shop, office.desk, letter_id))
    await office.begun.wait()
    return posting


async def test_of_two_at_the_same_moment_one_sends(
    shop: Shop, visitor: Visitor, postgres: asyncpg.Connection, database_url: str
) -> None:
    await order(shop, visitor)
    office, letter_id = Office(), await the_letter(postgres)
    async with holding(database_url, THE_LETTER):
        both = [asyncio.create_task(post(shop, office.desk, letter_id)) for _ in range(2)]
        await until_waiting(postgres, 2)
        office.gate.clear()
    _, missed = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    office.gate.set()
    results = await asyncio.gather(*both, return_exceptions=True)
    assert len(missed) == 1
    assert sorted(type(result).__name__ for result in results) == ["InHand", "NoneType"]
    assert (await fate(postgres), len(office.taken)) == (("SENT", 1, None), 1)


async def test_what_is_taken_is_left_alone_until_the_lease_has_run_out(
    shop: Shop, visitor: Visitor, postgres: asyncpg.Connection
) -> None:
    await order(shop, visitor)
    office, letter_id = Office(), await the_letter(postgres)
    async with shop.database.transaction() as tx:
        assert await letters.take_letter(tx, letter_id, LEASE)
    with pytest.raises(InHand):
        await post(shop, office.desk, letter_id)
    await let_leases_run_out(postgres)
    with pytest.raises(InHand):
        await post(shop, office.desk, letter_id, takes_over=False)
    assert (await fate(postgres), office.taken) == (("QUEUED", 0, None), [])

    assert await post(shop, office.desk, letter_id) is None
    assert (await fate(postgres), len(office.taken)) == (("SENT", 1, None), 1)


async def test_what_two_have_sent_is_counted_once(shop: Shop, visitor: Visitor, postgres: asyncpg.Connection) -> None:
    """Its lease ran out before the first was answered."""
    await order(shop, visitor)
    slow, quick, letter_id = Office(), Office(), await the_letter(postgres)
    before = shop.tally.letters[SENT]
    first = await sending(shop, slow, letter_id)
    await let_leases_run_out(postgres)
    assert await post(shop, quick.desk, letter_id) is None
    slow.gate.set()
    assert await first is None
    assert (len(slow.taken), len(quick.taken)) == (1, 1)
    assert (await fate(postgres), shop.tally.letters[SENT]) == (("SENT", 1, None), before + 1)


@pytest.mark.parametrize("says", [PostDelayed("451 Not now"), PostRefused("550 Nobody"), asyncio.CancelledError()])
async def test_who_comes_late_takes_nothing_from_whoever_took_over(
    says: BaseException, shop: Shop, visitor: Visitor, postgres: asyncpg.Connection
) -> None:
    await order(shop, visitor)
    slow, quick, letter_id = Office(says), Office(), await the_letter(postgres)
    first = await sending(shop, slow, letter_id)
    await let_leases_run_out(postgres)
    second = await sending(shop, quick, letter_id)
    taken = await postgres.fetchval("SELECT taken_until FROM letters")
    slow.gate.set()
    await asyncio.wait({first})
    assert await postgres.fetchval("SELECT taken_until FROM letters") == taken is not None
    assert await fate(postgres) == ("QUEUED", 0, None)
    quick.gate.set()
    assert await second is None
    assert await fate(postgres) == ("SENT", 1, None)


async def test_who_slept_through_the_lease_does_not_begin_to_send(
    shop: Shop, visitor: Visitor, postgres: asyncpg.Connection
) -> None:
    def dozing(contents: Contents) -> EmailMessage:
        let_pass(LEASE.total_seconds())
        return _note(contents)

    await order(shop, visitor)
    office = Office()
    office.gate.clear()
    assert await post(shop, Desk(dozing, office), await the_letter(postgres)) is not None
    assert (await fate(postgres), office.taken) == (("QUEUED", 1, "TimeoutError"), [])


async def test_what_is_put_off_or_given_back_is_free_at_once(
    shop: Shop, visitor: Visitor, postgres: asyncpg.Connection
) -> None:
    await order(shop, visitor)
    office, letter_id = Office(PostDelayed("451 Not now")), await the_letter(postgres)
    await post(shop, office.desk, letter_id)
    assert await postgres.fetchval("SELECT taken_until FROM letters") is None
    given_back = await sending(shop, office, letter_id)
    given_back.cancel()
    await asyncio.wait({given_back})
    assert given_back.cancelled()
    assert await postgres.fetchval("SELECT taken_until FROM letters") is None
    assert await fate(postgres) == ("QUEUED", 1, "451 Not now")


def test_a_lease_leaves_time_to_note_what_was_sent() -> None:
    assert dt.timedelta(seconds=WHOLE_TIMEOUT + FAREWELL_TIMEOUT) < LEASE / 2


# ── How long, and how often ───────────────────────────────────────────────────────────────


async def test_patience_ends_after_a_day_and_a_half() -> None:
    patience = Patience()
    delays: list[dt.timedelta] = []
    while (delay := patience.delay_after(len(delays) + 1)) is not None:
        delays.append(delay)
    assert delays[0] == dt.timedelta(seconds=5)
    assert delays == sorted(delays)
    assert delays[-1] == dt.timedelta(hours=6)
    assert dt.timedelta(hours=30) < sum(delays, dt.timedelta()) < dt.timedelta(hours=42)


@pytest.mark.parametrize("kind", LetterKind)
async def test_one_of_each_kind_about_one_thing_to_one_reader(
    kind: LetterKind, shop: Shop, postgres: asyncpg.Connection
) -> None:
    first, second = await add_member(shop), await add_member(shop)
    subject = uuid.uuid4()
    for about in ([(subject, first.id)], [(subject, first.id), (subject, second.id)], []):
        async with shop.database.transaction() as tx:
            await letters.add_letters(tx, kind, about)
    assert await postgres.fetchval("SELECT count(*) FROM letters") == 2
    assert await postgres.fetchval("SELECT count(*) FROM pgqueuer") == 2
