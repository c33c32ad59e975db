"""Delivery of emails: obsolete content, failures of the backend, concurrent workers and retries."""

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
    """Accepts messages, or raises `error`."""

    error: BaseException | None = None
    messages: list[EmailMessage] = field(default_factory=list)
    may_accept: asyncio.Event = field(default_factory=asyncio.Event)
    """`send` waits while this event is cleared."""
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
    def mailer(self) -> Mailer:
        return Mailer(_render, self)


def _render(content: EmailContent) -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["To"] = content.email.kind, content.user.email
    return message


EmailState = tuple[str, int, str | None]


async def get_email_state(postgres: asyncpg.Connection) -> EmailState:
    """Return status, attempts and error message of the only email."""
    [row] = await postgres.fetch("SELECT status, attempts, problem FROM letters")
    return row["status"], row["attempts"], row["problem"]


async def get_email_id(postgres: asyncpg.Connection) -> uuid.UUID:
    [row] = await postgres.fetch("SELECT id FROM letters")
    return uuid.UUID(str(row["id"]))


# ── Emails of each kind ───────────────────────────────────────────────────────────────────


async def enqueue_order_email(shop: Shop, client: ApiClient) -> SignedInUser:
    customer = await add_customer(client, shop, (await add_book(shop), 1))
    await customer.checkout()
    return customer.user


async def enqueue_restock_email(shop: Shop, client: ApiClient) -> SignedInUser:
    book, user = await add_book(shop, stock=0), await add_user(shop)
    await client.with_token(user.token).execute(PREBOOK_MUTATION, id=book_id(book))
    await client.with_token((await add_admin(shop)).token).execute(UPDATE_STOCK, id=book_id(book))
    return user


async def enqueue_verification_email(shop: Shop, client: ApiClient) -> SignedInUser:
    user = await add_user(shop)
    await client.with_token(user.token).execute("mutation { requestEmailVerification { __typename } }")
    return user


async def enqueue_reset_email(shop: Shop, client: ApiClient) -> SignedInUser:
    user = await add_user(shop)
    await request_password_reset(shop, user.row.email)
    return user


async def enqueue_provider_linked_email(shop: Shop, client: ApiClient) -> SignedInUser:
    user = await add_user(shop, email_verified_at=dt.datetime.now(dt.UTC))
    await oauth.issue_login_code(shop, ProviderProfile(Provider.GITHUB, "42", user.row.email, True, "Ann"))
    return user


EnqueueEmail = Callable[[Shop, ApiClient], Awaitable[SignedInUser]]
ALL_KINDS: list[EnqueueEmail] = [
    enqueue_order_email,
    enqueue_restock_email,
    enqueue_verification_email,
    enqueue_reset_email,
    enqueue_provider_linked_email,
]


