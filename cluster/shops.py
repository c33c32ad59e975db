"""The replicas of the shop, and what they need of the database before they open."""

import csv
import io
import secrets
import sys
from functools import partial
from pathlib import Path

import asyncpg

from benchmarks import feed
from cluster import pgbouncer
from cluster.cluster import DATABASE, Cluster
from cluster.ports import HOST, REPLICAS
from cluster.processes import Broken
from cluster.waiting import ready, until
from persistence.postgres.read_session import DRIVER_ERRORS

BOOKSTORE = Path(sys.executable).with_name("bookstore")
BOOKS = 300
STOCK = "100000"  # of each: nobody is to be refused for lack of it
NAMES = [f"shop{n}" for n in range(1, REPLICAS + 1)]
SECRET = secrets.token_urlsafe(48)


async def make_database(cluster: Cluster) -> None:
    address = cluster.address(cluster.ports.primary, "postgres", "postgres")
    connection = await until(cluster.processes, "HAProxy's finding the primary", 30, lambda: connected(address))
    try:
        await connection.execute(f"CREATE ROLE {DATABASE} LOGIN PASSWORD '{cluster.password}'")
        await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {DATABASE}")
    finally:
        await connection.close(timeout=5)
    await _run(cluster, "migrate")
    await _run(cluster, "import", cluster.processes.write("feed.csv", _feed()).name)  # the folder is where it works


async def connected(address: str) -> asyncpg.Connection | None:
    """With the primary; nobody while HAProxy leads nowhere, or has not yet asked who it is."""
    try:
        return await asyncpg.connect(f"{address}?target_session_attrs=read-write", timeout=5, command_timeout=30)
    except DRIVER_ERRORS:
        return None


async def _run(cluster: Cluster, *arguments: str) -> None:
    name = f"bookstore-{arguments[0]}"
    cluster.processes.send(name, BOOKSTORE, *arguments, **_settings(cluster))

    async def look() -> int | None:
        return cluster.processes.ended(name)

    if await until(cluster.processes, f"`bookstore {arguments[0]}`", 120, look) != 0:
        raise Broken(f"`bookstore {arguments[0]}` failed:\n{cluster.processes.last_words(name)}")


def _feed() -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(feed.COLUMNS)
    writer.writerows((*row[:5], STOCK, *row[6:]) for row in feed.rows(BOOKS))
    return text.getvalue()


def start(cluster: Cluster, *names: str) -> None:
    for name in names:
        port = str(cluster.ports.shops[NAMES.index(name)])
        cluster.processes.start(name, BOOKSTORE, "serve", "--port", port, **_settings(cluster))


async def until_ready(cluster: Cluster, *names: str) -> None:
    """Each of them, and the load balancer, too."""
    addresses = {name: f"http://{HOST}:{cluster.ports.shops[NAMES.index(name)]}" for name in names}
    for name, address in (addresses | {"the shop": front(cluster)}).items():
        await until(cluster.processes, f"The opening of {name}", 60, partial(ready, f"{address}/ready"))


def front(cluster: Cluster) -> str:
    return f"http://{HOST}:{cluster.ports.front}"


def _settings(cluster: Cluster) -> dict[str, str]:
    return {
        "ENVIRONMENT": "development",  # no TLS on loopback
        "DATABASE_URL": cluster.address(cluster.ports.pgbouncer),
        "DATABASE_READ_URL": cluster.address(cluster.ports.standbys),
        "DATABASE_DIRECT_URL": cluster.address(cluster.ports.primary),
        "PREPARED_STATEMENTS": str(pgbouncer.POOL_MODE == "session").lower(),
        "SECRET_KEY": SECRET,
        "PUBLIC_URL": front(cluster),  # which a replica's tokens name: those of the others are to be good, too
        "RATE_LIMIT_STORAGE": "postgresql",
        "TRUSTED_PROXIES": HOST,
        "MAIL_FOLDER": str(cluster.processes.folder / "mail"),
        "SWEEP_AFTER_SECONDS": "30",
        "POOL_SIZE": "4",
        "POOL_MAX_OVERFLOW": "4",
        "LOG_LEVEL": "warning",
    }
