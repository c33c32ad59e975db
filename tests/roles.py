"""Roles in PostgreSQL that may do less than its owner."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import make_url


@asynccontextmanager
async def guest(postgres: asyncpg.Connection, *rights: str) -> AsyncIterator[str]:
    """The name of a role with these rights on all tables; its password is the same."""
    role = f"guest_{uuid.uuid4().hex[:12]}"
    await postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{role}'")
    for right in rights:
        await postgres.execute(f"GRANT {right} ON ALL TABLES IN SCHEMA public TO {role}")
    await postgres.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}")
    try:
        yield role
    finally:
        await postgres.execute(f"DROP OWNED BY {role}")
        await postgres.execute(f"DROP ROLE {role}")


def address_of(role: str, database_url: str) -> str:
    return make_url(database_url).set(username=role, password=role).render_as_string(hide_password=False)
