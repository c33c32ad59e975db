"""Which database to migrate: the caller's, or for the `alembic` command `DATABASE_DIRECT_URL` or `DATABASE_URL`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from alembic.config import Config

from persistence.postgres.connection import build_asyncpg_dsn


@contextmanager
def resolve_database_url(config: Config) -> Iterator[str]:
    env_url = os.environ.get("DATABASE_DIRECT_URL") or os.environ.get("DATABASE_URL")
    url = config.attributes.get("url") or env_url
    if not url:
        raise SystemExit("Set DATABASE_URL, or use `bookstore migrate`.")
    yield build_asyncpg_dsn(url)
