"""Connections through PgBouncer in transaction mode: each transaction sets its own session settings."""

from collections.abc import Mapping
from typing import Any

from persistence.postgres.pool import PoolConnection


def build_begin_statement(settings: Mapping[str, str], *, read_only: bool) -> str:
    """Build the statements that begin a transaction with these local settings, sent as one message."""
    command = "BEGIN READ ONLY" if read_only else "BEGIN"
    return "; ".join([command, *(f"SET LOCAL {name} = '{value}'" for name, value in settings.items())])


class PgBouncerConnection(PoolConnection):
    """A connection without prepared statements. A query outside a transaction runs in a transaction of its own."""

    async def fetch(self, query: str, *args: Any, **kwargs: Any) -> Any:
        """Return the records of a query, with the session settings applied."""
        if self.is_in_transaction():
            return await super().fetch(query, *args, **kwargs)
        await self.execute(self.begin_statement)
        try:
            records = await super().fetch(query, *args, **kwargs)
        except TimeoutError:  # the server does not respond to a ROLLBACK either
            raise
        except Exception:
            if self.has_open_transaction:
                await self.execute("ROLLBACK")
            raise
        await self.execute("COMMIT")
        return records
