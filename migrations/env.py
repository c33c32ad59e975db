"""Alembic's environment: run the migrations next to a running shop, in one process at a time."""

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
"""How long a statement waits for a lock: queries of the same table queue behind it."""
MAX_ATTEMPTS = 20
LOCK_NOT_AVAILABLE = "55P03"


def is_managed_name(name: str | None, type_: str, _: object) -> bool:
    """Exclude PgQueuer's tables, which are not among our models."""
    return not (type_ == "table" and name is not None and name.startswith("pgqueuer"))


def migrate(connection: Connection) -> None:
    """Run each revision in its own transaction, so that no lock is held longer than its revision."""
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
    """Set timeouts, except outside of transactions: a concurrent index build waits, and blocks no client."""
    if connection.get_isolation_level() != "AUTOCOMMIT":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # a role's own timeout would cancel long changes


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
    """Migrate the database at a URL, and retry while a lock is not available."""
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
    """Print the SQL of the migrations, for review and for the linter."""
    context.configure(dialect_name="postgresql", target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    asyncio.run(run_migrations_online(get_database_url()))
