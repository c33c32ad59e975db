"""Runs the migrations, one process at a time: whoever comes second finds the work done."""

import asyncio

import asyncpg
from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from migrations.address import database_url
from persistence.models import Table

LOCK = 0x626F6F6B73  # "books"


def is_ours(name: str | None, kind: str, _: object) -> bool:
    """PgQueuer's tables are described by PgQueuer."""
    return not (kind == "table" and name is not None and name.startswith("pgqueuer"))


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Table.metadata, compare_type=True, include_name=is_ours)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.run_migrations()


async def connect_and_migrate(url: str) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url, timeout=5), poolclass=pool.NullPool
    )
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


with database_url(context.config) as url:
    asyncio.run(connect_and_migrate(url))
