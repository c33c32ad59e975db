"""What the guarantees share: a look at the whole database after a fault."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from domain.shop import Shop
from persistence.invariants import find_violations


@pytest.fixture
async def check_invariants(shop: Shop, postgres: asyncpg.Connection) -> AsyncIterator[None]:
    """When the test is over, no invariant is violated."""
    yield
    assert await find_violations(postgres) == []
