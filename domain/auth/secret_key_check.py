"""Whether this process has the secrets that the shop's other processes have: it looks as it starts, and every hour."""

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from persistence.postgres.database import Database
from persistence.secret_keys import list_used_keys, record_used_keys

log = structlog.get_logger()

CHECK_INTERVAL = 3600.0  # seconds


@dataclass(slots=True)
class SecretKeyCheck:
    """Secrets by their ids. They are strange where the shop was run with others last, and with none of these.

    Strange ones are noted as the shop's own once an hour has passed in which nobody ran it with the others.
    """

    key_ids: Sequence[str]
    _mismatched_at: dt.datetime | None = None
    _next_check_at: float = float("-inf")

    @property
    def is_mismatched(self) -> bool:
        return self._mismatched_at is not None

    async def check(self, database: Database) -> None:
        """Raises `Unavailable`."""
        async with database.transaction() as tx:
            used_keys = await list_used_keys(tx)
            other_used_at = (
                [key.used_at for key in used_keys]
                if not {key.id for key in used_keys}.intersection(self.key_ids)
                else []
            )
            if other_used_at and (self._mismatched_at is None or max(other_used_at) >= self._mismatched_at):
                self._mismatched_at = used_keys[0].checked_at
            else:
                await record_used_keys(tx, self.key_ids)
                self._mismatched_at = None
        self._next_check_at = time.monotonic() + CHECK_INTERVAL

    async def check_if_due(self, database: Database) -> None:
        """At once, and every hour; strange ones are told in the log."""
        if time.monotonic() >= self._next_check_at:
            await self.check(database)
            if self.is_mismatched:
                log.warning("secret_key_strange", key_ids=list(self.key_ids))
