"""Fixtures of the guarantees: a check of the whole database after a test."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from domain.shop import Shop
from persistence.invariants import find_violations


@pytest.fixture
async def check_invariants(shop: Shop, postgres: asyncpg.Connection) -> AsyncIterator[None]:
    """Assert after the test that no invariant is violated."""
    yield
    assert await find_violations(postgres) == []
