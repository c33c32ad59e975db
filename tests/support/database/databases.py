"""Databases that exist for one test: empty, or copies of another database."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import make_url


@asynccontextmanager
async def temporary_database(server_url: str, template: str = "template1") -> AsyncIterator[str]:
    """Create a database, yield its URL, and drop it.

    It commits asynchronously. No session may be connected to the template.
    """
    name = f"bookstore_test_{uuid.uuid4().hex[:12]}"
    connection = await asyncpg.connect(server_url)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()
