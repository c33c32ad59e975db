"""Posting: what becomes of a letter, whatever has become of what it tells and whoever takes it."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from email.message import EmailMessage

import asyncpg
import pytest

from domain.auth import oauth
from domain.auth.oauth import ProviderProfile
from domain.auth.password_reset import request_password_reset
from domain.auth.tokens import Tokens
from domain.email.content import EmailContent
from domain.email.delivery import (
    LEASE,
    AlreadyClaimed,
    Mailer,
    PermanentFailure,
    RetryPolicy,
    TemporaryFailure,
    deliver,
    requeue_failed,
)
from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence import emails
from persistence.accounts import update_user
from persistence.emails import EmailKind
from persistence.linked_accounts import Provider
from server.mail.smtp import QUIT_TIMEOUT, SEND_TIMEOUT
from tests.support.database.locks import hold_lock, wait_for_blocked
from tests.support.email.emails import expire_claims
from tests.support.http.client import ApiClient
from tests.support.processes.clock import advance_clock
from tests.support.shop.catalog_admin import DELETE_BOOK, UPDATE_STOCK
from tests.support.shop.customers import add_customer
from tests.support.shop.factories import SignedInUser, add_admin, add_book, add_user, book_id

PREBOOK_MUTATION = "mutation ($id: ID!) { prebook(input: {bookId: $id}) { __typename } }"


@dataclass(slots=True)
class FakeEmailBackend:
    """Takes letters, unless it is told what to say instead."""

    error: BaseException | None = None
    messages: list[EmailMessage] = field(default_factory=list)
    may_accept: asyncio.Event = field(default_factory=asyncio.Event)
    """Letters that are handed in wait until it is opened."""
    started: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_accept.set()

    async def send(self, message: EmailMessage) -> None:
        self.started.set()
        await self.may_accept.wait()
        if self.error is not None:
            raise self.error
        self.messages.append(message)

    @property
    def desk(self) -> Mailer:
        return Mailer(_render, self)


def _render(contents: EmailContent) -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["To"] = contents.email.kind, contents.user.email
    return message


EmailState = tuple[str, int, str | None]


async def get_email_state(postgres: asyncpg.Connection) -> EmailState:
    """What became of the only letter: status, attempts, problem."""
    [row] = await postgres.fetch("SELECT status, attempts, problem FROM letters")
    return row["status"], row["attempts"], row["problem"]


async def get_email_id(postgres: asyncpg.Connection) -> uuid.UUID:
    [row] = await postgres.fetch("SELECT id FROM letters")
    return uuid.UUID(str(row["id"]))


# ── Letters of each kind, written as the shop writes them ─────────────────────────────────


async def enqueue_order_email(shop: Shop, client: ApiClient) -> SignedInUser:
    customer = await add_customer(client, shop, (await add_book(shop), 1))
    await customer.checkout()
    return customer.user


async def enqueue_restock_email(shop: Shop, client: ApiClient) -> SignedInUser:
    book, reader = await add_book(shop, stock=0), await add_user(shop)
    await client.with_token(reader.token).execute(PREBOOK_MUTATION, id=book_id(book))
    await client.with_token((await add_admin(shop)).token).execute(UPDATE_STOCK, id=book_id(book))
    return reader


async def enqueue_verification_email(shop: Shop, client: ApiClient) -> SignedInUser:
    reader = await add_user(shop)
    await client.with_token(reader.token).execute("mutation { requestEmailVerification { __typename } }")
    return reader


async def enqueue_reset_email(shop: Shop, client: ApiClient) -> SignedInUser:
    reader = await add_user(shop)
    await request_password_reset(shop, reader.row.email)
    return reader


async def enqueue_provider_linked_email(shop: Shop, client: ApiClient) -> SignedInUser:
    reader = await add_user(shop, email_verified_at=dt.datetime.now(dt.UTC))
    await oauth.issue_login_code(shop, ProviderProfile(Provider.GITHUB, "42", reader.row.email, True, "Ann"))
    return reader


EnqueueEmail = Callable[[Shop, ApiClient], Awaitable[SignedInUser]]
ALL: list[EnqueueEmail] = [
    enqueue_order_email,
    enqueue_restock_email,
    enqueue_verification_email,
    enqueue_reset_email,
    enqueue_provider_linked_email,
]


@pytest.mark.parametrize("write", ALL)
async def test_each_kind_is_sent_and_only_once(
    write: EnqueueEmail, shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    reader, office = await write(shop, client), FakeEmailBackend()
    for _ in range(3):
        assert await deliver(shop, office.desk, await get_email_id(postgres)) is None
    assert [message["To"] for message in office.messages] == [reader.row.email]
    assert await get_email_state(postgres) == ("SENT", 1, None)


@pytest.mark.parametrize("write", ALL)
async def test_emails_are_suppressed_when_mail_is_disabled(
    write: EnqueueEmail, shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    await write(shop, client)
    assert await deliver(shop, Mailer(_render, None), await get_email_id(postgres)) is None
    assert await get_email_state(postgres) == ("SUPPRESSED", 1, None)
    office = FakeEmailBackend()
    await deliver(shop, office.desk, await get_email_id(postgres))
    assert office.messages == []


@pytest.mark.parametrize("write", ALL)
async def test_deactivated_user_gets_order_emails_only(
    write: EnqueueEmail, shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    reader, office = await write(shop, client), FakeEmailBackend()
    async with shop.database.transaction() as tx:
        await update_user(tx, reader.id, is_active=False)
    await deliver(shop, office.desk, await get_email_id(postgres))
    expected = ("SENT", 1, None) if write is enqueue_order_email else ("OBSOLETE", 1, "The account is deactivated.")
    assert (await get_email_state(postgres), len(office.messages)) == (expected, int(write is enqueue_order_email))


@pytest.mark.parametrize(
    ("write", "change", "why"),
    [
        (enqueue_verification_email, "UPDATE one_time_tokens SET used_at = now()", "The link would no longer work."),
        (enqueue_verification_email, "UPDATE one_time_tokens SET expires_at = now()", "The link would no longer work."),
        (enqueue_reset_email, "UPDATE one_time_tokens SET used_at = now()", "The link would no longer work."),
        (enqueue_reset_email, "DELETE FROM one_time_tokens", "The link would no longer work."),
        (enqueue_provider_linked_email, "DELETE FROM identities", "The provider is not linked any more."),
    ],
)
async def test_obsolete_email_is_not_sent(
    write: EnqueueEmail, change: str, why: str, shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    await write(shop, client)
    await postgres.execute(change)
    office = FakeEmailBackend()
    assert await deliver(shop, office.desk, await get_email_id(postgres)) is None
    assert (await get_email_state(postgres), office.messages) == (("OBSOLETE", 1, why), [])


async def test_deleted_book_is_not_announced(shop: Shop, client: ApiClient, postgres: asyncpg.Connection) -> None:
    await enqueue_restock_email(shop, client)
    [row] = await postgres.fetch("SELECT book_id FROM prebookings")
    admin = client.with_token((await add_admin(shop)).token)
    await admin.execute(DELETE_BOOK, id=to_global_id("Book", uuid.UUID(str(row["book_id"]))))
    office = FakeEmailBackend()
    await deliver(shop, office.desk, await get_email_id(postgres))
    assert (await get_email_state(postgres))[0] == "OBSOLETE"
    assert office.messages == []


async def test_email_waits_for_the_secret_key_of_its_link(
    shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    await enqueue_reset_email(shop, client)
    another = replace(shop, tokens=Tokens(["another-secret-of-more-than-32-bytes"], "http://localhost:8000"))
    office = FakeEmailBackend()
    assert await deliver(another, office.desk, await get_email_id(postgres)) is not None
    missing = "SECRET_KEY is another than the one that the link was made with."
    assert (await get_email_state(postgres), office.messages) == (("QUEUED", 1, missing), [])

    assert await deliver(shop, office.desk, await get_email_id(postgres)) is None
    assert ((await get_email_state(postgres))[0], len(office.messages)) == ("SENT", 1)


async def test_unknown_email_id_is_ignored(shop: Shop) -> None:
    office = FakeEmailBackend()
    assert await deliver(shop, office.desk, uuid.uuid4()) is None
    assert office.messages == []


# ── The office, and our own faults ────────────────────────────────────────────────────────


async def test_permanent_failure_is_not_retried(shop: Shop, client: ApiClient, postgres: asyncpg.Connection) -> None:
    await enqueue_order_email(shop, client)
    office = FakeEmailBackend(PermanentFailure("550 5.1.1 Nobody\r\n\0here"))
    assert await deliver(shop, office.desk, await get_email_id(postgres)) is None
    assert await get_email_state(postgres) == ("FAILED", 1, "550 5.1.1 Nobody here")

    office.error = None
    assert await requeue_failed(shop, [uuid.uuid4()]) == 0
    assert await requeue_failed(shop, [await get_email_id(postgres)]) == 1
    assert await get_email_state(postgres) == ("QUEUED", 0, None)
    await deliver(shop, office.desk, await get_email_id(postgres))
    assert (await get_email_state(postgres), len(office.messages)) == (("SENT", 1, None), 1)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (TemporaryFailure("451 Not now"), "451 Not now"),
        (ConnectionRefusedError("no"), "no"),
        (TimeoutError(), "TimeoutError"),
        (ZeroDivisionError("ours"), "ours"),
        (TemporaryFailure("x" * 10_000), "x" * 500),
    ],
)
async def test_other_failures_are_retried(
    error: Exception, problem: str, shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    await enqueue_order_email(shop, client)
    office = FakeEmailBackend(error)
    delays = [await deliver(shop, office.desk, await get_email_id(postgres)) for _ in range(3)]
    assert delays == [dt.timedelta(seconds=seconds) for seconds in (5, 10, 20)]
    assert await get_email_state(postgres) == ("QUEUED", 3, problem)

    office.error = None
    assert await deliver(shop, office.desk, await get_email_id(postgres)) is None
    assert await get_email_state(postgres) == ("SENT", 4, None)


async def test_template_error_loses_no_email(shop: Shop, client: ApiClient, postgres: asyncpg.Connection) -> None:
    def torn(_: EmailContent) -> EmailMessage:
        raise KeyError("facts")

    await enqueue_order_email(shop, client)
    assert await deliver(shop, Mailer(torn, FakeEmailBackend()), await get_email_id(postgres)) is not None
    assert await get_email_state(postgres) == ("QUEUED", 1, "'facts'")


# ── Several posters ───────────────────────────────────────────────────────────────────────

LOCK_EMAIL = "SELECT FROM letters FOR UPDATE"
SENT_CONFIRMATION = ("ORDER_CONFIRMED", "SENT")


async def start_sending(
    shop: Shop, office: FakeEmailBackend, letter_id: uuid.UUID
) -> "asyncio.Task[dt.timedelta | None]":
    """Posts it to an office that has not answered yet."""
    office.may_accept.clear()
    posting = asyncio.create_task(deliver(shop, office.desk, letter_id))
    await office.started.wait()
    return posting


async def test_concurrent_workers_send_once(
    shop: Shop, client: ApiClient, postgres: asyncpg.Connection, database_url: str
) -> None:
    await enqueue_order_email(shop, client)
    office, letter_id = FakeEmailBackend(), await get_email_id(postgres)
    async with hold_lock(database_url, LOCK_EMAIL):
        both = [asyncio.create_task(deliver(shop, office.desk, letter_id)) for _ in range(2)]
        await wait_for_blocked(postgres, 2)
        office.may_accept.clear()
    _, missed = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    office.may_accept.set()
    results = await asyncio.gather(*both, return_exceptions=True)
    assert len(missed) == 1
    assert sorted(type(result).__name__ for result in results) == ["AlreadyClaimed", "NoneType"]
    assert (await get_email_state(postgres), len(office.messages)) == (("SENT", 1, None), 1)


async def test_claimed_email_is_skipped_until_claim_expires(
    shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    await enqueue_order_email(shop, client)
    office, letter_id = FakeEmailBackend(), await get_email_id(postgres)
    async with shop.database.transaction() as tx:
        assert await emails.claim_email(tx, letter_id, LEASE)
    with pytest.raises(AlreadyClaimed):
        await deliver(shop, office.desk, letter_id)
    await expire_claims(postgres)
    with pytest.raises(AlreadyClaimed):
        await deliver(shop, office.desk, letter_id, reclaim_expired=False)
    assert (await get_email_state(postgres), office.messages) == (("QUEUED", 0, None), [])

    assert await deliver(shop, office.desk, letter_id) is None
    assert (await get_email_state(postgres), len(office.messages)) == (("SENT", 1, None), 1)


async def test_email_sent_by_two_workers_is_counted_once(
    shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    """Its lease ran out before the first was answered."""
    await enqueue_order_email(shop, client)
    slow, quick, letter_id = FakeEmailBackend(), FakeEmailBackend(), await get_email_id(postgres)
    before = shop.counters.emails[SENT_CONFIRMATION]
    first = await start_sending(shop, slow, letter_id)
    await expire_claims(postgres)
    assert await deliver(shop, quick.desk, letter_id) is None
    slow.may_accept.set()
    assert await first is None
    assert (len(slow.messages), len(quick.messages)) == (1, 1)
    assert (await get_email_state(postgres), shop.counters.emails[SENT_CONFIRMATION]) == (("SENT", 1, None), before + 1)


@pytest.mark.parametrize(
    "says", [TemporaryFailure("451 Not now"), PermanentFailure("550 Nobody"), asyncio.CancelledError()]
)
async def test_late_worker_does_not_overwrite_new_claim(
    says: BaseException, shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    await enqueue_order_email(shop, client)
    slow, quick, letter_id = FakeEmailBackend(says), FakeEmailBackend(), await get_email_id(postgres)
    first = await start_sending(shop, slow, letter_id)
    await expire_claims(postgres)
    second = await start_sending(shop, quick, letter_id)
    taken = await postgres.fetchval("SELECT taken_until FROM letters")
    slow.may_accept.set()
    await asyncio.wait({first})
    assert await postgres.fetchval("SELECT taken_until FROM letters") == taken is not None
    assert await get_email_state(postgres) == ("QUEUED", 0, None)
    quick.may_accept.set()
    assert await second is None
    assert await get_email_state(postgres) == ("SENT", 1, None)


async def test_worker_with_expired_claim_does_not_send(
    shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    def dozing(contents: EmailContent) -> EmailMessage:
        advance_clock(LEASE.total_seconds())
        return _render(contents)

    await enqueue_order_email(shop, client)
    office = FakeEmailBackend()
    office.may_accept.clear()
    assert await deliver(shop, Mailer(dozing, office), await get_email_id(postgres)) is not None
    assert (await get_email_state(postgres), office.messages) == (("QUEUED", 1, "TimeoutError"), [])


async def test_postponed_or_released_email_can_be_claimed_at_once(
    shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    await enqueue_order_email(shop, client)
    office, letter_id = FakeEmailBackend(TemporaryFailure("451 Not now")), await get_email_id(postgres)
    await deliver(shop, office.desk, letter_id)
    assert await postgres.fetchval("SELECT taken_until FROM letters") is None
    given_back = await start_sending(shop, office, letter_id)
    given_back.cancel()
    await asyncio.wait({given_back})
    assert given_back.cancelled()
    assert await postgres.fetchval("SELECT taken_until FROM letters") is None
    assert await get_email_state(postgres) == ("QUEUED", 1, "451 Not now")


def test_claim_outlasts_sending_and_recording() -> None:
    assert dt.timedelta(seconds=SEND_TIMEOUT + QUIT_TIMEOUT) < LEASE / 2


# ── How long, and how often ───────────────────────────────────────────────────────────────


async def test_retries_end_after_36_hours() -> None:
    patience = RetryPolicy()
    delays: list[dt.timedelta] = []
    while (delay := patience.compute_delay(len(delays) + 1)) is not None:
        delays.append(delay)
    assert delays[0] == dt.timedelta(seconds=5)
    assert delays == sorted(delays)
    assert delays[-1] == dt.timedelta(hours=6)
    assert dt.timedelta(hours=30) < sum(delays, dt.timedelta()) < dt.timedelta(hours=42)


@pytest.mark.parametrize("kind", EmailKind)
async def test_one_email_per_kind_subject_and_user(kind: EmailKind, shop: Shop, postgres: asyncpg.Connection) -> None:
    first, second = await add_user(shop), await add_user(shop)
    subject = uuid.uuid4()
    for about in ([(subject, first.id)], [(subject, first.id), (subject, second.id)], []):
        async with shop.database.transaction() as tx:
            await emails.enqueue_emails(tx, kind, about)
    assert await postgres.fetchval("SELECT count(*) FROM letters") == 2
    assert await postgres.fetchval("SELECT count(*) FROM pgqueuer") == 2
