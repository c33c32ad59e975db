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
from persistence.faults import Unavailable, is_behind, is_forbidden, is_read_only
from persistence.readiness import find_revision, write_nothing
from server.migrating import older_revisions

log = structlog.get_logger()

TIMEOUT = 2  # seconds
KEPT = 0.5  # seconds for which what was seen is told again: whoever asks all the time costs PostgreSQL nothing
DRAIN_TIMEOUT = 15  # seconds from the signal, or the end of its notice, to the end of the process
STOPPING = "stopping"
NO_DATABASE = "the database does not answer"
BEHIND = "the database is not at this version's tables"
NO_RIGHTS = "the database does not let us: its role lacks rights on tables"
STRANGE_KEYS = "SECRET_KEY is none of those that other servers have: tokens of theirs are refused here"
NO_WRITES = "the database takes no writes: visitors are served, and nobody can buy"


Seen = tuple[str | None, list[str]]
"""Why requests are not welcome, or what else is wrong."""


async def health(_: Request) -> Response:
    """The process is alive; it asks nobody else."""
    return _told(200, {"status": "ok"})


@dataclass(slots=True)
class Readiness:
    """Whether requests are welcome: until SIGTERM or SIGINT, and while the database is well.

    What is wrong and no reason to send them elsewhere is told in `notes`.
    For `notice` seconds after the signal they are served all the same: balancers need time to learn that they are not welcome.
    """

    shop: Shop
    notice: float = 0
    stopping_since: float | None = None
    _older: frozenset[str | None] = field(default_factory=older_revisions)
    _looking: asyncio.Task[Seen] | None = None
    _look_at: float = 0.0

    async def __call__(self, _: Request) -> Response:
        problem, notes = await self._seen() if self.stopping_since is None else (STOPPING, [])
        if problem:
            return _told(503, {"status": "not ready", "reason": problem})
        notes = [*self._known(), *notes]
        return _told(200, {"status": "ready"} | ({"notes": notes} if notes else {}))

    def time_left(self) -> float:
        """Seconds until the process has to be over."""
        if self.stopping_since is None:
            return DRAIN_TIMEOUT
        return self.stopping_since + self.notice + DRAIN_TIMEOUT - time.monotonic()

    def _known(self) -> Iterator[str]:
        """What it takes no look to tell."""
        if trouble := self.shop.database.standby_trouble:
            yield f"{trouble}: the primary serves visitors, too"
        if self.shop.secret_keys.are_strange:
            yield STRANGE_KEYS

    async def _seen(self) -> Seen:
        """By whoever looks just now, or has looked a moment ago."""
        if self._looking is None or (self._looking.done() and time.monotonic() >= self._look_at):
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)

    async def _look(self) -> Seen:
        """Beside the pools: one that is full tells nothing about the database."""
        is_read = False
        try:
            async with asyncio.timeout(TIMEOUT), self.shop.database.aside() as tx:
                if await find_revision(tx) in self._older:
                    return BEHIND, []
                is_read = True
                await write_nothing(tx)
        except Exception as error:
            known = isinstance(error, (Unavailable, TimeoutError)) or is_forbidden(error)
            (log.warning if known else log.exception)("not ready", cause=repr(error.__cause__ or error))
            return (None, _notes_on(error)) if is_read else (_reason_in(error), [])
        finally:
            self._look_at = time.monotonic() + KEPT
        return None, []

    @contextmanager
    def watching_signals(self) -> Iterator[None]:
        """Tells the signals that end the process on to whoever has taken them before: the first after the notice."""
        if threading.current_thread() is not threading.main_thread():  # which alone is told of signals
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        taken = {number: handler for number, handler in before.items() if callable(handler)}

        loop = asyncio.get_running_loop() if self.notice else None

        def stop(number: int, frame: FrameType | None) -> None:
            is_first, tell = self.stopping_since is None, taken[signal.Signals(number)]
            self.stopping_since = self.stopping_since or time.monotonic()
            if loop and is_first:
                loop.call_soon_threadsafe(loop.call_later, self.notice, tell, number, None)
            else:
                tell(number, frame)

        for number in taken:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in taken.items():
                signal.signal(number, handler)


def _reason_in(error: Exception) -> str:
    if is_behind(error):  # no table of revisions: somebody else's database, or an empty one
        return BEHIND
    return NO_RIGHTS if is_forbidden(error) else NO_DATABASE


def _notes_on(error: Exception) -> list[str]:
    """What is slow or locked is none: others may do better."""
    if is_read_only(error):
        return [NO_WRITES]
    return [NO_RIGHTS] if is_forbidden(error) else []


def _told(status: int, body: Mapping[str, object]) -> Response:
    return JSONResponse(body, status, headers={"cache-control": "no-store"})
