"""The queue that letters travel in: PgQueuer, on tables of its own in the same database."""

from collections.abc import Sequence

from pgqueuer import AsyncpgDriver, Queries

from persistence.database import Transaction


async def enqueue(tx: Transaction, entrypoint: str, payloads: Sequence[bytes]) -> None:
    """Jobs that exist once the transaction is committed, and never if it is not."""
    if payloads:
        connection = await tx.driver_connection()
        await Queries(AsyncpgDriver(connection)).enqueue(
            [entrypoint] * len(payloads), list(payloads), [0] * len(payloads)
        )
