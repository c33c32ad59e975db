"""Which database to migrate: the caller's, or for the `alembic` command `DATABASE_DIRECT_URL` or `DATABASE_URL`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from alembic.config import Config

from persistence.connecting import driver_address


@contextmanager
def database_url(config: Config) -> Iterator[str]:
    named = os.environ.get("DATABASE_DIRECT_URL") or os.environ.get("DATABASE_URL")
    url = config.attributes.get("url") or named
    if not url:
        raise SystemExit("Set DATABASE_URL, or use `bookstore migrate`.")
    yield driver_address(url)
