"""The bookstore servers, and the database that they need before they start."""

import csv
import io
from functools import partial

import asyncpg

from persistence.postgres.read_session import DRIVER_ERRORS
from tools.bench import feed
from tools.bench.processes import BOOKSTORE, HOST, SECRET
from tools.cluster import pgbouncer
from tools.cluster.cluster import DATABASE, SERVERS, Cluster
from tools.cluster.processes import request

BOOKS = 300
STOCK = "100000"  # of each book: an order must not fail because it is sold out
NAMES = [f"server{n}" for n in range(1, SERVERS + 1)]
CONNECT_TIMEOUT, COMMAND_TIMEOUT, START_TIMEOUT = 30, 120, 60  # seconds


async def create_database(cluster: Cluster) -> None:
    """Create the database with its tables and books."""
    connection = await connect(cluster, "postgres", "postgres")
    try:
        await connection.execute(f"CREATE ROLE {DATABASE} LOGIN PASSWORD '{cluster.password}'")
        await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {DATABASE}")
    finally:
        await connection.close(timeout=5)
    books = cluster.processes.write("feed.csv", _make_feed())
    for arguments in (("migrate",), ("import", books.name)):  # relative to the working directory
        name = f"bookstore-{arguments[0]}"
        await cluster.processes.run(name, COMMAND_TIMEOUT, BOOKSTORE, *arguments, **_settings(cluster))


async def connect(cluster: Cluster, role: str = DATABASE, database: str = DATABASE) -> asyncpg.Connection:
    """Connect to the primary, as soon as HAProxy has found it."""
    url = cluster.database_url(cluster.ports.primary, role, database)

    async def try_to_connect() -> asyncpg.Connection | None:
        try:
            return await asyncpg.connect(f"{url}?target_session_attrs=read-write", timeout=5, command_timeout=30)
        except DRIVER_ERRORS:
            return None

    return await cluster.processes.wait_for("A connection to the primary", CONNECT_TIMEOUT, try_to_connect)


def _make_feed() -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(feed.COLUMNS)
    writer.writerows((*row[:5], STOCK, *row[6:]) for row in feed.make_rows(BOOKS))
    return text.getvalue()


def start(cluster: Cluster, *names: str) -> None:
    """Start servers."""
    for name in names:
        port = str(cluster.ports.servers[NAMES.index(name)])
        cluster.processes.start(name, BOOKSTORE, "serve", "--port", port, **_settings(cluster))


async def wait_until_ready(cluster: Cluster, *names: str) -> None:
    """Wait for servers, and for the load balancer."""
    ports = {name: cluster.ports.servers[NAMES.index(name)] for name in names}
    for name, port in (ports | {"the load balancer": cluster.ports.front}).items():
        check = partial(_is_ready, f"http://{HOST}:{port}/ready")
        await cluster.processes.wait_for(f"The start of {name}", START_TIMEOUT, check)


async def _is_ready(url: str) -> bool | None:
    return (await request(url)).status_code == 200 or None


def _settings(cluster: Cluster) -> dict[str, str]:
    return {
        "ENVIRONMENT": "development",  # no TLS on loopback
        "DATABASE_URL": cluster.database_url(cluster.ports.pgbouncer),
        "DATABASE_READ_URL": cluster.database_url(cluster.ports.replicas),
        "DATABASE_DIRECT_URL": cluster.database_url(cluster.ports.primary),
        "PREPARED_STATEMENTS": str(pgbouncer.POOL_MODE == "session").lower(),
        "SECRET_KEY": SECRET,
        "PUBLIC_URL": f"http://{HOST}:{cluster.ports.front}",  # both servers must accept each other's tokens
        "RATE_LIMIT_STORAGE": "postgresql",
        "TRUSTED_PROXIES": HOST,
        "MAIL_FOLDER": str(cluster.processes.folder / "mail"),
        "SWEEP_AFTER_SECONDS": "30",
        "POOL_SIZE": "4",
        "POOL_MAX_OVERFLOW": "4",
        "LOG_LEVEL": "warning",
    }
