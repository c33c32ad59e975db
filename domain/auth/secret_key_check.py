"""Detects a SECRET_KEY that differs from that of the shop's other processes, at start and every hour."""

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
    """Compares the ids of this process's secrets with the ids that processes of the shop record.

    The secrets mismatch when other processes recorded ids and none of them is in `key_ids`. Mismatched ids are recorded
    as the shop's own once no process has used the others for an hour.
    """

    key_ids: Sequence[str]
    _mismatched_at: dt.datetime | None = None
    _next_check_at: float = float("-inf")

    @property
    def is_mismatched(self) -> bool:
        """Whether the last check found a mismatch."""
        return self._mismatched_at is not None

    async def check(self, database: Database) -> None:
        """Compare the key ids with the recorded ones, and record them unless they mismatch.

        Raises:
            Unavailable: The database is unavailable.
        """
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
        """Check at the first call and then every `CHECK_INTERVAL`; log a mismatch.

        Raises:
            Unavailable: The database is unavailable.
        """
        if time.monotonic() >= self._next_check_at:
            await self.check(database)
            if self.is_mismatched:
                log.warning("secret_key_mismatch", key_ids=list(self.key_ids))
