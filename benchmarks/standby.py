"""A standby of the database that is measured."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import make_url

from benchmarks.data import named
from tests.support.database.replication import PostgresServer
from tests.support.observability.prometheus import free_port


@contextmanager
def standing_by(url: str, folder: Path) -> Iterator[str]:
    """The address of the same database at a server that follows the one at `url`, and is stopped after the block."""
    node = PostgresServer(folder / "standby", free_port())
    node.create_data_dir()
    try:
        asyncio.run(node.start_as_replica(url))
        yield named(node.url, make_url(url).database or "")
    finally:
        if node.is_running:
            asyncio.run(node.crash())
