"""Selection sets that are nested more deeply than CPython can compile loops."""

import pytest

from tests.support.graphql.chaos_schema import assert_equivalent

MAX_NESTED_BLOCKS = 20
"""The most nested blocks that CPython compiles."""


@pytest.mark.parametrize("depth", [MAX_NESTED_BLOCKS - 2, MAX_NESTED_BLOCKS, 3 * MAX_NESTED_BLOCKS])
async def test_nested_lists_beyond_the_block_limit(depth: int) -> None:
    result = await assert_equivalent("{ thing { " + "things { name " * depth + "}" * depth + " } }")
    assert result.errors == []
    assert '"name":"thing 2"' in result.data
