"""The poster: takes jobs from the queue and posts the letters they carry, for as long as it is let."""

import asyncio
import contextlib
import datetime as dt
import uuid
from dataclasses import dataclass

import asyncpg
import structlog
from pgqueuer import AsyncpgDriver, Job, Queries, QueueManager, RetryRequested

from domain.posting import Desk, InHand, post
from domain.shop import Shop
from persistence import jobs, letters
from persistence.faults import Unavailable

log = structlog.get_logger()

LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
NAME = "bookstore poster"
TIDY_EVERY = 600  # seconds
REMEMBERED = dt.timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Pace:
    """How soon things are noticed, in seconds, and how many letters are posted at once."""

    look: float = 5  # for jobs whose notice was missed, or whose poster has died
    heartbeat: float = 5  # after which a silent poster is taken for dead
    reconnect: float = 1
    again: float = 5  # for letters that another poster has in hand, or while the database is away
    grace: float = 30  # after the database was away, for others to note what they had sent, before it is taken over
    farewell: float = 5  # for letters on their way when it is told to stop
    at_once: int = 10


class Poster:
    """Any number of them share the work; each letter is sent by one.

    `run` comes back some seconds after `stop`, with every job done or given back.
    """

    def __init__(self, shop: Shop, desk: Desk, pace: Pace | None = None) -> None:
        self._shop = shop
        self._desk = desk
        self._pace = pace or Pace()
        self._soon = dt.timedelta(seconds=self._pace.again)
        self._stopping = asyncio.Event()
        self._manager: QueueManager | None = None
        self._trouble_at = 0.0
        self._in_hand: dict[uuid.UUID, asyncio.Task[dt.timedelta | None]] = {}

    def stop(self) -> None:
        self._stopping.set()
        if self._manager is not None:
            self._manager.shutdown.set()
        asyncio.get_running_loop().call_later(self._pace.farewell, self._give_back)

    def _give_back(self) -> None:
        for posting in self._in_hand.values():
            posting.cancel()

    async def run(self) -> None:
        """Connects again whenever the connection is lost."""
        log.info("poster_open", letters_go_to="nowhere" if self._desk.office is None else str(self._desk.office))
        while not self._stopping.is_set():
            try:
                await self._work()
            except LOST as error:
                log.warning("poster_disconnected", reason=str(error) or type(error).__name__)
            except Exception:  # letters wait for it, whatever happened
                log.exception("poster_failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._pace.reconnect)

    async def _work(self) -> None:
        connection = await self._shop.database.own_connection(NAME)
        self._note_trouble()
        tidying = asyncio.create_task(self._tidy_for_ever())
        try:
            await self._manage(AsyncpgDriver(connection))
        finally:
            tidying.cancel()
            await asyncio.gather(tidying, return_exceptions=True)
            with contextlib.suppress(*LOST):
                await connection.close(timeout=1)

    async def _manage(self, driver: AsyncpgDriver) -> None:
        manager = self._manager = QueueManager(Queries(driver))

        @manager.entrypoint(letters.ENTRYPOINT)
        async def carry(job: Job) -> None:
            await self._carry(job)

        if self._stopping.is_set():
            return
        try:
            await manager.run(
                dequeue_timeout=dt.timedelta(seconds=self._pace.look),
                heartbeat_timeout=dt.timedelta(seconds=self._pace.heartbeat),
                batch_size=max(1, self._pace.at_once // 2),
                max_concurrent_tasks=self._pace.at_once,
                log_aggregation_interval=dt.timedelta(0),
            )
        finally:
            self._manager = None

    async def _carry(self, job: Job) -> None:
        """Raises `RetryRequested` and nothing else: any other end takes the job from the queue."""
        letter_id = uuid.UUID((job.payload or b"").decode())
        try:
            delay = await self._post(letter_id)
        except asyncio.CancelledError:
            raise RetryRequested(dt.timedelta(0), "The poster closes.") from None
        except InHand:
            raise RetryRequested(self._soon, "Another poster has it in hand.") from None
        except Unavailable as error:
            self._note_trouble()
            raise RetryRequested(self._soon, "The database was away.") from error
        except Exception as error:
            log.exception("posting_failed", letter=str(letter_id))
            raise RetryRequested(self._soon, "It could not be posted.") from error
        if delay is not None:
            raise RetryRequested(delay, "It is to be tried again.")

    async def _post(self, letter_id: uuid.UUID) -> dt.timedelta | None:
        if letter_id in self._in_hand:
            raise InHand
        careful = asyncio.get_running_loop().time() < self._trouble_at + self._pace.grace
        posting = asyncio.create_task(post(self._shop, self._desk, letter_id, takes_over=not careful))
        self._in_hand[letter_id] = posting
        try:
            return await posting
        finally:
            del self._in_hand[letter_id]

    def _note_trouble(self) -> None:
        """Others, too, may have lost the database, with letters that they have sent."""
        self._trouble_at = asyncio.get_running_loop().time()

    async def _tidy_for_ever(self) -> None:
        while True:
            try:
                async with self._shop.database.transaction() as tx:
                    if strays := await letters.requeue_strays(tx):
                        log.warning("strays_requeued", letters=strays)
                    await jobs.forget_old_jobs(tx, REMEMBERED)
            except Unavailable:
                log.warning("tidying_postponed")
            await asyncio.sleep(TIDY_EVERY)
