"""HTTP clients that put load on a server: in a closed loop, or at a rate that does not wait for responses."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import orjson

from tools.bench.processes import HOST

CLIENT_TIMEOUT = 30.0  # seconds
HEAD_END = b"\r\n\r\n"
CONTENT_LENGTH = b"content-length: "


class Response(NamedTuple):
    """A status and a body."""

    status: int
    body: bytes


def encode_request(method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
    """Return a whole HTTP/1.1 request. A body is JSON."""
    if body is not None:
        headers = {**headers, "content-type": "application/json", "content-length": f"{len(body)}"}
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def bearer(token: str | None) -> dict[str, str]:
    """Return the headers that carry an access token."""
    return {"authorization": f"Bearer {token}"} if token else {}


Deliver = Callable[[Response | OSError], None]


class Connection(asyncio.Protocol):
    """A kept HTTP/1.1 connection with one request at a time. Responses must have a content-length."""

    def __init__(self) -> None:
        self.is_closed = False
        self._received = b""
        self._body_start = self._response_end = 0
        self._deliver: Deliver | None = None

    @classmethod
    async def connect(cls, port: int, source_address: str | None = None) -> "Connection":
        """Open a connection to a port of this machine, from one of its loopback addresses."""
        local = (source_address, 0) if source_address else None
        _, connection = await asyncio.get_running_loop().create_connection(cls, HOST, port, local_addr=local)
        return connection

    def send(self, request: bytes, deliver: Deliver) -> None:
        """Send a request, and call `deliver` with its response, or with the error that broke the connection."""
        if self.is_closed:
            deliver(ConnectionResetError("closed while idle"))
        else:
            self._deliver = deliver
            self._transport.write(request)

    async def request(self, request: bytes) -> Response:
        """Send a request, and wait for its response.

        Raises:
            OSError: The connection broke.
        """
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

        def deliver(response: Response | OSError) -> None:
            if future.done():  # cancelled by a timeout
                return
            if isinstance(response, OSError):
                future.set_exception(response)
            else:
                future.set_result(response)

        self.send(request, deliver)
        return await future

    def close(self) -> None:
        """Close without waiting."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's class does not inherit from it

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        deliver, self._deliver = self._deliver, None
        if deliver is not None:
            deliver(ConnectionResetError(f"connection lost: {exc}"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._response_end:
            end = self._received.find(HEAD_END)
            if end < 0:
                return
            head = self._received[:end].lower() + b"\r"
            self._body_start = end + len(HEAD_END)
            self._response_end = self._body_start + int(head.partition(CONTENT_LENGTH)[2].partition(b"\r")[0] or 0)
            self.is_closed = b"connection: close" in head
        if len(self._received) < self._response_end:
            return
        response = Response(int(self._received[9:12]), self._received[self._body_start :])
        self._received, self._response_end = b"", 0
        deliver, self._deliver = self._deliver, None
        if deliver is not None:
            deliver(response)


@dataclass(slots=True)
class Client:
    """A caller with a source address and an access token of its own.

    With `reconnects`, a request that a kept connection breaks is sent once more on a new one.
    """

    port: int
    address: str
    token: str | None = None
    reconnects: bool = True
    timeout: float = CLIENT_TIMEOUT
    _connection: Connection | None = None

    async def post(self, body: bytes) -> Response:
        """Send a GraphQL request.

        Raises:
            OSError: The server cannot be reached, the connection broke, or the response took too long.
        """
        request = encode_request("POST", "/graphql", body, bearer(self.token))
        for is_last in (False, True):
            is_new = self._connection is None
            try:
                return await self._exchange(request)
            except OSError:
                self.close()
                if is_new or is_last or not self.reconnects:
                    raise
        raise AssertionError("unreachable")

    async def query(self, document: str, **variables: object) -> Response:
        """Send a document with its variables, as `post` does."""
        return await self.post(orjson.dumps({"query": document, "variables": variables}))

    async def _exchange(self, request: bytes) -> Response:
        async with asyncio.timeout(self.timeout):
            if self._connection is None:
                self._connection = await Connection.connect(self.port, self.address)
            response = await self._connection.request(request)
        if self._connection.is_closed:
            self.close()
        return response

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


# ── Results ───────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Results:
    """When each response came and how long it took, both in seconds, and why requests failed."""

    responses: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0
    cpu: float = 0
    """Seconds of CPU that the load generator used, where it is a process of its own."""

    def add(self, other: "Results") -> None:
        """Append the responses and failures of another run."""
        self.responses += other.responses
        self.failures += other.failures

    def latency(self, share: float) -> float:
        """Return a percentile of the latencies, in milliseconds: 0.99 for p99."""
        latencies = sorted(latency for _, latency in self.responses)
        return latencies[int(len(latencies) * share)] * 1000 if latencies else 0

    @property
    def longest_gap(self) -> float:
        """The longest time without a response, in milliseconds."""
        times = sorted(at for at, _ in self.responses)
        return max((later - sooner for sooner, later in itertools.pairwise(times)), default=0) * 1000

    def count_failures(self) -> Counter[str]:
        """Return how often each reason occurred."""
        return Counter(self.failures)


# ── Schedules ─────────────────────────────────────────────────────────────────────────────

Send = Callable[[Client], Awaitable[Response]]


async def run_open_loop(clients: list[Client], send: Send, rate: float, seconds: float, seed: int) -> Results:
    """Start `rate` requests a second at random times, whether or not those before have a response.

    A latency counts from the time at which the request was due.
    """
    randomness, results, free = random.Random(seed), Results(), asyncio.Queue[Client]()
    for client in clients:
        free.put_nowait(client)

    async def send_one(due: float) -> None:
        client = await free.get()
        await _send_and_record(client, send, due, results)
        free.put_nowait(client)

    in_flight: set[asyncio.Task[None]] = set()
    start = due = time.perf_counter()
    while due < start + seconds:
        await asyncio.sleep(max(0, due - time.perf_counter()))
        task = asyncio.create_task(send_one(due))
        in_flight.add(task)
        task.add_done_callback(in_flight.discard)
        due += randomness.expovariate(rate)
    await asyncio.gather(*in_flight)
    return results


async def run_closed_loop(clients: list[Client], send: Send, seconds: float) -> Results:
    """Let every client send its next request as soon as it has a response."""
    results, deadline = Results(), time.perf_counter() + seconds

    async def run_client(client: Client) -> None:
        while (now := time.perf_counter()) < deadline:
            await _send_and_record(client, send, now, results)

    await asyncio.gather(*map(run_client, clients))
    return results


async def _send_and_record(client: Client, send: Send, due: float, results: Results) -> None:
    try:
        status, body = await send(client)
    except OSError as error:
        results.failures.append(type(error).__name__)
        return
    now = time.perf_counter()
    errors = orjson.loads(body).get("errors")
    if status == 200 and not errors:
        results.responses.append((now, now - due))
    else:
        results.failures.append(f"{status} {errors and errors[0]['extensions']['code']}")
