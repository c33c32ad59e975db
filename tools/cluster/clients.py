"""The load: visitors who browse, and customers who retry until their orders are placed. Each has an address of its own."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from tools.bench import shoppers as documents
from tools.bench.load_clients import Client
from tools.bench.shoppers import list_book_ids, make_clients
from tools.cluster.cluster import Cluster
from tools.cluster.journal import Journal, Kind

VISITORS, CUSTOMERS = 6, 8
PHRASES = ("the garden", "history", "silver night", "sea", "lost letters")
REQUEST_TIMEOUT = 10  # seconds
RETRY_TIMEOUT = 120  # seconds after which a customer abandons a write
FINISH_TIMEOUT = 150  # seconds for the last orders
MIN_BACKOFF, MAX_BACKOFF = 0.2, 2.0  # seconds before a retry


class RequestFailed(Exception):
    """A request without a good response. `retry_after` are the server's seconds, if it sent any."""

    def __init__(self, reason: str, retry_after: float = 0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(slots=True)
class Shopper:
    """A client that records what it sends."""

    client: Client
    journal: Journal
    randomness: random.Random

    async def pause(self, seconds: float) -> None:
        """Wait about so long."""
        await asyncio.sleep(seconds * self.randomness.uniform(0.5, 1.5))

    async def request(self, kind: Kind, document: str, /, **variables: object) -> dict[str, Any]:
        """Send a request once, and record it.

        Raises:
            RequestFailed: There was no good response.
        """
        try:
            data = await self._send(document, variables)
        except RequestFailed as error:
            self.journal.record(kind, str(error))
            raise
        self.journal.record(kind)
        return data

    async def write(self, document: str, /, **variables: object) -> dict[str, Any]:
        """Send a write again and again, with growing pauses, until it succeeds.

        Raises:
            RequestFailed: It did not succeed within two minutes.
        """
        backoff, deadline = MIN_BACKOFF, asyncio.get_running_loop().time() + RETRY_TIMEOUT
        while True:
            try:
                return await self.request(Kind.WRITE, document, **variables)
            except RequestFailed as error:
                if asyncio.get_running_loop().time() > deadline:
                    self.journal.abandoned += 1
                    raise
                await self.pause(max(backoff, error.retry_after))
                backoff = min(backoff * 2, MAX_BACKOFF)

    async def _send(self, document: str, variables: dict[str, object]) -> dict[str, Any]:
        try:
            status, body = await self.client.query(document, **variables)
            response: dict[str, Any] = orjson.loads(body)
        except OSError as error:
            raise RequestFailed(type(error).__name__) from error
        except ValueError as error:  # the load balancer's own page
            raise RequestFailed(f"{status} from the load balancer") from error
        if errors := response.get("errors"):
            extensions = errors[0].get("extensions", {})
            raise RequestFailed(extensions.get("code", "no code"), extensions.get("retryAfter", 0))
        if status != 200:
            raise RequestFailed(str(status))
        data: dict[str, Any] = response["data"]
        return data

    async def browse(self, books: list[str]) -> None:
        """Read pages until cancelled."""
        while True:
            percentile = self.randomness.random() * 100
            try:
                if percentile < 60:
                    await self.request(Kind.READ, documents.BROWSE)
                elif percentile < 85:
                    await self.request(Kind.READ, documents.BOOK, id=self.randomness.choice(books))
                else:
                    await self.request(Kind.READ, documents.SEARCH, text=self.randomness.choice(PHRASES))
            except RequestFailed:
                await self.pause(MIN_BACKOFF)
            await self.pause(0.15)

    async def buy(self, books: list[str], closing: asyncio.Event) -> None:
        """Place orders until the event is set; the last one is completed."""
        credentials = {"email": f"{uuid.uuid4().hex}@example.com", "password": documents.PASSWORD}
        await self.write(documents.REGISTER, **credentials)
        while not closing.is_set():
            try:
                await self._place_order(books, credentials)
            except RequestFailed:
                continue
            await self.pause(0.3)

    async def _place_order(self, books: list[str], credentials: dict[str, str]) -> None:
        self.client.token = None
        login = (await self.write(documents.LOGIN, **credentials))["login"]
        self.client.token = login["tokens"]["accessToken"]
        for book in self.randomness.sample(books, 2):
            await self.pause(0.1)
            await self.write(documents.ADD_TO_CART, id=book)
        key = uuid.uuid4().hex
        result = (await self.write(documents.CHECKOUT, key=key))["checkout"]
        if result["__typename"] == "OrderPlaced":
            self.journal.record_order(key, result["order"]["number"])
        else:
            self.journal.user_errors[result["__typename"]] += 1


@asynccontextmanager
async def run_load(cluster: Cluster, journal: Journal) -> AsyncIterator[None]:
    """Apply the load during the block, then let customers complete their last orders."""
    clients = make_clients(VISITORS + CUSTOMERS, cluster.ports.front, reconnects=False)
    for client in clients:
        client.timeout = REQUEST_TIMEOUT
    shoppers = [Shopper(client, journal, random.Random(number)) for number, client in enumerate(clients, 1)]
    books, closing = await list_book_ids(clients[0]), asyncio.Event()
    visitors = [asyncio.create_task(shopper.browse(books)) for shopper in shoppers[:VISITORS]]
    customers = [asyncio.create_task(shopper.buy(books, closing)) for shopper in shoppers[VISITORS:]]
    try:
        yield
        closing.set()
        async with asyncio.timeout(FINISH_TIMEOUT):
            await asyncio.gather(*customers)
    finally:
        for task in (*visitors, *customers):
            task.cancel()
        results = await asyncio.gather(*visitors, *customers, return_exceptions=True)
        for client in clients:
            client.close()
    for result in results:
        if isinstance(result, Exception):
            raise result
