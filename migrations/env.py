"""Runs the migrations, one process at a time, beside a shop that is open: whoever comes second finds the work done."""

import asyncio
import os

import asyncpg
import stamina
from alembic import context
from sqlalchemy import Connection, event, pool
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from migrations.lock import LOCK_WAIT_TIMEOUT, migration_lock
from persistence.postgres.connection import build_asyncpg_dsn
from persistence.postgres.multihost import connect_any
from persistence.tables import Base

LOCK_TIMEOUT = "1s"
"""For which a change of a table may wait: all who ask for the table meanwhile stand in line behind it."""
MAX_ATTEMPTS = 20
LOCK_NOT_AVAILABLE = "55P03"


def is_managed_name(name: str | None, type_: str, _: object) -> bool:
    """PgQueuer's tables are described by PgQueuer."""
    return not (type_ == "table" and name is not None and name.startswith("pgqueuer"))


def migrate(connection: Connection) -> None:
    """Each revision in a transaction of its own: what one of them locks, the next does not keep."""
    event.listen(connection, "begin", _set_timeouts)
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        include_name=is_managed_name,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _set_timeouts(connection: Connection) -> None:
    """But for what is on its own, an index that is built concurrently: it waits and keeps nobody waiting."""
    if connection.get_isolation_level() != "AUTOCOMMIT":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # a role's own would end long changes


def _is_lock_timeout(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE


def get_database_url() -> str:
    """Return the caller's URL, or for the `alembic` command the one in DATABASE_DIRECT_URL or DATABASE_URL.

    Raises:
        SystemExit: none of them is set.
    """
    url = (
        context.config.attributes.get("url") or os.environ.get("DATABASE_DIRECT_URL") or os.environ.get("DATABASE_URL")
    )
    if not url:
        raise SystemExit("Set DATABASE_URL, or use `bookstore migrate`.")
    return build_asyncpg_dsn(url)


async def run_migrations_online(url: str) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: connect_any(url, asyncpg.Connection, timeout=5),
        poolclass=pool.NullPool,
    )
    async with migration_lock(url):
        async for attempt in stamina.retry_context(
            on=_is_lock_timeout, attempts=MAX_ATTEMPTS, timeout=LOCK_WAIT_TIMEOUT, wait_initial=0.5, wait_max=5
        ):
            with attempt:
                async with engine.connect() as connection:
                    await connection.run_sync(migrate)
    await engine.dispose()


def run_migrations_offline() -> None:
    """As SQL, for those who want to read or check it."""
    context.configure(dialect_name="postgresql", target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    asyncio.run(run_migrations_online(get_database_url()))
