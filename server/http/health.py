"""Answer the probes of load balancers and orchestrators: /health and /ready."""

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
from server.messages import KEY_MISMATCH, MISSING_PRIVILEGES, SCHEMA_OUTDATED

log = structlog.get_logger()

PROBE_TIMEOUT = 2  # seconds
CACHE_TTL = 0.5  # seconds for which a probe's result is reused, so that frequent probes do not load PostgreSQL
DRAIN_TIMEOUT = 15  # seconds from the signal, or from the end of DRAIN_SECONDS, to the end of the process
STOPPING = "stopping"
DATABASE_UNREACHABLE = "The database does not respond."
READ_ONLY = "The database is read-only: queries work, purchases do not."
ANY_MISSING_PRIVILEGE = MISSING_PRIVILEGES.format(setting="DATABASE_URL", table="some tables")

ProbeResult = tuple[str | None, list[str]]
"""The reason why this server is not ready, or `None` with notes about further problems."""


async def health(_: Request) -> Response:
    """Respond 200 while the process is alive, whatever the state of the database."""
    return _json_response(200, {"status": "ok"})


@dataclass(slots=True)
class Readiness:
    """Whether the server accepts requests: until SIGTERM or SIGINT, and while the database works.

    Problems that another server would have, too, are listed in `notes` of a positive response.
    For `drain_seconds` after the signal requests are still served, so that load balancers notice the negative response.
    """

    shop: Shop
    drain_seconds: float = 0
    stopping_since: float | None = None
    _older_revisions: frozenset[str | None] = field(default_factory=list_older_revisions)
    _probe_task: asyncio.Task[ProbeResult] | None = None
    _next_probe_at: float = 0.0

    async def __call__(self, _: Request) -> Response:
        """Respond 200 if the server is ready, otherwise 503 with the reason."""
        reason, notes = await self._get_probe_result() if self.stopping_since is None else (STOPPING, [])
        if reason:
            return _json_response(503, {"status": "not ready", "reason": reason})
        notes = [*self._list_local_notes(), *notes]
        return _json_response(200, {"status": "ready"} | ({"notes": notes} if notes else {}))

    def seconds_left(self) -> float:
        """Return how many seconds are left until the process must have ended."""
        if self.stopping_since is None:
            return DRAIN_TIMEOUT
        return self.stopping_since + self.drain_seconds + DRAIN_TIMEOUT - time.monotonic()

    def _list_local_notes(self) -> Iterator[str]:
        """Yield the notes that need no query."""
        if failure := self.shop.database.replica_failure:
            yield f"{failure}: the primary serves anonymous reads, too"
        if self.shop.secret_key_check.is_mismatched:
            yield KEY_MISMATCH

    async def _get_probe_result(self) -> ProbeResult:
        """Return the result of the current probe, or of one within the last `CACHE_TTL` seconds."""
        if self._probe_task is None or (self._probe_task.done() and time.monotonic() >= self._next_probe_at):
            self._probe_task = asyncio.create_task(self._probe())
        return await asyncio.shield(self._probe_task)

    async def _probe(self) -> ProbeResult:
        """Query the database on a connection outside of the pools, since a full pool says nothing about it."""
        can_read = False
        try:
            async with asyncio.timeout(PROBE_TIMEOUT), self.shop.database.probe_transaction() as tx:
                if await find_revision(tx) in self._older_revisions:
                    return SCHEMA_OUTDATED, []
                can_read = True
                await check_writable(tx)
        except Exception as error:
            is_expected = isinstance(error, (Unavailable, TimeoutError)) or is_permission_denied(error)
            (log.warning if is_expected else log.exception)("probe_failed", cause=repr(error.__cause__ or error))
            return (None, _get_notes(error)) if can_read else (_get_reason(error), [])
        finally:
            self._next_probe_at = time.monotonic() + CACHE_TTL
        return None, []

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Mark the server as stopping on SIGTERM or SIGINT, and call the previous handler: the first time after the drain."""
        if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
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
    if is_schema_outdated(error):  # no table of revisions: another program's database, or an empty one
        return SCHEMA_OUTDATED
    return ANY_MISSING_PRIVILEGE if is_permission_denied(error) else DATABASE_UNREACHABLE


def _get_notes(error: Exception) -> list[str]:
    """Return the problems that other servers share. A slow or locked table is none of them."""
    if is_read_only(error):
        return [READ_ONLY]
    return [ANY_MISSING_PRIVILEGE] if is_permission_denied(error) else []


def _json_response(status: int, body: Mapping[str, object]) -> Response:
    return JSONResponse(body, status, headers={"cache-control": "no-store"})
