"""Selections within one another, deeper than Python lets loops be."""

import pytest

from tests.graph.engine.twins import check

MOST_BLOCKS = 20
"""Within one another, that CPython compiles."""


@pytest.mark.parametrize("depth", [MOST_BLOCKS - 2, MOST_BLOCKS, 3 * MOST_BLOCKS])
async def test_lists_in_lists(depth: int) -> None:
    answer = await check("{ thing { " + "things { name " * depth + "}" * depth + " } }")
    assert answer.errors == []
    assert '"name":"thing 2"' in answer.data
