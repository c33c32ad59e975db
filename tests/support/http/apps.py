"""Applications with changed settings, in this process and on the tests' database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from starlette.applications import Starlette

from domain.payments import PaymentProvider
from domain.shop import Shop
from server.app import create_app
from server.settings import Settings
from tests.support.http.client import ApiClient


@asynccontextmanager
async def running_app(
    settings: Settings, payments: PaymentProvider | None = None, /, **overrides: Any
) -> AsyncIterator[Starlette]:
    """Run an application whose settings have these overrides."""
    app = create_app(settings.model_copy(update=overrides), payments)
    async with app.router.lifespan_context(app):
        yield app


@asynccontextmanager
async def running_client(
    settings: Settings, payments: PaymentProvider | None = None, /, **overrides: Any
) -> AsyncIterator[ApiClient]:
    """Run an application with these overrides and yield an anonymous client of its API."""
    async with running_app(settings, payments, **overrides) as app:
        yield ApiClient(app)


@asynccontextmanager
async def running_http_client(settings: Settings, **overrides: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Run an application with these overrides and yield a plain HTTP client of it."""
    async with running_client(settings, **overrides) as client, client.http() as http:
        yield http


def get_shop(client: ApiClient) -> Shop:
    """Return the `Shop` of the client's application."""
    assert isinstance(client._app, Starlette)
    shop: Shop = client._app.state.shop
    return shop
