"""Take jobs from the queue, and send the emails that they name."""

import asyncio
import contextlib
import datetime as dt
import uuid
from dataclasses import dataclass

import asyncpg
import structlog
from pgqueuer import AsyncpgDriver, Job, Queries, QueueManager, RetryRequested

from domain.email.delivery import AlreadyClaimed, Mailer, deliver
from domain.shop import Shop
from persistence import emails, job_queue
from persistence.postgres.errors import Unavailable

log = structlog.get_logger()

CONNECTION_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
APPLICATION_NAME = "bookstore email worker"
CLEANUP_INTERVAL = 600  # seconds
JOB_RETENTION = dt.timedelta(days=7)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The intervals and timeouts of an email worker, in seconds, and how many emails it sends at once."""

    poll_interval: float = 5  # for jobs whose notification was lost, or whose worker has died
    heartbeat_timeout: float = 5  # after which a silent worker counts as dead
    reconnect_delay: float = 1
    retry_delay: float = 5  # for emails that another worker has claimed, or while the database is unavailable
    takeover_grace: float = 30  # after an outage of the database, for other workers to record what they had sent
    shutdown_timeout: float = 5  # for emails in delivery when the worker stops
    concurrency: int = 10


class EmailWorker:
    """Sends emails from the queue. Any number of workers share it; each email is sent by one.

    `run` returns a few seconds after `stop`, with every job finished or released.
    """

    def __init__(self, shop: Shop, mailer: Mailer, settings: WorkerSettings | None = None) -> None:
        self._shop = shop
        self._mailer = mailer
        self._settings = settings or WorkerSettings()
        self._retry_delay = dt.timedelta(seconds=self._settings.retry_delay)
        self._stopping = asyncio.Event()
        self._queue_manager: QueueManager | None = None
        self._last_outage_at = 0.0
        self._deliveries: dict[uuid.UUID, asyncio.Task[dt.timedelta | None]] = {}

    def stop(self) -> None:
        """Take no more jobs, and cancel deliveries that do not finish within `shutdown_timeout`."""
        self._stopping.set()
        if self._queue_manager is not None:
            self._queue_manager.shutdown.set()
        asyncio.get_running_loop().call_later(self._settings.shutdown_timeout, self._cancel_deliveries)

    def _cancel_deliveries(self) -> None:
        for delivery in self._deliveries.values():
            delivery.cancel()

    async def run(self) -> None:
        """Process jobs until stopped; reconnect when the connection is lost."""
        log.info("email_worker_started", backend="none" if self._mailer.backend is None else str(self._mailer.backend))
        while not self._stopping.is_set():
            try:
                await self._connect_and_process()
            except CONNECTION_ERRORS as error:
                log.warning("email_worker_disconnected", reason=str(error) or type(error).__name__)
            except Exception:  # keep running: emails are waiting
                log.exception("email_worker_failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._settings.reconnect_delay)

    async def _connect_and_process(self) -> None:
        connection = await self._shop.database.open_dedicated_connection(APPLICATION_NAME)
        self._record_outage()
        cleanup = asyncio.create_task(self._run_cleanup())
        try:
            await self._process_jobs(AsyncpgDriver(connection))
        finally:
            cleanup.cancel()
            await asyncio.gather(cleanup, return_exceptions=True)
            with contextlib.suppress(*CONNECTION_ERRORS):
                await connection.close(timeout=1)

    async def _process_jobs(self, driver: AsyncpgDriver) -> None:
        manager = self._queue_manager = QueueManager(Queries(driver))

        @manager.entrypoint(emails.ENTRYPOINT)
        async def handle(job: Job) -> None:
            await self._handle_job(job)

        if self._stopping.is_set():
            return
        try:
            await manager.run(
                dequeue_timeout=dt.timedelta(seconds=self._settings.poll_interval),
                heartbeat_timeout=dt.timedelta(seconds=self._settings.heartbeat_timeout),
                batch_size=max(1, self._settings.concurrency // 2),
                max_concurrent_tasks=self._settings.concurrency,
                log_aggregation_interval=dt.timedelta(0),
            )
        finally:
            self._queue_manager = None

    async def _handle_job(self, job: Job) -> None:
        """Deliver the email of a job.

        Raises:
            RetryRequested: the job stays in the queue; any other exception would remove it.
        """
        email_id = uuid.UUID((job.payload or b"").decode())
        try:
            delay = await self._deliver(email_id)
        except asyncio.CancelledError:
            raise RetryRequested(dt.timedelta(0), "The worker is stopping.") from None
        except AlreadyClaimed:
            raise RetryRequested(self._retry_delay, "Another worker has claimed it.") from None
        except Unavailable as error:
            self._record_outage()
            raise RetryRequested(self._retry_delay, "The database is unavailable.") from error
        except Exception as error:
            log.exception("email_delivery_failed", email_id=str(email_id))
            raise RetryRequested(self._retry_delay, "Delivery failed.") from error
        if delay is not None:
            raise RetryRequested(delay, "Delivery is retried later.")

    async def _deliver(self, email_id: uuid.UUID) -> dt.timedelta | None:
        if email_id in self._deliveries:
            raise AlreadyClaimed
        is_recovering = asyncio.get_running_loop().time() < self._last_outage_at + self._settings.takeover_grace
        delivery = asyncio.create_task(deliver(self._shop, self._mailer, email_id, reclaim_expired=not is_recovering))
        self._deliveries[email_id] = delivery
        try:
            return await delivery
        finally:
            del self._deliveries[email_id]

    def _record_outage(self) -> None:
        """Note an outage of the database: other workers may not have recorded the emails that they sent."""
        self._last_outage_at = asyncio.get_running_loop().time()

    async def _run_cleanup(self) -> None:
        while True:
            try:
                async with self._shop.database.transaction() as tx:
                    if orphans := await emails.requeue_orphaned_emails(tx):
                        log.warning("orphans_requeued", count=orphans)
                    await job_queue.delete_old_job_logs(tx, JOB_RETENTION)
            except Unavailable:
                log.warning("cleanup_postponed")
            await asyncio.sleep(CLEANUP_INTERVAL)
