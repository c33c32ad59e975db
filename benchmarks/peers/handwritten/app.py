"""The limit: a handler for these workloads alone, with our SQL on our pools and our bytes as its answer."""

from collections.abc import Awaitable, Callable

import orjson
from starlette.types import Message, Receive, Scope, Send

from benchmarks import workloads
from benchmarks.peers.handwritten.handlers import Handlers
from benchmarks.peers.handwritten.rows import Answer
from server.app import build_shop
from server.settings import Settings

HEADERS = [(b"content-type", b"application/graphql-response+json; charset=utf-8")]


class App:
    """ASGI, and nothing between it and the handlers."""

    def __init__(self) -> None:
        self._shop = build_shop(Settings(_env_file=None))
        self._queries: dict[str, Callable[[Answer], Awaitable[Answer]]] = {}
        self._mutations: dict[str, Callable[[Answer, str], Awaitable[Answer]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        asked = orjson.loads(await _body(receive))
        document = asked["query"]
        if document in self._queries:
            data = await self._queries[document](asked["variables"])
        else:
            data = await self._mutations[document](asked["variables"], _token(scope))
        body = orjson.dumps({"data": data})
        headers = [*HEADERS, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self._shop.database:
            handlers = Handlers(self._shop)
            self._queries = {
                workloads.CATALOGUE: handlers.catalogue,
                workloads.COUNTED: handlers.counted,
                workloads.SEARCH: handlers.search,
                workloads.BOOK: handlers.book,
            }
            self._mutations = {workloads.ADD: handlers.add, workloads.BUY: handlers.buy}
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def _body(receive: Receive) -> bytes:
    message: Message = await receive()
    body: bytes = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    return body


def _token(scope: Scope) -> str:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return next((value[7:].decode() for name, value in headers if name == b"authorization"), "")


app = App()
