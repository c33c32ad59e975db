"""The mixed load: it begins, faults happen, and at the end every purchase under way is finished."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cluster.clients import BROWSE, Client, browse, buy
from cluster.cluster import Cluster
from cluster.journal import Journal, Kind
from cluster.shops import front

VISITORS, CUSTOMERS = 6, 8
FAREWELL = 150  # seconds for the last purchases: longer than any customer tries


@asynccontextmanager
async def under_load(cluster: Cluster, journal: Journal) -> AsyncIterator[None]:
    clients = [
        Client(front(cluster), f"127.0.1.{number}", journal, random.Random(number))
        for number in range(1, VISITORS + CUSTOMERS + 1)
    ]
    listed = await clients[0].ask(Kind.READ, BROWSE)
    books = [book["id"] for book in listed["books"]["nodes"]]
    closing = asyncio.Event()
    visitors = [asyncio.create_task(browse(client, books)) for client in clients[:VISITORS]]
    customers = [asyncio.create_task(buy(client, books, closing)) for client in clients[VISITORS:]]
    try:
        yield
        closing.set()
        async with asyncio.timeout(FAREWELL):
            await asyncio.gather(*customers)
    finally:
        for task in (*visitors, *customers):
            task.cancel()
        ends = await asyncio.gather(*visitors, *customers, return_exceptions=True)
        for client in clients:
            await client.close()
    for end in ends:
        if isinstance(end, Exception):
            raise end
