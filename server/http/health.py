"""What load balancers and orchestrators ask: is the process alive, and may it be sent requests?"""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domain.shop import Shop
from persistence.postgres.errors import Unavailable, is_permission_denied, is_read_only, is_schema_outdated
from persistence.postgres.preflight import check_writable, find_revision
from server.database.migrations import list_older_revisions

log = structlog.get_logger()

PROBE_TIMEOUT = 2  # seconds
CACHE_TTL = 0.5  # seconds for which what was seen is told again: whoever asks all the time costs PostgreSQL nothing
DRAIN_TIMEOUT = 15  # seconds from the signal, or the end of its notice, to the end of the process
STOPPING = "stopping"
DATABASE_UNREACHABLE = "the database does not answer"
SCHEMA_OUTDATED = "the database is not at this version's tables"
MISSING_PRIVILEGES = "the database does not let us: its role lacks rights on tables"
SECRET_KEY_MISMATCH = "SECRET_KEY is none of those that other servers have: tokens of theirs are refused here"
READ_ONLY = "the database takes no writes: visitors are served, and nobody can buy"


ProbeResult = tuple[str | None, list[str]]
"""Why requests are not welcome, or what else is wrong."""


async def health(_: Request) -> Response:
    """The process is alive; it asks nobody else."""
    return _json_response(200, {"status": "ok"})


@dataclass(slots=True)
class Readiness:
    """Whether requests are welcome: until SIGTERM or SIGINT, and while the database is well.

    What is wrong and no reason to send them elsewhere is told in `notes`.
    For `notice` seconds after the signal they are served all the same: balancers need time to learn that they are not welcome.
    """

    shop: Shop
    drain_seconds: float = 0
    stopping_since: float | None = None
    _older_revisions: frozenset[str | None] = field(default_factory=list_older_revisions)
    _probe_task: asyncio.Task[ProbeResult] | None = None
    _next_probe_at: float = 0.0

    async def __call__(self, _: Request) -> Response:
        reason, notes = await self._get_probe_result() if self.stopping_since is None else (STOPPING, [])
        if reason:
            return _json_response(503, {"status": "not ready", "reason": reason})
        notes = [*self._list_local_notes(), *notes]
        return _json_response(200, {"status": "ready"} | ({"notes": notes} if notes else {}))

    def seconds_left(self) -> float:
        """Seconds until the process has to be over."""
        if self.stopping_since is None:
            return DRAIN_TIMEOUT
        return self.stopping_since + self.drain_seconds + DRAIN_TIMEOUT - time.monotonic()

    def _list_local_notes(self) -> Iterator[str]:
        """What it takes no look to tell."""
        if failure := self.shop.database.replica_failure:
            yield f"{failure}: the primary serves visitors, too"
        if self.shop.secret_key_check.is_mismatched:
            yield SECRET_KEY_MISMATCH

    async def _get_probe_result(self) -> ProbeResult:
        """By whoever looks just now, or has looked a moment ago."""
        if self._probe_task is None or (self._probe_task.done() and time.monotonic() >= self._next_probe_at):
            self._probe_task = asyncio.create_task(self._probe())
        return await asyncio.shield(self._probe_task)

    async def _probe(self) -> ProbeResult:
        """Beside the pools: one that is full tells nothing about the database."""
        can_read = False
        try:
            async with asyncio.timeout(PROBE_TIMEOUT), self.shop.database.probe_transaction() as tx:
                if await find_revision(tx) in self._older_revisions:
                    return SCHEMA_OUTDATED, []
                can_read = True
                await check_writable(tx)
        except Exception as error:
            is_expected = isinstance(error, (Unavailable, TimeoutError)) or is_permission_denied(error)
            (log.warning if is_expected else log.exception)("not ready", cause=repr(error.__cause__ or error))
            return (None, _get_notes(error)) if can_read else (_get_reason(error), [])
        finally:
            self._next_probe_at = time.monotonic() + CACHE_TTL
        return None, []

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Tells the signals that end the process on to whoever has taken them before: the first after the notice."""
        if threading.current_thread() is not threading.main_thread():  # which alone is told of signals
            yield
            return
        previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        handlers = {number: handler for number, handler in previous.items() if callable(handler)}

        loop = asyncio.get_running_loop() if self.drain_seconds else None

        def stop(number: int, frame: FrameType | None) -> None:
            is_first, forward = self.stopping_since is None, handlers[signal.Signals(number)]
            self.stopping_since = self.stopping_since or time.monotonic()
            if loop and is_first:
                loop.call_soon_threadsafe(loop.call_later, self.drain_seconds, forward, number, None)
            else:
                forward(number, frame)

        for number in handlers:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _get_reason(error: Exception) -> str:
    if is_schema_outdated(error):  # no table of revisions: somebody else's database, or an empty one
        return SCHEMA_OUTDATED
    return MISSING_PRIVILEGES if is_permission_denied(error) else DATABASE_UNREACHABLE


def _get_notes(error: Exception) -> list[str]:
    """What is slow or locked is none: others may do better."""
    if is_read_only(error):
        return [READ_ONLY]
    return [MISSING_PRIVILEGES] if is_permission_denied(error) else []


def _json_response(status: int, body: Mapping[str, object]) -> Response:
    return JSONResponse(body, status, headers={"cache-control": "no-store"})
