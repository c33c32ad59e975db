"""Connections through PgBouncer in transaction mode, where each transaction sets its own session settings."""

from collections.abc import Mapping
from typing import Any

from persistence.postgres.pool import PoolConnection


def build_begin_statement(settings: Mapping[str, str], *, read_only: bool) -> str:
    """Return SQL that begins a transaction and applies the settings in it, in one message."""
    command = "BEGIN READ ONLY" if read_only else "BEGIN"
    return "; ".join([command, *(f"SET LOCAL {name} = '{value}'" for name, value in settings.items())])


class PgBouncerConnection(PoolConnection):
    """A connection without prepared statements: each transaction may run in another session of PostgreSQL."""

    async def fetch(self, query: str, *args: Any, **kwargs: Any) -> Any:
        """Run a query and return its records, in a transaction of its own unless one is open."""
        if self.is_in_transaction():
            return await super().fetch(query, *args, **kwargs)
        await self.execute(self.begin_statement)
        try:
            records = await super().fetch(query, *args, **kwargs)
        except TimeoutError:  # the server does not respond, so a ROLLBACK would wait, too
            raise
        except Exception:
            if self.has_open_transaction:
                await self.execute("ROLLBACK")
            raise
        await self.execute("COMMIT")
        return records