@pytest.mark.parametrize("enqueue_email", ALL_KINDS)
async def test_each_kind_is_sent_and_only_once(
    enqueue_email: EnqueueEmail, shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    user, backend = await enqueue_email(shop, client), FakeEmailBackend()
    for _ in range(3):
        assert await deliver(shop, backend.mailer, await get_email_id(postgres)) is None
    assert [message["To"] for message in backend.messages] == [user.row.email]
    assert await get_email_state(postgres) == ("SENT", 1, None)


@pytest.mark.parametrize("enqueue_email", ALL_KINDS)
async def test_emails_are_suppressed_when_mail_is_disabled(
    enqueue_email: EnqueueEmail, shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    await enqueue_email(shop, client)
    assert await deliver(shop, Mailer(_render, None), await get_email_id(postgres)) is None
    assert await get_email_state(postgres) == ("SUPPRESSED", 1, None)
    backend = FakeEmailBackend()
    await deliver(shop, backend.mailer, await get_email_id(postgres))
    assert backend.messages == []


@pytest.mark.parametrize("enqueue_email", ALL_KINDS)
async def test_deactivated_user_gets_order_emails_only(
    enqueue_email: EnqueueEmail, shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    user, backend = await enqueue_email(shop, client), FakeEmailBackend()
    async with shop.database.transaction() as tx:
        await update_user(tx, user.id, is_active=False)
    await deliver(shop, backend.mailer, await get_email_id(postgres))
    expected = (
        ("SENT", 1, None) if enqueue_email is enqueue_order_email else ("OBSOLETE", 1, "The account is deactivated.")
    )
    assert (await get_email_state(postgres), len(backend.messages)) == (
        expected,
        int(enqueue_email is enqueue_order_email),
    )


@pytest.mark.parametrize(
    ("enqueue_email", "change", "reason"),
    [
        (enqueue_verification_email, "UPDATE one_time_tokens SET used_at = now()", "The link is used or expired."),
        (enqueue_verification_email, "UPDATE one_time_tokens SET expires_at = now()", "The link is used or expired."),
        (enqueue_reset_email, "UPDATE one_time_tokens SET used_at = now()", "The link is used or expired."),
        (enqueue_reset_email, "DELETE FROM one_time_tokens", "The link is used or expired."),
        (enqueue_provider_linked_email, "DELETE FROM identities", "The provider is no longer linked."),
    ],
)
async def test_obsolete_email_is_not_sent(
    enqueue_email: EnqueueEmail, change: str, reason: str, shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    await enqueue_email(shop, client)
    await postgres.execute(change)
    backend = FakeEmailBackend()
    assert await deliver(shop, backend.mailer, await get_email_id(postgres)) is None
    assert (await get_email_state(postgres), backend.messages) == (("OBSOLETE", 1, reason), [])


async def test_deleted_book_is_not_announced(shop: Shop, client: ApiClient, postgres: asyncpg.Connection) -> None:
    await enqueue_restock_email(shop, client)
    [row] = await postgres.fetch("SELECT book_id FROM prebookings")
    admin = client.with_token((await add_admin(shop)).token)
    await admin.execute(DELETE_BOOK, id=to_global_id("Book", uuid.UUID(str(row["book_id"]))))
    backend = FakeEmailBackend()
    await deliver(shop, backend.mailer, await get_email_id(postgres))
    assert (await get_email_state(postgres))[0] == "OBSOLETE"
    assert backend.messages == []


async def test_email_waits_for_the_secret_key_of_its_link(
    shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    await enqueue_reset_email(shop, client)
    other_shop = replace(shop, tokens=Tokens(["another-secret-of-more-than-32-bytes"], "http://localhost:8000"))
    backend = FakeEmailBackend()
    assert await deliver(other_shop, backend.mailer, await get_email_id(postgres)) is not None
    error_message = "The link was created with a SECRET_KEY that this server does not have."
    assert (await get_email_state(postgres), backend.messages) == (("QUEUED", 1, error_message), [])

    assert await deliver(shop, backend.mailer, await get_email_id(postgres)) is None
    assert ((await get_email_state(postgres))[0], len(backend.messages)) == ("SENT", 1)


async def test_unknown_email_id_is_ignored(shop: Shop) -> None:
    backend = FakeEmailBackend()
    assert await deliver(shop, backend.mailer, uuid.uuid4()) is None
    assert backend.messages == []


# ── Failures of the backend, and internal errors ──────────────────────────────────────────


async def test_permanent_failure_is_not_retried(shop: Shop, client: ApiClient, postgres: asyncpg.Connection) -> None:
    await enqueue_order_email(shop, client)
    backend = FakeEmailBackend(PermanentFailure("550 5.1.1 Nobody\r\n\0here"))
    assert await deliver(shop, backend.mailer, await get_email_id(postgres)) is None
    assert await get_email_state(postgres) == ("FAILED", 1, "550 5.1.1 Nobody here")

    backend.error = None
    assert await requeue_failed(shop, [uuid.uuid4()]) == 0
    assert await requeue_failed(shop, [await get_email_id(postgres)]) == 1
    assert await get_email_state(postgres) == ("QUEUED", 0, None)
    await deliver(shop, backend.mailer, await get_email_id(postgres))
    assert (await get_email_state(postgres), len(backend.messages)) == (("SENT", 1, None), 1)


@pytest.mark.parametrize(
    ("error", "error_message"),
    [
        (TemporaryFailure("451 Not now"), "451 Not now"),
        (ConnectionRefusedError("no"), "no"),
        (TimeoutError(), "TimeoutError"),
        (ZeroDivisionError("internal"), "internal"),
        (TemporaryFailure("x" * 10_000), "x" * 500),
    ],
)
async def test_other_failures_are_retried(
    error: Exception, error_message: str, shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    await enqueue_order_email(shop, client)
    backend = FakeEmailBackend(error)
    delays = [await deliver(shop, backend.mailer, await get_email_id(postgres)) for _ in range(3)]
    assert delays == [dt.timedelta(seconds=seconds) for seconds in (5, 10, 20)]
    assert await get_email_state(postgres) == ("QUEUED", 3, error_message)

    backend.error = None
    assert await deliver(shop, backend.mailer, await get_email_id(postgres)) is None
    assert await get_email_state(postgres) == ("SENT", 4, None)


async def test_template_error_loses_no_email(shop: Shop, client: ApiClient, postgres: asyncpg.Connection) -> None:
    def fail_to_render(_: EmailContent) -> EmailMessage:
        raise KeyError("context")

    await enqueue_order_email(shop, client)
    assert await deliver(shop, Mailer(fail_to_render, FakeEmailBackend()), await get_email_id(postgres)) is not None
    assert await get_email_state(postgres) == ("QUEUED", 1, "'context'")


# ── Several workers ───────────────────────────────────────────────────────────────────────

LOCK_EMAIL = "SELECT FROM letters FOR UPDATE"
SENT_CONFIRMATION = ("ORDER_CONFIRMED", "SENT")


async def start_sending(
    shop: Shop, backend: FakeEmailBackend, email_id: uuid.UUID
) -> "asyncio.Task[dt.timedelta | None]":
    """Start a delivery, and wait until its `send` blocks."""
    backend.may_accept.clear()
    delivery = asyncio.create_task(deliver(shop, backend.mailer, email_id))
    await backend.started.wait()
    return delivery


async def test_concurrent_workers_send_once(
    shop: Shop, client: ApiClient, postgres: asyncpg.Connection, database_url: str
) -> None:
    await enqueue_order_email(shop, client)
    backend, email_id = FakeEmailBackend(), await get_email_id(postgres)
    async with hold_lock(database_url, LOCK_EMAIL):
        deliveries = [asyncio.create_task(deliver(shop, backend.mailer, email_id)) for _ in range(2)]
        await wait_for_blocked(postgres, 2)
        backend.may_accept.clear()
    _, pending = await asyncio.wait(deliveries, return_when=asyncio.FIRST_COMPLETED)
    backend.may_accept.set()
    results = await asyncio.gather(*deliveries, return_exceptions=True)
    assert len(pending) == 1
    assert sorted(type(result).__name__ for result in results) == ["AlreadyClaimed", "NoneType"]
    assert (await get_email_state(postgres), len(backend.messages)) == (("SENT", 1, None), 1)


async def test_claimed_email_is_skipped_until_claim_expires(
    shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    await enqueue_order_email(shop, client)
    backend, email_id = FakeEmailBackend(), await get_email_id(postgres)
    async with shop.database.transaction() as tx:
        assert await emails.claim_email(tx, email_id, LEASE)
    with pytest.raises(AlreadyClaimed):
        await deliver(shop, backend.mailer, email_id)
    await expire_claims(postgres)
    with pytest.raises(AlreadyClaimed):
        await deliver(shop, backend.mailer, email_id, reclaim_expired=False)
    assert (await get_email_state(postgres), backend.messages) == (("QUEUED", 0, None), [])

    assert await deliver(shop, backend.mailer, email_id) is None
    assert (await get_email_state(postgres), len(backend.messages)) == (("SENT", 1, None), 1)


async def test_email_sent_by_two_workers_is_counted_once(
    shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    """The first worker's lease expires while it sends."""
    await enqueue_order_email(shop, client)
    slow_backend, fast_backend, email_id = FakeEmailBackend(), FakeEmailBackend(), await get_email_id(postgres)
    before = shop.counters.emails[SENT_CONFIRMATION]
    delivery = await start_sending(shop, slow_backend, email_id)
    await expire_claims(postgres)
    assert await deliver(shop, fast_backend.mailer, email_id) is None
    slow_backend.may_accept.set()
    assert await delivery is None
    assert (len(slow_backend.messages), len(fast_backend.messages)) == (1, 1)
    assert (await get_email_state(postgres), shop.counters.emails[SENT_CONFIRMATION]) == (("SENT", 1, None), before + 1)


@pytest.mark.parametrize(
    "error", [TemporaryFailure("451 Not now"), PermanentFailure("550 Nobody"), asyncio.CancelledError()]
)
async def test_late_worker_does_not_overwrite_new_claim(
    error: BaseException, shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    await enqueue_order_email(shop, client)
    slow_backend, fast_backend, email_id = FakeEmailBackend(error), FakeEmailBackend(), await get_email_id(postgres)
    first_delivery = await start_sending(shop, slow_backend, email_id)
    await expire_claims(postgres)
    second_delivery = await start_sending(shop, fast_backend, email_id)
    claimed_until = await postgres.fetchval("SELECT taken_until FROM letters")
    slow_backend.may_accept.set()
    await asyncio.wait({first_delivery})
    assert await postgres.fetchval("SELECT taken_until FROM letters") == claimed_until is not None
    assert await get_email_state(postgres) == ("QUEUED", 0, None)
    fast_backend.may_accept.set()
    assert await second_delivery is None
    assert await get_email_state(postgres) == ("SENT", 1, None)


async def test_worker_with_expired_claim_does_not_send(
    shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    def render_slowly(content: EmailContent) -> EmailMessage:
        advance_clock(LEASE.total_seconds())
        return _render(content)

    await enqueue_order_email(shop, client)
    backend = FakeEmailBackend()
    backend.may_accept.clear()
    assert await deliver(shop, Mailer(render_slowly, backend), await get_email_id(postgres)) is not None
    assert (await get_email_state(postgres), backend.messages) == (("QUEUED", 1, "TimeoutError"), [])


async def test_postponed_or_released_email_can_be_claimed_immediately(
    shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    await enqueue_order_email(shop, client)
    backend, email_id = FakeEmailBackend(TemporaryFailure("451 Not now")), await get_email_id(postgres)
    await deliver(shop, backend.mailer, email_id)
    assert await postgres.fetchval("SELECT taken_until FROM letters") is None
    delivery = await start_sending(shop, backend, email_id)
    delivery.cancel()
    await asyncio.wait({delivery})
    assert delivery.cancelled()
    assert await postgres.fetchval("SELECT taken_until FROM letters") is None
    assert await get_email_state(postgres) == ("QUEUED", 1, "451 Not now")


def test_claim_outlasts_sending_and_recording() -> None:
    assert dt.timedelta(seconds=SEND_TIMEOUT + QUIT_TIMEOUT) < LEASE / 2


# ── Retry policy and uniqueness ───────────────────────────────────────────────────────────


async def test_retries_end_after_36_hours() -> None:
    policy = RetryPolicy()
    delays: list[dt.timedelta] = []
    while (delay := policy.compute_delay(len(delays) + 1)) is not None:
        delays.append(delay)
    assert delays[0] == dt.timedelta(seconds=5)
    assert delays == sorted(delays)
    assert delays[-1] == dt.timedelta(hours=6)
    assert dt.timedelta(hours=30) < sum(delays, dt.timedelta()) < dt.timedelta(hours=42)


@pytest.mark.parametrize("kind", EmailKind)
async def test_one_email_per_kind_subject_and_user(kind: EmailKind, shop: Shop, postgres: asyncpg.Connection) -> None:
    first, second = await add_user(shop), await add_user(shop)
    subject = uuid.uuid4()
    for emails_to_enqueue in ([(subject, first.id)], [(subject, first.id), (subject, second.id)], []):
        async with shop.database.transaction() as tx:
            await emails.enqueue_emails(tx, kind, emails_to_enqueue)
    assert await postgres.fetchval("SELECT count(*) FROM letters") == 2
    assert await postgres.fetchval("SELECT count(*) FROM pgqueuer") == 2
