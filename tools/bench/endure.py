"""What the server withstands under load: killed database connections and hostile requests. Six minutes.

The load is browsing 70 %, book pages 15, searches 10, carts 4, checkouts 1, at 60 % of what this machine can do.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import asyncpg
import orjson
import psutil
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table

from server.database.embedded import run_embedded_postgres
from tools.bench.load_clients import Client, Response, Results, run_closed_loop, run_open_loop
from tools.bench.processes import find_free_ports, run_bookstore, serve_bookstore, server_environment
from tools.bench.report import MEGABYTE, format_counts, make_console, make_table
from tools.bench.shoppers import SEARCH, Shoppers, list_book_ids, make_clients, register

CLIENTS, HOSTILE_CLIENTS = 96, 16
LOAD_SHARE = 0.6
WARM_UP, CAPACITY_SECONDS, SOAK_SECONDS = 5, 10, 5
KILLS_PER_SECOND = 5
HOSTILE_REQUESTS = 5_000
TOKEN_LIFETIME = 600  # seconds after which the clients register again
KILL_CONNECTION = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'bookstore' AND pid <> pg_backend_pid()
    ORDER BY random() LIMIT 1"""


def _encode(query: str, **variables: object) -> bytes:
    return orjson.dumps({"query": query, "variables": variables} if variables else {"query": query})


HOSTILE = [
    b"{" * 20_000,
    b'{"query": "\xff"}',
    _encode("{" + " ".join(f"a{i}: __typename" for i in range(3_000)) + "}"),
    _encode("{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }"),
    _encode(
        "{ ...f0 } "
        + " ".join(f"fragment f{i} on Query {{ ...f{i + 1} ...f{i + 1} }}" for i in range(24))
        + " fragment f24 on Query { __typename }"
    ),
    _encode("{ books(first: 100) { nodes { relatedBooks { relatedBooks { relatedBooks { id } } } } } }"),
    _encode("{ __typename " + "@skip(if: false) " * 400 + "}"),
    _encode(SEARCH, text="a b & | ! : * ( ) ' %_" * 8),
    _encode('mutation { login(input: {email: "a@example.com", password: "guessed"}) { __typename } }'),
]


async def _send_hostile(client: Client) -> Response:
    return await client.post(random.choice(HOSTILE))


async def kill_connections(url: str, seconds: float) -> int:
    """Kill five database connections a second. Returns how many."""
    connection, killed, deadline = await asyncpg.connect(url, timeout=10), 0, time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        killed += len(await connection.fetch(KILL_CONNECTION))
        await asyncio.sleep(1 / KILLS_PER_SECOND)
    await connection.close()
    return killed


async def _prepare_load(port: int) -> tuple[list[Client], Shoppers]:
    clients = make_clients(CLIENTS, port)
    await register(clients)
    return clients, Shoppers(await list_book_ids(clients[0]))


async def measure_faults(url: str, port: int, process: psutil.Process, seconds: float) -> Table:
    """Apply the load alone, with connections killed, and beside hostile requests."""
    clients, shoppers = await _prepare_load(port)
    await run_closed_loop(clients, shoppers.send, WARM_UP)
    capacity = len((await run_closed_loop(clients, shoppers.send, CAPACITY_SECONDS)).responses) / CAPACITY_SECONDS
    rate, memory_before = capacity * LOAD_SHARE, process.memory_info().rss
    alone = await run_open_loop(clients, shoppers.send, rate, seconds, 1)
    faulty, killed = await asyncio.gather(
        run_open_loop(clients, shoppers.send, rate, seconds, 2), kill_connections(url, seconds)
    )
    attackers = make_clients(HOSTILE_CLIENTS, port, "127.0.2")
    attacked, attack = await asyncio.gather(
        run_open_loop(clients, shoppers.send, rate, seconds, 3),
        run_open_loop(attackers, _send_hostile, HOSTILE_REQUESTS / seconds, seconds, 4),
    )
    table = make_table("", ["load", "failures"], ["responses", "p99", "longest gap"])
    loads: dict[str, Results] = {
        "alone": alone,
        f"{killed} connections killed": faulty,
        "beside hostile requests": attacked,
    }
    for name, results in loads.items():
        p99 = f"{results.latency(0.99):.0f} ms ({results.latency(0.99) / alone.latency(0.99):.1f} ×)"
        failures = format_counts(results.count_failures(), 6)
        table.add_row(name, failures, f"{len(results.responses):,}", p99, f"{results.longest_gap:.0f} ms")
    sent = len(attack.responses) + len(attack.failures)
    table.add_row(f"the {sent:,} hostile", format_counts(attack.count_failures(), 6), f"{len(attack.responses):,}")
    total = sum(len(results.responses) for results in loads.values())
    table.caption = (
        f"{rate:.0f} requests a second, {LOAD_SHARE:.0%} of {capacity:.0f}. "
        f"{len(faulty.failures) / max(killed, 1):.3f} failures per killed connection. "
        f"Memory: {memory_before / MEGABYTE:.0f} MB before, {process.memory_info().rss / MEGABYTE:.0f} MB after {total:,} responses."
    )
    return table


async def measure_memory(port: int, process: psutil.Process, requests: int) -> str:
    """Compare the memory of the server before and after so many requests, sent as fast as it responds."""
    clients, shoppers = await _prepare_load(port)
    await run_closed_loop(clients, shoppers.send, 2 * WARM_UP)
    before, responses, failures = process.memory_info().rss, 0, Counter[str]()
    registered_at = time.monotonic()
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn()) as progress:
        task = progress.add_task("requests", total=requests)
        while responses < requests:
            if time.monotonic() - registered_at > TOKEN_LIFETIME:
                await register(clients)
                registered_at = time.monotonic()
            results = await run_closed_loop(clients, shoppers.send, SOAK_SECONDS)
            responses += len(results.responses)
            failures += results.count_failures()
            progress.update(task, completed=responses)
    after = process.memory_info().rss
    return (
        f"{before / MEGABYTE:.0f} MB before, {after / MEGABYTE:.0f} MB after {responses:,} responses; "
        f"failures: {format_counts(failures)}."
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=120, help="duration of each of the three loads (120)")
    parser.add_argument(
        "--soak", type=int, metavar="REQUESTS", help="measure the memory before and after so many requests instead"
    )


def run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, [port] = Path(name), find_free_ports(1)
        with run_embedded_postgres(folder / "data") as url:
            environment = server_environment(url)
            for command in ("migrate", "demo"):
                run_bookstore(command, environment=environment, folder=folder)
            with serve_bookstore(environment, folder, port) as server:
                if options.soak:
                    make_console().print(asyncio.run(measure_memory(port, server.info, options.soak)))
                else:
                    make_console().print(asyncio.run(measure_faults(url, port, server.info, options.seconds)))
