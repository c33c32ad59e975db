"""How many SQL statements an answer costs, counted on the wire."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from domain.shop import Shop
from server.app import create_app
from server.settings import Settings
from tests.client import Visitor
from tests.wire import Wire, tapped


@dataclass(frozen=True, slots=True)
class Counter:
    """A shop whose every statement passes over the wire."""

    wire: Wire
    shop: Shop
    visitor: Visitor

    async def count(self, visitor: Visitor, document: str, /, **variables: object) -> int:
        """The least of a few tries: the others had connections to open, and statements to prepare on them, too."""
        return min([await self._count_once(visitor, document, variables) for _ in range(4)])

    async def _count_once(self, visitor: Visitor, document: str, variables: dict[str, object]) -> int:
        self.shop.counts.clear()
        before = self.wire.statements
        reply = await visitor.ask(document, **variables)
        assert not reply.errors
        return self.wire.statements - before


@asynccontextmanager
async def counting(settings: Settings) -> AsyncIterator[Counter]:
    assert settings.database_url is not None
    async with tapped(settings.database_url) as wire:
        app = create_app(settings.model_copy(update={"database_url": wire.url}))
        async with app.router.lifespan_context(app):
            yield Counter(wire, app.state.shop, Visitor(app))
