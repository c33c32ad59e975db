"""A lower bound: a handler for these documents only, with our SQL, our connection pools and our response bytes."""

from collections.abc import Awaitable, Callable

import orjson
from starlette.types import Message, Receive, Scope, Send

from server.app import build_shop
from server.settings import Settings
from tools.bench import workloads
from tools.bench.peers.handwritten.handlers import Handlers
from tools.bench.peers.handwritten.rows import Json

HEADERS = [(b"content-type", b"application/graphql-response+json; charset=utf-8")]


class App:
    """An ASGI app without middleware."""

    def __init__(self) -> None:
        self._shop = build_shop(Settings(_env_file=None))
        self._queries: dict[str, Callable[[Json], Awaitable[Json]]] = {}
        self._mutations: dict[str, Callable[[Json, str], Awaitable[Json]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
            return
        request = orjson.loads(await _body(receive))
        document = request["query"]
        if document in self._queries:
            data = await self._queries[document](request["variables"])
        else:
            data = await self._mutations[document](request["variables"], _token(scope))
        body = orjson.dumps({"data": data})
        headers = [*HEADERS, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self._shop.database:
            handlers = Handlers(self._shop)
            self._queries = {
                workloads.CATALOG: handlers.list_books,
                workloads.CATALOG_WITH_COUNT: handlers.list_books_with_count,
                workloads.SEARCH: handlers.search,
                workloads.BOOK: handlers.find_book,
            }
            self._mutations = {workloads.ADD_TO_CART: handlers.add_to_cart, workloads.CHECKOUT: handlers.checkout}
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
