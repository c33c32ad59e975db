"""Connections through a pooler that has another session for each transaction: each of them says what is to hold in it."""

from collections.abc import Mapping
from typing import Any

from persistence.postgres.pool import PoolConnection


def build_begin_statement(settings: Mapping[str, str], *, read_only: bool) -> str:
    """Begins a transaction in which these settings hold, in one message."""
    command = "BEGIN READ ONLY" if read_only else "BEGIN"
    return "; ".join([command, *(f"SET LOCAL {name} = '{value}'" for name, value in settings.items())])


class PgBouncerConnection(PoolConnection):
    """Nothing is prepared on it, for the next transaction may find another session; what is read alone is one of its own."""

    async def fetch(self, query: str, *args: Any, **kwargs: Any) -> Any:
        if self.is_in_transaction():
            return await super().fetch(query, *args, **kwargs)
        await self.execute(self.begin_statement)
        try:
            records = await super().fetch(query, *args, **kwargs)
        except TimeoutError:  # nobody is there to be told
            raise
        except Exception:
            if self.has_open_transaction:
                await self.execute("ROLLBACK")
            raise
        await self.execute("COMMIT")
        return records
