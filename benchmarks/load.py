"""The load generator: a process of its own that asks over kept connections and notes how long each answer took.

It reads an `Order` from standard input, warms up, says `ready`, begins at a newline and writes a `Tally` at the end.
"""

import asyncio
import itertools
import pickle
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import cast

import orjson
import uvloop

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "
PATIENCE = 60  # seconds beyond those that were ordered


@dataclass(frozen=True, slots=True)
class Order:
    """Whole HTTP requests, asked in turn; over and over when they may be. A `rate` makes callers wait for their turn."""

    port: int
    requests: list[bytes]
    repeat: bool
    success: bytes
    connections: int
    warm_up: float
    seconds: float
    rate: float | None = None


@dataclass(slots=True)
class Tally:
    """Latencies in milliseconds; `cpu` are the seconds that asking itself took."""

    answered: int = 0
    failed: int = 0
    seconds: float = 0
    cpu: float = 0
    p50: float = 0
    p99: float = 0
    problem: str = ""


@dataclass(slots=True)
class Phase:
    """What all connections share for a while."""

    requests: Iterator[bytes]
    success: bytes
    until: float
    pause: float = 0
    waits: list[float] = field(default_factory=list)
    failed: int = 0
    problem: str = ""


class Caller(asyncio.Protocol):
    """A connection that asks again as soon as it is answered, or when its turn has come."""

    def __init__(self) -> None:
        self._heard = bytearray()
        self._wanted = 0
        self._asked_at = self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._phase.failed += 1
            self._phase.problem = self._phase.problem or f"connection lost: {exc}"
            self._done.set_result(None)

    async def work(self, phase: Phase, delay: float) -> None:
        self._phase, self._done = phase, asyncio.get_running_loop().create_future()
        self._due = time.perf_counter() + delay
        if delay:
            asyncio.get_running_loop().call_later(delay, self._ask)
        else:
            self._ask()
        await self._done

    def _ask(self) -> None:
        now = time.perf_counter()
        request = next(self._phase.requests, None) if now < self._phase.until else None
        if request is None:
            self._done.set_result(None)
            return
        self._asked_at = now
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if not self._wanted:
            end = self._heard.find(HEAD_END)
            if end < 0:
                return
            head = bytes(self._heard[:end]).lower() + b"\r"
            self._wanted = end + len(HEAD_END) + int(head.partition(LENGTH)[2].partition(b"\r")[0] or 0)
        if len(self._heard) < self._wanted:
            return
        now = time.perf_counter()
        self._note(now - self._asked_at)
        self._heard.clear()
        self._wanted = 0
        if self._phase.pause:
            self._due += self._phase.pause
            asyncio.get_running_loop().call_later(max(0, self._due - now), self._ask)
        else:
            self._ask()

    def _note(self, wait: float) -> None:
        self._phase.waits.append(wait)
        if self._heard[9:11] != b"20" or self._phase.success not in self._heard or b'"errors"' in self._heard:
            self._phase.failed += 1
            self._phase.problem = self._phase.problem or bytes(self._heard[:2000]).decode(errors="replace")


async def carry_out(order: Order) -> Tally:
    requests = itertools.cycle(order.requests) if order.repeat else iter(order.requests)
    warm_up = _phase(order, requests, order.warm_up)
    gap = order.warm_up / 2 / order.connections
    async with asyncio.timeout(order.warm_up + PATIENCE):
        callers = await asyncio.gather(*(_arrived(order.port, warm_up, gap * i) for i in range(order.connections)))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.buffer.readline()
    began, used = time.perf_counter(), time.process_time()
    phase = _phase(order, requests, order.seconds)
    async with asyncio.timeout(order.seconds + PATIENCE):  # until the last answer has come
        await asyncio.gather(*(caller.work(phase, phase.pause * i / len(callers)) for i, caller in enumerate(callers)))
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    waits, problem = sorted(phase.waits), warm_up.problem or phase.problem
    tally = Tally(len(waits), warm_up.failed + phase.failed, seconds, cpu, problem=problem)
    if waits:
        tally.p50, tally.p99 = waits[len(waits) // 2] * 1000, waits[int(len(waits) * 0.99)] * 1000
    return tally


def _phase(order: Order, requests: Iterator[bytes], seconds: float) -> Phase:
    pause = order.connections / order.rate if order.rate else 0
    return Phase(requests, order.success, time.perf_counter() + seconds, pause)


async def _arrived(port: int, warm_up: Phase, delay: float) -> Caller:
    """One after the other, while those before are served: of processes at one address the one that has time lets them in."""
    await asyncio.sleep(delay)
    _, caller = await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", port)
    await caller.work(warm_up, 0)
    return caller


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    order: Order = pickle.load(sys.stdin.buffer)
    tally = uvloop.run(carry_out(order))
    sys.stdout.write(orjson.dumps(asdict(tally)).decode() + "\n")


if __name__ == "__main__":
    main()
