"""Posting: what becomes of a letter when it is taken to the post office."""

import asyncio
import contextlib
import datetime as dt
import re
import uuid
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Protocol, TypeVar

import stamina
import structlog

from domain.email.content import ContentUnavailable, EmailContent, EmailObsolete, load_content
from domain.shop import Shop
from persistence import emails
from persistence.emails import EmailRow, EmailStatus
from persistence.postgres.errors import Unavailable, retry_on_conflict

T = TypeVar("T")

log = structlog.get_logger()

MAX_ERROR_LENGTH = 500
LEASE = dt.timedelta(minutes=3)
"""For sending a letter, a minute at most, and noting that through a failover. So long waits a letter whose poster died."""
MAX_RETRY_WAIT = 5  # seconds until it is tried again to note what has become of a letter
RELEASE_TIMEOUT = 2  # seconds for giving a letter back when the poster closes


class PermanentFailure(Exception):
    """It will never be taken to this address."""


class TemporaryFailure(Exception):
    """It was not taken this time."""


class AlreadyClaimed(Exception):
    """Another poster has the letter."""


class EmailBackend(Protocol):
    async def send(self, message: EmailMessage) -> None:
        """Comes back once the letter has been taken, within a minute or so.

        Raises `PostRefused`, which is for good; `PostDelayed` or `OSError` when it is to be tried again.
        """


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Each try comes twice as long after the last: 18 of them, from 5 seconds to 6 hours apart, take a day and a half."""

    first_delay: dt.timedelta = dt.timedelta(seconds=5)
    max_delay: dt.timedelta = dt.timedelta(hours=6)
    max_attempts: int = 18

    def compute_delay(self, attempts: int) -> dt.timedelta | None:
        """`None` when it is to be given up."""
        if attempts >= self.max_attempts:
            return None
        return min(self.first_delay * (1 << min(attempts - 1, 30)), self.max_delay)


@dataclass(frozen=True, slots=True)
class Mailer:
    """Where letters are made and handed in; without an office none is sent, and each is noted as suppressed.

    Who takes a letter has it for the `lease`, on the database's clock.
    """

    render: Callable[[EmailContent], EmailMessage]
    backend: EmailBackend | None
    retry_policy: RetryPolicy = RetryPolicy()
    lease: dt.timedelta = LEASE


async def deliver(
    shop: Shop, mailer: Mailer, email_id: uuid.UUID, *, reclaim_expired: bool = True
) -> dt.timedelta | None:
    """Sends a letter, unless that is settled; in how long to try again, or `None` when it is settled now.

    Nobody else sends it while the desk's lease runs; with `takes_over` one is sent, too, that somebody else had for longer
    than theirs. It is sent twice only when the office's answer is lost, or is not noted before somebody takes over: the
    process has died or was stopped, slept through its lease, or was cut off for so long from a database that others reached.

    Raises `InHand`, or `Unavailable` when the database is away: then it was not sent.
    """
    deadline = asyncio.get_running_loop().time() + mailer.lease.total_seconds()
    email = await _claim_email(shop, email_id, mailer.lease, reclaim_expired)
    if email is None:
        return None
    try:
        async with asyncio.timeout_at(deadline):  # who was asleep for so long does not begin to send
            status, error_message = await _send_email(shop, mailer, email)
    except asyncio.CancelledError:
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT):
                await _release(shop, email)
        raise
    except Unavailable:
        await _retry_until_available(lambda: _release(shop, email))
        raise
    except Exception as error:  # a fault of ours loses no letter either
        if not isinstance(error, (ContentUnavailable, TemporaryFailure, OSError)):
            log.exception("letter_unfit", letter=str(email.id), kind=email.kind)
        return await _schedule_retry(shop, mailer.retry_policy, email, _format_error(error))
    await _finish(shop, email, status, error_message)
    return None


async def _claim_email(shop: Shop, email_id: uuid.UUID, lease: dt.timedelta, reclaim_expired: bool) -> EmailRow | None:
    """`None` where nothing is left to do. Committed before anything is sent."""
    async with shop.database.transaction() as tx:
        is_claimed = await emails.claim_email(tx, email_id, lease, can_take_over=reclaim_expired)
        email = await emails.find_email(tx, email_id)
    if email is None or email.status != EmailStatus.QUEUED:
        return None
    if not is_claimed:
        raise AlreadyClaimed
    return email


async def _send_email(shop: Shop, mailer: Mailer, email: EmailRow) -> tuple[EmailStatus, str | None]:
    try:
        async with shop.database.transaction() as tx:
            content = await load_content(tx, shop, email)
        if mailer.backend is None:
            return EmailStatus.SUPPRESSED, None
        await mailer.backend.send(mailer.render(content))
    except EmailObsolete as error:
        return EmailStatus.OBSOLETE, str(error)
    except PermanentFailure as failure:
        return EmailStatus.FAILED, _format_error(failure)
    return EmailStatus.SENT, None


async def _schedule_retry(
    shop: Shop, retry_policy: RetryPolicy, email: EmailRow, error_message: str
) -> dt.timedelta | None:
    delay = retry_policy.compute_delay(email.attempts + 1)
    if delay is None:
        await _finish(shop, email, EmailStatus.FAILED, error_message)
        return None

    async def record() -> bool:
        async with shop.database.transaction() as tx:
            return await emails.schedule_email_retry(tx, email, error_message)

    if await _retry_until_available(record):
        shop.counters.emails[email.kind, "POSTPONED"] += 1
        log_fields = {"seconds": delay.total_seconds(), "why": _redact_addresses(error_message)}
        log.warning("letter_postponed", letter=str(email.id), kind=email.kind, **log_fields)
    return delay


async def _finish(shop: Shop, email: EmailRow, status: EmailStatus, error_message: str | None) -> None:
    async def record() -> bool:
        async with shop.database.transaction() as tx:
            return await emails.finish_email(tx, email.id, status, error_message, taken_until=email.taken_until)

    log_fields = {"letter": str(email.id), "kind": email.kind, "status": str(status)}
    if not await _retry_until_available(
        record
    ):  # by whoever took it over, or by us when the answer to a COMMIT was lost
        log.warning("letter_settled_before", **log_fields)
        return
    shop.counters.emails[email.kind, str(status)] += 1
    log_event = log.warning if status is EmailStatus.FAILED else log.info
    log_event("letter_settled", **log_fields, why=error_message and _redact_addresses(error_message))


async def _release(shop: Shop, email: EmailRow) -> None:
    async with shop.database.transaction() as tx:
        await emails.release_email(tx, email)


async def _retry_until_available(operation: Callable[[], Awaitable[T]]) -> T:
    """However long the database is away: what was sent and not noted is sent again."""
    # a context, because a decorated function's arguments would be logged: keys and addresses among them
    async for attempt in stamina.retry_context(on=Unavailable, attempts=None, timeout=None, wait_max=MAX_RETRY_WAIT):
        with attempt:
            return await operation()
    raise AssertionError("unreachable")


@retry_on_conflict
async def requeue_failed(shop: Shop, email_ids: Collection[uuid.UUID] | None = None) -> int:
    """Letters that were given up, all or these, as if they had never been tried; how many."""
    async with shop.database.transaction() as tx:
        return await emails.requeue_failed_emails(tx, email_ids)


def _format_error(error: Exception) -> str:
    """In one line that can be kept and shown."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(character for character in text if character.isprintable())[:MAX_ERROR_LENGTH]


def _redact_addresses(text: str) -> str:
    """For the log: mail servers like to repeat whom they refuse."""
    return _EMAIL_ADDRESS_PATTERN.sub("…", text)


_EMAIL_ADDRESS_PATTERN = re.compile(r"""[^\s<>"']+@[^\s<>"']+""")
