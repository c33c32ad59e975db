"""What a shop under load bears: connections to PostgreSQL killed five times a second, and hostile requests: `just endure`.

Browsing 70 %, book pages 15, searches 10, carts 4, checkouts 1, at 60 % of what this machine can do.
"""

import argparse
import asyncio
import random
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import orjson
import psutil
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table

from benchmarks.callers import Line, Tally, come, crowd
from benchmarks.measures import healthy, shop_environment
from server.database.embedded import run_embedded_postgres

CALLERS = 96  # each with a budget of their own
SHARE = 0.6
KILLS = 5  # a second
HOSTILE = 5_000
TOKENS_LAST = 600  # seconds, for which nobody has to sign in again
BROWSE = """{ books(first: 20) { nodes { id title authors { name } isbn price { amount } availability genre { name }
    averageRating reviewCount } pageInfo { hasNextPage endCursor } } }"""
BOOK = """query ($id: ID!) { book(by: {id: $id}) { title description authors { name } averageRating
    reviews(first: 10) { nodes { rating text reviewer { displayName } } } } }"""
SEARCH = "query ($text: String!) { books(search: $text, first: 20) { nodes { id title } } }"
ADD = "mutation ($id: ID!) { addToCart(input: {bookId: $id}) { __typename } }"
BUY = """mutation ($key: String!) { checkout(input: {idempotencyKey: $key, paymentToken: "mock-approve"}) { __typename } }"""
REGISTER = """mutation ($email: String!) { register(input: {email: $email, password: "a measured password"}) {
    ... on LoggedIn { tokens { accessToken } } } }"""
