"""What the guarantees share: a look at the whole database after a fault."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from domain.shop import Shop
from persistence.invariants import violated


@pytest.fixture
async def sound(shop: Shop, postgres: asyncpg.Connection) -> AsyncIterator[None]:
    """When the test is over, no invariant is violated."""
    yield
    assert await violated(postgres) == []
