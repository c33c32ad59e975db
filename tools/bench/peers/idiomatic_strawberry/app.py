"""A bookshop as Strawberry's documentation teaches it: its own ASGI view, DataLoaders, and SQLAlchemy's ORM."""

import os
from typing import Any

import strawberry
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, SchemaExtension, ValidationCache

from tools.bench.peers.idiomatic_strawberry.catalog import CatalogQuery, Context
from tools.bench.peers.idiomatic_strawberry.loaders import Loaders
from tools.bench.peers.idiomatic_strawberry.orders import Mutation, UserError


class BookshopView(GraphQL[Context, None]):
    """The view with a context for each request."""

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:  # noqa: ARG002  # as documented
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return Context(Loaders(), token if scheme.lower() == "bearer" else None)


def _extensions() -> list[Any]:
    """Return the caches that the documentation recommends, if `DOCUMENT_CACHES` is set."""
    caches: list[type[SchemaExtension]] = [ParserCache, ValidationCache]
    return caches if os.environ.get("DOCUMENT_CACHES") == "true" else []


schema = strawberry.Schema(CatalogQuery, Mutation, types=[UserError], extensions=_extensions())
app = BookshopView(schema, graphql_ide=None)