KILL = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'bookstore' AND pid <> pg_backend_pid()
    ORDER BY random() LIMIT 1"""
BOMBS = [
    b"{" * 20_000,
    b'{"query": "\xff"}',
    orjson.dumps({"query": "{" + " ".join(f"a{i}: __typename" for i in range(3_000)) + "}"}),
    orjson.dumps({"query": "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }"}),
    orjson.dumps(
        {
            "query": "{ ...f0 } "
            + " ".join(f"fragment f{i} on Query {{ ...f{i + 1} ...f{i + 1} }}" for i in range(24))
            + " fragment f24 on Query { __typename }"
        }
    ),
    orjson.dumps(
        {"query": "{ books(first: 100) { nodes { relatedBooks { relatedBooks { relatedBooks { id } } } } } }"}
    ),
    orjson.dumps({"query": "{ __typename " + "@skip(if: false) " * 400 + "}"}),
    orjson.dumps({"query": SEARCH, "variables": {"text": "a b & | ! : * ( ) ' %_" * 8}}),
    orjson.dumps({"query": 'mutation { login(input: {email: "a@example.com", password: "guessed"}) { __typename } }'}),
]


@dataclass(slots=True)
class Shoppers:
    books: list[str]
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    async def call(self, line: Line) -> tuple[int, bytes]:
        kind, book = self.chance.random() * 100, self.chance.choice(self.books)
        if kind < 70:
            return await line.ask(BROWSE)
        if kind < 85:
            return await line.ask(BOOK, id=book)
        if kind < 95:
            return await line.ask(SEARCH, text=self.chance.choice(["war", "pri prej", "sea", "the adv"]))
        added = await line.ask(ADD, id=book)
        return added if kind < 99 else await line.ask(BUY, key=uuid.uuid4().hex)


async def hostile(line: Line) -> tuple[int, bytes]:
    return await line.ask(random.choice(BOMBS))


async def killing(url: str, seconds: float) -> int:
    """How many connections were ended."""
    connection, killed, until = await asyncpg.connect(url, timeout=10), 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        killed += len(await connection.fetch(KILL))
        await asyncio.sleep(1 / KILLS)
    await connection.close()
    return killed


async def signed_up(port: int) -> list[Line]:
    lines = [Line(port, f"127.0.1.{number + 1}") for number in range(CALLERS)]
    await sign_up(lines)
    return lines


async def sign_up(lines: list[Line]) -> None:
    for line in lines:
        line.token = None
        _, body = await line.ask(REGISTER, email=f"{uuid.uuid4().hex}@example.com")
        line.token = orjson.loads(body)["data"]["register"]["tokens"]["accessToken"]


async def endured(url: str, port: int, process: psutil.Process, seconds: float) -> Table:
    lines = await signed_up(port)
    shoppers = Shoppers(await _books(lines[0]))
    await crowd(lines, shoppers.call, 5)
    most = len((await crowd(lines, shoppers.call, 10)).answered) / 10
    rate, before = most * SHARE, process.memory_info().rss
    alone = await come(lines, shoppers.call, rate, seconds, 1)
    faulty, killed = await asyncio.gather(come(lines, shoppers.call, rate, seconds, 2), killing(url, seconds))
    strangers = [Line(port, f"127.0.2.{number + 1}") for number in range(16)]
    beside, attack = await asyncio.gather(
        come(lines, shoppers.call, rate, seconds, 3), come(strangers, hostile, HOSTILE / seconds, seconds, 4)
    )
    answered = sum(len(tally.answered) for tally in (alone, faulty, beside))
    table = Table("load", "answered", "failed", "p99", "longest without an answer")
    for name, tally in (("alone", alone), (f"{killed} connections killed", faulty), ("hostile beside", beside)):
        ratio = f"{tally.p99:.0f} ms ({tally.p99 / alone.p99:.1f})"
        table.add_row(name, f"{len(tally.answered):,}", _told(tally), ratio, f"{tally.longest_gap:.0f} ms")
    table.add_row(
        f"the {len(attack.answered) + len(attack.failed):,} hostile", str(len(attack.answered)), _told(attack)
    )
    table.caption = (
        f"{rate:.0f} requests a second, {SHARE:.0%} of {most:.0f}. {len(faulty.failed) / max(killed, 1):.3f} failed for each "
        f"connection killed. Memory: {before / 2**20:.0f} MB before, {process.memory_info().rss / 2**20:.0f} MB after "
        f"{answered:,} answers."
    )
    return table


async def soaked(port: int, process: psutil.Process, requests: int) -> str:
    """What so many requests, one after the other from everybody, leave in the memory of the process."""
    lines = await signed_up(port)
    shoppers = Shoppers(await _books(lines[0]))
    await crowd(lines, shoppers.call, 10)
    before, answered, failed = process.memory_info().rss, 0, Counter[str]()
    signed_up_at = time.monotonic()
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn()) as progress:
        task = progress.add_task("asking", total=requests)
        while answered < requests:
            if time.monotonic() - signed_up_at > TOKENS_LAST:
                await sign_up(lines)
                signed_up_at = time.monotonic()
            tally = await crowd(lines, shoppers.call, 5)
            answered += len(tally.answered)
            failed.update(tally.failed)
            progress.update(task, completed=answered)
    after = process.memory_info().rss
    told = ", ".join(f"{count:,} × {reason}" for reason, count in failed.most_common()) or "none"
    return f"{before / 2**20:.0f} MB before, {after / 2**20:.0f} MB after {answered:,} answers; failed: {told}."


async def _books(line: Line) -> list[str]:
    _, body = await line.ask("{ books(first: 100) { nodes { id } } }")
    return [node["id"] for node in orjson.loads(body)["data"]["books"]["nodes"]]


def _told(tally: Tally) -> str:
    return ", ".join(f"{count:,} × {reason}" for reason, count in Counter(tally.failed).most_common(6)) or "none"


@contextmanager
def served(url: str, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    environment = shop_environment(url) | {"LOG_LEVEL": "error"}
    for command in (["bookstore", "migrate"], ["bookstore", "demo"]):
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    process = subprocess.Popen(
        ["bookstore", "serve", "--port", str(port)], env=environment, stdout=subprocess.DEVNULL, cwd=folder
    )
    try:
        until = time.perf_counter() + 60
        while not healthy(port):
            if time.perf_counter() > until or process.poll() is not None:
                sys.exit("bookstore serve did not start")
            time.sleep(0.05)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="how long each of the three loads lasts")
    parser.add_argument(
        "--soak", type=int, metavar="REQUESTS", help="instead: memory before and after so many requests"
    )
    told = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        run_embedded_postgres(Path(folder) / "data") as url,
        served(url, Path(folder)) as (
            port,
            process,
        ),
    ):
        work = soaked(port, process, told.soak) if told.soak else endured(url, port, process, told.seconds)
        Console(width=150).print(asyncio.run(work))


if __name__ == "__main__":
    main()
