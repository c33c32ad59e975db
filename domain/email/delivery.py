"""Delivery of emails: claims an email, sends it through the backend, and records the result or a retry."""

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

MAX_ERROR_LENGTH = 500  # characters
LEASE = dt.timedelta(minutes=3)
"""How long a worker owns an email: time to send it and to record the result through a failover of the database."""
MAX_RETRY_WAIT = 5
"""Seconds between attempts to record a result while the database is unavailable."""
RELEASE_TIMEOUT = 2
"""Seconds to release an email when the worker stops."""


class PermanentFailure(Exception):
    """The mail server rejected the email for good."""


class TemporaryFailure(Exception):
    """The mail server did not accept the email this time."""


class AlreadyClaimed(Exception):
    """Another worker has claimed the email."""


class EmailBackend(Protocol):
    """Sends messages, for example over SMTP."""

    async def send(self, message: EmailMessage) -> None:
        """Send the message and return once it is accepted, within about a minute.

        Raises:
            PermanentFailure: The message is rejected for good.
            TemporaryFailure: A later attempt may succeed.
            OSError: A later attempt may succeed.
        """


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff. By default, 18 attempts from 5 seconds to 6 hours apart take a day and a half."""

    first_delay: dt.timedelta = dt.timedelta(seconds=5)
    max_delay: dt.timedelta = dt.timedelta(hours=6)
    max_attempts: int = 18

    def compute_delay(self, attempts: int) -> dt.timedelta | None:
        """Return the delay after this number of attempts, or `None` when no attempt is left."""
        if attempts >= self.max_attempts:
            return None
        return min(self.first_delay * (1 << min(attempts - 1, 30)), self.max_delay)


@dataclass(frozen=True, slots=True)
class Mailer:
    """Renders and sends emails. Without a backend, emails are recorded as suppressed.

    A worker owns a claimed email for the `lease`, measured by the database's clock.
    """

    render: Callable[[EmailContent], EmailMessage]
    backend: EmailBackend | None
    retry_policy: RetryPolicy = RetryPolicy()
    lease: dt.timedelta = LEASE


async def deliver(
    shop: Shop, mailer: Mailer, email_id: uuid.UUID, *, reclaim_expired: bool = True
) -> dt.timedelta | None:
    """Send an email, unless it is already finished.

    No other worker sends the email while `mailer.lease` runs. With `reclaim_expired`, an email whose other worker's
    lease has expired is sent too.

    An email is sent twice only when the backend's response is lost, or is not recorded before another worker reclaims
    the email. Then the process died, was suspended past its lease, or lost a database that other workers still reached.

    Returns:
        The delay until the next attempt, or `None` when the email is finished.

    Raises:
        AlreadyClaimed: Another worker has claimed the email.
        Unavailable: The database is unavailable. The email was not sent.
    """
    deadline = asyncio.get_running_loop().time() + mailer.lease.total_seconds()
    email = await _claim_email(shop, email_id, mailer.lease, reclaim_expired)
    if email is None:
        return None
    try:
        async with asyncio.timeout_at(deadline):  # a process suspended past its lease must not send
            status, error_message = await _send_email(shop, mailer, email)
    except asyncio.CancelledError:
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT):
                await _release(shop, email)
        raise
    except Unavailable:
        await _retry_until_available(lambda: _release(shop, email))
        raise
    except Exception as error:  # an internal error must not lose the email
        if not isinstance(error, (ContentUnavailable, TemporaryFailure, OSError)):
            log.exception("email_not_renderable", email_id=str(email.id), kind=email.kind)
        return await _schedule_retry(shop, mailer.retry_policy, email, _format_error(error))
    await _finish(shop, email, status, error_message)
    return None


async def _claim_email(shop: Shop, email_id: uuid.UUID, lease: dt.timedelta, reclaim_expired: bool) -> EmailRow | None:
    """Claim the email and commit. Return it, or `None` when it is finished or does not exist."""
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
        log_fields = {"seconds": delay.total_seconds(), "reason": _redact_addresses(error_message)}
        log.warning("email_retry_scheduled", email_id=str(email.id), kind=email.kind, **log_fields)
    return delay


async def _finish(shop: Shop, email: EmailRow, status: EmailStatus, error_message: str | None) -> None:
    async def record() -> bool:
        async with shop.database.transaction() as tx:
            return await emails.finish_email(tx, email.id, status, error_message, taken_until=email.taken_until)

    log_fields = {"email_id": str(email.id), "kind": email.kind, "status": str(status)}
    if not await _retry_until_available(record):
        # another worker reclaimed the email, or this worker finished it and the response to COMMIT was lost
        log.warning("email_already_finished", **log_fields)
        return
    shop.counters.emails[email.kind, str(status)] += 1
    log_event = log.warning if status is EmailStatus.FAILED else log.info
    log_event("email_finished", **log_fields, reason=error_message and _redact_addresses(error_message))


async def _release(shop: Shop, email: EmailRow) -> None:
    async with shop.database.transaction() as tx:
        await emails.release_email(tx, email)


async def _retry_until_available(operation: Callable[[], Awaitable[T]]) -> T:
    """Retry `operation` for as long as the database is unavailable, because an unrecorded email is sent again."""
    # not the decorator, which would log the arguments, including keys and addresses
    async for attempt in stamina.retry_context(on=Unavailable, attempts=None, timeout=None, wait_max=MAX_RETRY_WAIT):
        with attempt:
            return await operation()
    raise AssertionError("unreachable")


@retry_on_conflict
async def requeue_failed(shop: Shop, email_ids: Collection[uuid.UUID] | None = None) -> int:
    """Requeue failed emails, all or those with the given ids, with their attempts reset. Return their number."""
    async with shop.database.transaction() as tx:
        return await emails.requeue_failed_emails(tx, email_ids)


def _format_error(error: Exception) -> str:
    """Return the error's message, or its class name, as one printable line of at most `MAX_ERROR_LENGTH`."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(character for character in text if character.isprintable())[:MAX_ERROR_LENGTH]


def _redact_addresses(text: str) -> str:
    """Remove email addresses from a text for the log; mail servers repeat them in their responses."""
    return _EMAIL_ADDRESS_PATTERN.sub("…", text)


_EMAIL_ADDRESS_PATTERN = re.compile(r"""[^\s<>"']+@[^\s<>"']+""")
