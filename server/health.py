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
from persistence.faults import Unavailable
from persistence.readiness import find_revision, write_nothing
from server.migrating import older_revisions

log = structlog.get_logger()

TIMEOUT = 2  # seconds
DRAIN_TIMEOUT = 15  # seconds from the signal, or the end of its notice, to the end of the process
STOPPING = "stopping"
NO_DATABASE = "the database does not answer"
BEHIND = "the database is not at this version's tables"
STRANGE_KEYS = "SECRET_KEY is none of those that other servers have: tokens of theirs are refused here"
NO_WRITES = "the database takes no writes: visitors are served, and nobody can buy"


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

    async def __call__(self, _: Request) -> Response:
        problem = await self._problem() if self.stopping_since is None else STOPPING
        if problem:
            return _told(503, {"status": "not ready", "reason": problem})
        notes = await self._notes()
        return _told(200, {"status": "ready"} | ({"notes": notes} if notes else {}))

    def time_left(self) -> float:
        """Seconds until the process has to be over."""
        if self.stopping_since is None:
            return DRAIN_TIMEOUT
        return self.stopping_since + self.notice + DRAIN_TIMEOUT - time.monotonic()

    async def _problem(self) -> str | None:
        try:
            async with asyncio.timeout(TIMEOUT):
                revision = await find_revision(self.shop.database.reading)
        except (Unavailable, TimeoutError) as error:
            log.warning("not ready", cause=repr(error.__cause__ or error))
            return NO_DATABASE
        except Exception:
            log.exception("not ready")  # no table of revisions: somebody else's database, or an empty one
            return BEHIND
        return BEHIND if revision in self._older else None

    async def _notes(self) -> list[str]:
        database = self.shop.database
        notes = [f"{database.standby_trouble}: the primary serves visitors, too"] if database.standby_trouble else []
        if self.shop.secret_keys.are_strange:
            notes.append(STRANGE_KEYS)
        try:
            async with asyncio.timeout(TIMEOUT), database.transaction() as tx:
                await write_nothing(tx)
        except (Unavailable, TimeoutError) as error:
            log.warning("no writes", cause=repr(error.__cause__ or error))
            notes.append(NO_WRITES)
        return notes

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


def _told(status: int, body: Mapping[str, object]) -> Response:
    return JSONResponse(body, status, headers={"cache-control": "no-store"})
