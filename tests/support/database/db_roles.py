"""Database roles with fewer privileges than the owner."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import make_url


@asynccontextmanager
async def temporary_role(postgres: asyncpg.Connection, *privileges: str) -> AsyncIterator[str]:
    """Create a role with these privileges on all tables and yield its name, which is also its password."""
    role = f"guest_{uuid.uuid4().hex[:12]}"
    await postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{role}'")
    for privilege in privileges:
        await postgres.execute(f"GRANT {privilege} ON ALL TABLES IN SCHEMA public TO {role}")
    await postgres.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}")
    try:
        yield role
    finally:
        await postgres.execute(f"DROP OWNED BY {role}")
        await postgres.execute(f"DROP ROLE {role}")


def get_role_url(role: str, database_url: str) -> str:
    """Return the URL of the database with the role's name and password."""
    return make_url(database_url).set(username=role, password=role).render_as_string(hide_password=False)
