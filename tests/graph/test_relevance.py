"""A search for a common word: the newest 3,000 are ranked, and the others follow them by their age."""

import asyncpg
import pytest

from domain.shop import Shop
from tests.client import Visitor

LIST = """query ($first: Int, $after: String, $last: Int, $before: String, $offset: Int) {
    books(search: "ring", first: $first, after: $after, last: $last, before: $before, offset: $offset) {
        totalCount edges { cursor node { title } } pageInfo { hasNextPage hasPreviousPage } } }"""
RANKED, OLDER = 3_000, 8
BEST = "Ring"
"""Among the oldest that are ranked: the only whole word."""
ADD = f"""
INSERT INTO books (id, slug, title, price, added_at)
SELECT gen_random_uuid(), 'ring-' || n,
    CASE WHEN n = {RANKED - 1} THEN '{BEST}' WHEN n <= {RANKED} THEN 'Ringworld' ELSE 'Ring ' || n END,
    1, now() - n * interval '1 hour'
FROM generate_series(1, {RANKED + OLDER}) n"""
OLD = [f"Ring {RANKED + number}" for number in range(1, OLDER + 1)]


@pytest.fixture
async def shelf(shop: Shop, postgres: asyncpg.Connection) -> None:
    await postgres.execute(ADD)


async def page(visitor: Visitor, **wanted: int | str) -> tuple[list[str], list[str], tuple[bool, bool]]:
    """Titles, cursors, and whether there is more before and after."""
    told = (await visitor.ask(LIST, **wanted))["books"]
    assert told["totalCount"] == RANKED + OLDER
    more = told["pageInfo"]["hasPreviousPage"], told["pageInfo"]["hasNextPage"]
    return [edge["node"]["title"] for edge in told["edges"]], [edge["cursor"] for edge in told["edges"]], more


async def test_what_is_ranked_comes_first_however_well_older_ones_match(visitor: Visitor, shelf: None) -> None:
    titles, _, more = await page(visitor, first=3)
    assert (titles, more) == ([BEST, "Ringworld", "Ringworld"], (False, True))
    titles, _, more = await page(visitor, last=OLDER + 1)
    assert (titles, more) == (["Ringworld", *OLD], (True, False))


async def test_pages_go_on_where_ranks_end(visitor: Visitor, shelf: None) -> None:
    before_the_end, cursors, _ = await page(visitor, first=5, offset=RANKED - 5)
    assert before_the_end == ["Ringworld"] * 5
    both, more_cursors, more = await page(visitor, first=5, after=cursors[2])
    assert (both, more_cursors[:2], more) == (["Ringworld", "Ringworld", *OLD[:3]], cursors[3:], (True, True))
    after, _, more = await page(visitor, first=10, after=more_cursors[-1])
    assert (after, more) == (OLD[3:], (True, False))
    nothing, _, more = await page(visitor, first=10, offset=RANKED + OLDER)
    assert (nothing, more) == ([], (True, False))


async def test_pages_lead_back_into_what_is_ranked(visitor: Visitor, shelf: None) -> None:
    _, cursors, _ = await page(visitor, last=OLDER)
    titles, _, more = await page(visitor, last=3, before=cursors[1])
    assert (titles, more) == (["Ringworld", "Ringworld", OLD[0]], (True, True))
    _, cursors, _ = await page(visitor, first=2)
    titles, _, more = await page(visitor, last=5, before=cursors[1])
    assert (titles, more) == ([BEST], (False, True))


async def test_by_offset_and_by_cursor_the_same_books_are_there(visitor: Visitor, shelf: None) -> None:
    start = RANKED - 20
    _, cursors, _ = await page(visitor, first=1, offset=start)
    by_cursor = await page(visitor, first=25, after=cursors[0])
    assert await page(visitor, first=25, offset=start + 1) == by_cursor
