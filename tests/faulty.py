"""A shop with faults around it: an application of its own, and what administrators and visitors ask of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from starlette.applications import Starlette

from domain.shop import Shop
from server.app import create_app
from server.settings import Settings
from tests.client import Visitor

GENRES = "{ genres { id } }"
ALL_GENRES = "LOCK TABLE genres IN ACCESS EXCLUSIVE MODE"
RESTOCK = """mutation ($id: ID!) { updateStock(input: {bookId: $id, change: {adjustBy: 1}}) { __typename } }"""
UNAVAILABLE = {"code": "SERVICE_UNAVAILABLE", "retryAfter": 2}


@asynccontextmanager
async def shop_with(settings: Settings, **changes: object) -> AsyncIterator[Visitor]:
    app = create_app(settings.model_copy(update=changes))
    async with app.router.lifespan_context(app):
        yield Visitor(app)


def shop_of(visitor: Visitor) -> Shop:
    """What such an application works with."""
    assert isinstance(visitor._app, Starlette)
    shop: Shop = visitor._app.state.shop
    return shop


async def ask(visitor: Visitor, document: str, **variables: object) -> httpx2.Response:
    async with visitor.http() as http:
        return await http.post("/graphql", json={"query": document, "variables": variables})


async def status_of(visitor: Visitor, address: str) -> int:
    async with visitor.http() as http:
        return (await http.get(address)).status_code
