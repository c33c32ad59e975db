"""Posting: what becomes of a letter, whatever has become of what it tells and whoever takes it."""

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
from domain.posting import Desk, Patience, PostDelayed, PostRefused, begin_again, post
from domain.resets import request_password_reset
from domain.shop import Shop
from domain.tokens import Tokens
from graph.ids import global_id
from persistence import letters
from persistence.accounts import set_user
from persistence.identities import Provider
from persistence.letters import LetterKind
from tests.client import Visitor
from tests.customers import add_customer
from tests.factories import Member, add_administrator, add_book, add_member, book_id
from tests.stockroom import DELETE, STOCK

PREBOOK = "mutation ($id: ID!) { prebook(input: {bookId: $id}) { __typename } }"


@dataclass(slots=True)
class Office:
    """Takes letters, unless it is told what to say instead."""

    says: BaseException | None = None
    taken: list[EmailMessage] = field(default_factory=list)

    async def send(self, message: EmailMessage) -> None:
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
