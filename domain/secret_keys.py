"""Whether this process has the secrets that the shop's other processes have: it looks as it starts, and every hour."""

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from persistence.database import Database
from persistence.secret_keys import list_used_keys, use_keys

log = structlog.get_logger()

EVERY = 3600.0  # seconds


@dataclass(slots=True)
class SecretKeys:
    """Secrets by their ids. They are strange where the shop was run with others last, and with none of these.

    Strange ones are noted as the shop's own once an hour has passed in which nobody ran it with the others.
    """

    ids: Sequence[str]
    _strange_at: dt.datetime | None = None
    _look_at: float = float("-inf")

    @property
    def are_strange(self) -> bool:
        return self._strange_at is not None

    async def look(self, database: Database) -> None:
        """Raises `Unavailable`."""
        async with database.transaction() as tx:
            used = await list_used_keys(tx)
            others = [key.used_at for key in used] if not {key.id for key in used}.intersection(self.ids) else []
            if others and (self._strange_at is None or max(others) >= self._strange_at):
                self._strange_at = used[0].now
            else:
                await use_keys(tx, self.ids)
                self._strange_at = None
        self._look_at = time.monotonic() + EVERY

    async def look_when_due(self, database: Database) -> None:
        """At once, and every hour; strange ones are told in the log."""
        if time.monotonic() >= self._look_at:
            await self.look(database)
            if self.are_strange:
                log.warning("secret_key_strange", key_ids=list(self.ids))
