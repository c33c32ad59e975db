"""The load generator of `compare`, `growth` and `scale`: a process that sends prepared requests over kept connections.

It reads a `LoadPlan` from standard input, warms up, writes `ready`, starts at a newline and writes `Results`.
"""

import asyncio
import itertools
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvloop

from tools.bench.load_clients import Connection, Response, Results
from tools.bench.processes import ROOT

PHASE_TIMEOUT = 60  # seconds that a phase may take beyond its plan
READY = b"ready\n"
MAX_QUOTED = 2_000
"""Characters of a failed response that are kept."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """Whole HTTP requests, sent in turn; again and again if `repeat`. `rate` limits the requests a second of all connections.

    A response is good if its status is 20x, it contains `success_marker`, and it has no errors.
    """

    port: int
    requests: list[bytes]
    repeat: bool
    success_marker: bytes
    connections: int
    warm_up: float
    seconds: float
    rate: float | None = None

    def is_good(self, response: Response) -> bool:
        """Tell whether a response counts."""
        status, body = response
        return status // 10 == 20 and self.success_marker in body and b'"errors"' not in body


@dataclass(slots=True)
class _Phase:
    """What all connections share during the warm-up or the measurement."""

    plan: LoadPlan
    requests: Iterator[bytes]
    deadline: float
    results: Results = field(default_factory=Results)

    @property
    def pause(self) -> float:
        """Seconds between two requests of one connection."""
        return self.plan.connections / self.plan.rate if self.plan.rate else 0


class _Sender:
    """Sends the requests of a phase over one connection, with callbacks: tasks would cost the load generator half as much again."""

    def __init__(self, phase: _Phase, connection: Connection) -> None:
        self._phase, self._connection, self._pause = phase, connection, phase.pause
        self._loop = asyncio.get_running_loop()
        self._is_done = self._loop.create_future()
        self._due = self._sent_at = 0.0

    async def run(self, delay: float = 0) -> None:
        """Send requests until the deadline, at the planned rate."""
        self._due = time.perf_counter() + delay
        self._loop.call_later(delay, self._send)
        await self._is_done

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        request = next(self._phase.requests, None) if self._sent_at < self._phase.deadline else None
        if request is None:
            self._is_done.set_result(None)
        else:
            self._connection.send(request, self._receive)

    def _receive(self, response: Response | OSError) -> None:
        now, results = time.perf_counter(), self._phase.results
        if isinstance(response, OSError):
            results.failures.append(str(response))
            self._is_done.set_result(None)
            return
        results.responses.append((now, now - self._sent_at))
        if not self._phase.plan.is_good(response):
            results.failures.append(f"{response.status} {response.body.decode(errors='replace')}"[:MAX_QUOTED])
        if self._pause:
            self._due += self._pause
            self._loop.call_later(max(0, self._due - now), self._send)
        else:
            self._send()


async def execute(plan: LoadPlan) -> Results:
    """Warm up, wait for a newline, and send the load."""
    requests = itertools.cycle(plan.requests) if plan.repeat else iter(plan.requests)
    warm_up = _Phase(plan, requests, time.perf_counter() + plan.warm_up)
    gap = plan.warm_up / 2 / plan.connections
    async with asyncio.timeout(plan.warm_up + PHASE_TIMEOUT):
        connections = await asyncio.gather(*(_connect(warm_up, gap * i) for i in range(plan.connections)))
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    sys.stdin.buffer.readline()
    start, cpu_before = time.perf_counter(), time.process_time()
    phase = _Phase(plan, requests, start + plan.seconds)
    async with asyncio.timeout(plan.seconds + PHASE_TIMEOUT):  # until the last response
        pause = phase.pause / len(connections)
        await asyncio.gather(*(_Sender(phase, connection).run(pause * i) for i, connection in enumerate(connections)))
    results = phase.results
    results.seconds, results.cpu = time.perf_counter() - start, time.process_time() - cpu_before
    results.failures = warm_up.results.failures + results.failures
    return results


async def _connect(warm_up: _Phase, delay: float) -> Connection:
    """Connect one after the other, under load: of several workers at one port, an idle one accepts."""
    await asyncio.sleep(delay)
    connection = await Connection.connect(warm_up.plan.port)
    await _Sender(warm_up, connection).run()
    return connection


@contextmanager
def start_load(plan: LoadPlan, name: str) -> Iterator[Callable[[], Results]]:
    """Start a load generator and warm up. Yields a function that sends the load and returns the results.

    Raises:
        RuntimeError: A request failed. `name` says whose.
    """
    command = [sys.executable, "-m", "tools.bench.load_generator"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        sink, source = process.stdin, process.stdout
        assert sink is not None
        assert source is not None

        def run() -> Results:
            sink.write(b"go\n")
            sink.flush()
            results: Results = pickle.loads(source.read())
            if results.failures or not results.responses:
                raise RuntimeError(f"{name} failed {len(results.failures):,} times: {results.failures[:1]}")
            return results

        try:
            pickle.dump(plan, sink)
            sink.flush()
            if source.readline() != READY:
                raise RuntimeError(f"{name} did not respond.")
            yield run
        finally:
            process.kill()  # it has exited, unless something failed


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    plan: LoadPlan = pickle.load(sys.stdin.buffer)
    sys.stdout.buffer.write(pickle.dumps(uvloop.run(execute(plan))))


if __name__ == "__main__":
    main()
