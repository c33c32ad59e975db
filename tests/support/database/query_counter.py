"""How many SQL statements an answer costs, counted on the wire."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from domain.shop import Shop
from server.app import create_app
from server.settings import Settings
from tests.support.database.counting_proxy import CountingProxy, start_counting_proxy
from tests.support.http.client import ApiClient


@dataclass(frozen=True, slots=True)
class QueryCounter:
    """A shop whose every statement passes over the wire."""

    proxy: CountingProxy
    shop: Shop
    client: ApiClient

    async def count(self, client: ApiClient, document: str, /, **variables: object) -> int:
        """The least of a few tries: the others had connections to open, and statements to prepare on them, too."""
        return min([await self._count_once(client, document, variables) for _ in range(4)])

    async def _count_once(self, client: ApiClient, document: str, variables: dict[str, object]) -> int:
        self.shop.count_cache.clear()
        before = self.proxy.statements
        response = await client.execute(document, **variables)
        assert not response.errors
        return self.proxy.statements - before


@asynccontextmanager
async def count_queries(settings: Settings) -> AsyncIterator[QueryCounter]:
    assert settings.database_url is not None
    async with start_counting_proxy(settings.database_url) as proxy:
        app = create_app(settings.model_copy(update={"database_url": proxy.url}))
        async with app.router.lifespan_context(app):
            yield QueryCounter(proxy, app.state.shop, ApiClient(app))
