"""Callers of a served shop who come when they come, whether or not those before them have been answered."""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import orjson

Payload = dict[str, object]
PATIENCE = 30  # seconds


@dataclass(slots=True)
class Line:
    """A connection from an address of its own, made anew when it breaks."""

    port: int
    address: str
    token: str | None = None
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None

    async def ask(self, document: str | bytes, **variables: object) -> tuple[int, bytes]:
        """Status and body. Raises `OSError` or `EOFError` when no answer comes."""
        body = document if isinstance(document, bytes) else orjson.dumps({"query": document, "variables": variables})
        for is_last in (False, True):
            is_new = self._writer is None
            try:
                async with asyncio.timeout(PATIENCE):
                    return await self._exchange(body)
            except (OSError, EOFError):
                self.close()
                if is_new or is_last:  # a kept connection may have been ended meanwhile
                    raise
        raise AssertionError("unreachable")

    async def _exchange(self, body: bytes) -> tuple[int, bytes]:
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(
                "127.0.0.1", self.port, local_addr=(self.address, 0)
            )
        token = f"authorization: Bearer {self.token}\r\n" if self.token else ""
        head = f"POST /graphql HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n{token}content-length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.partition(b"content-length: ")[2].partition(b"\r")[0])
        told = await self._reader.readexactly(length)
        if b"connection: close" in answer:
            self.close()
        return int(answer[9:12]), told

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None


@dataclass(slots=True)
class Tally:
    """When each answer came and after how long, and what went wrong."""

    answered: list[tuple[float, float]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def p99(self) -> float:
        """Milliseconds."""
        waits = sorted(wait for _, wait in self.answered)
        return waits[int(len(waits) * 0.99)] * 1000

    @property
    def longest_gap(self) -> float:
        """The longest time without a good answer, in milliseconds."""
        times = sorted(at for at, _ in self.answered)
        return max(later - sooner for sooner, later in itertools.pairwise(times)) * 1000


Call = Callable[[Line], Awaitable[tuple[int, bytes]]]


async def come(lines: list[Line], call: Call, rate: float, seconds: float, seed: int) -> Tally:
    """So many a second, as chance has it; how long each waits is counted from when they came."""
    chance, tally, free = random.Random(seed), Tally(), asyncio.Queue[Line]()
    for line in lines:
        free.put_nowait(line)
    under_way: set[asyncio.Task[None]] = set()
    began = due = time.perf_counter()
    while due < began + seconds:
        await asyncio.sleep(max(0, due - time.perf_counter()))
        task = asyncio.create_task(_one(free, call, due, tally))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        due += chance.expovariate(rate)
    await asyncio.gather(*under_way)
    return tally


async def crowd(lines: list[Line], call: Call, seconds: float) -> Tally:
    """Everybody asks again as soon as they are answered."""
    tally, until = Tally(), time.perf_counter() + seconds

    async def keep_asking(line: Line) -> None:
        free = asyncio.Queue[Line]()
        free.put_nowait(line)
        while (now := time.perf_counter()) < until:
            await _one(free, call, now, tally)

    await asyncio.gather(*map(keep_asking, lines))
    return tally


async def _one(free: "asyncio.Queue[Line]", call: Call, due: float, tally: Tally) -> None:
    line = await free.get()
    try:
        status, body = await call(line)
    except (OSError, EOFError) as error:
        tally.failed.append(type(error).__name__)
    else:
        now = time.perf_counter()
        errors = orjson.loads(body).get("errors")
        if status == 200 and not errors:
            tally.answered.append((now, now - due))
        else:
            tally.failed.append(f"{status} {errors and errors[0]['extensions']['code']}")
    finally:
        free.put_nowait(line)
