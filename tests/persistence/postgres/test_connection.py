"""Options of database URLs apply to reads and writes, and URLs may have several hosts."""

import pytest
from sqlalchemy import make_url
from sqlalchemy import text as sql

from domain.shop import Shop
from persistence.catalog import is_empty
from persistence.postgres.connection import build_asyncpg_dsn
from persistence.postgres.database import Database
from persistence.postgres.multihost import split_hosts
from persistence.postgres.statements import Command


@pytest.mark.parametrize("parameters", [{"sslmode": "disable"}, {"sslmode": "prefer"}, {"target_session_attrs": "any"}])
async def test_url_options_apply_to_reads_and_writes(database_url: str, shop: Shop, parameters: dict[str, str]) -> None:
    async with Database(_add_parameters(database_url, parameters)) as database:
        assert await is_empty(database.read_session)
        async with database.transaction() as tx:
            assert await tx.scalar(Command(sql("SELECT 1"))) == 1


def _add_parameters(url: str, parameters: dict[str, str]) -> str:
    return make_url(url).update_query_dict(parameters).render_as_string(hide_password=False)


@pytest.mark.parametrize(
    ("url", "dsn"),
    [
        ("postgresql+asyncpg://a:b@c/d", "postgresql://a:b@c/d"),
        ("postgresql://a@b:1,c:2/d?sslmode=require", "postgresql://a@b:1,c:2/d?sslmode=require"),
        ("postgresql://a@/d?host=b:1&host=c:2&sslmode=require", "postgresql://a@/d?host=b:1,c:2&sslmode=require"),
        ("postgresql://a@/d?sslmode=require&host=/run/b", "postgresql://a@/d?sslmode=require&host=/run/b"),
    ],
)
def test_multi_host_url_keeps_all_hosts(url: str, dsn: str) -> None:
    assert build_asyncpg_dsn(url) == dsn


@pytest.mark.parametrize(
    ("url", "host_urls"),
    [
        ("postgresql://a:b@c/d?sslmode=require", ["postgresql://a:b@c/d?sslmode=require"]),
        ("postgresql://a:b@c:1,d:2/e", ["postgresql://a:b@c:1/e", "postgresql://a:b@d:2/e"]),
        ("postgresql://c,d", ["postgresql://c", "postgresql://d"]),
        (
            "postgresql://a@/d?host=b:1,c:2&sslmode=require",
            ["postgresql://a@/d?host=b:1&sslmode=require", "postgresql://a@/d?host=c:2&sslmode=require"],
        ),
        ("postgresql:///d?host=b,c&port=1,2", ["postgresql:///d?host=b&port=1", "postgresql:///d?host=c&port=2"]),
        ("postgresql:///d?host=b,c&port=1", ["postgresql:///d?host=b&port=1", "postgresql:///d?host=c&port=1"]),
    ],
)
def test_hosts_are_split_into_urls(url: str, host_urls: list[str]) -> None:
    assert split_hosts(url) == host_urls
