"""A shop with faults around it: an application of its own, and what administrators and visitors ask of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from starlette.applications import Starlette

from domain.shop import Shop
from server.app import create_app
from server.settings import Settings
from tests.support.http.client import ApiClient

GENRES_QUERY = "{ genres { id } }"
LOCK_GENRES = "LOCK TABLE genres IN ACCESS EXCLUSIVE MODE"
INCREMENT_STOCK = """mutation ($id: ID!) { updateStock(input: {bookId: $id, change: {adjustBy: 1}}) { __typename } }"""
UNAVAILABLE = {"code": "SERVICE_UNAVAILABLE", "retryAfter": 2}


@asynccontextmanager
async def running_client(settings: Settings, **overrides: object) -> AsyncIterator[ApiClient]:
    app = create_app(settings.model_copy(update=overrides))
    async with app.router.lifespan_context(app):
        yield ApiClient(app)


def get_shop(client: ApiClient) -> Shop:
    """What such an application works with."""
    assert isinstance(client._app, Starlette)
    shop: Shop = client._app.state.shop
    return shop


async def post_graphql(client: ApiClient, document: str, **variables: object) -> httpx2.Response:
    async with client.http() as http:
        return await http.post("/graphql", json={"query": document, "variables": variables})


async def get_status(client: ApiClient, path: str) -> int:
    async with client.http() as http:
        return (await http.get(path)).status_code
