"""Selections within one another, deeper than Python lets loops be."""

import pytest

from tests.support.graphql.differential import assert_equivalent

MAX_NESTED_BLOCKS = 20
"""Within one another, that CPython compiles."""


@pytest.mark.parametrize("depth", [MAX_NESTED_BLOCKS - 2, MAX_NESTED_BLOCKS, 3 * MAX_NESTED_BLOCKS])
async def test_nested_lists_beyond_the_block_limit(depth: int) -> None:
    result = await assert_equivalent("{ thing { " + "things { name " * depth + "}" * depth + " } }")
    assert result.errors == []
    assert '"name":"thing 2"' in result.data
