"""A search for a common word: the newest 3,000 matches are ranked, the others follow by age."""

import asyncpg
import pytest

from domain.shop import Shop
from tests.support.http.client import ApiClient

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
async def sample_books(shop: Shop, postgres: asyncpg.Connection) -> None:
    await postgres.execute(ADD)


async def fetch_page(client: ApiClient, **arguments: int | str) -> tuple[list[str], list[str], tuple[bool, bool]]:
    """Return the titles, the cursors, and whether items precede and follow the page."""
    page = (await client.execute(LIST, **arguments))["books"]
    assert page["totalCount"] == RANKED + OLDER
    neighbors = page["pageInfo"]["hasPreviousPage"], page["pageInfo"]["hasNextPage"]
    return [edge["node"]["title"] for edge in page["edges"]], [edge["cursor"] for edge in page["edges"]], neighbors


async def test_ranked_matches_precede_older_matches(client: ApiClient, sample_books: None) -> None:
    titles, _, neighbors = await fetch_page(client, first=3)
    assert (titles, neighbors) == ([BEST, "Ringworld", "Ringworld"], (False, True))
    titles, _, neighbors = await fetch_page(client, last=OLDER + 1)
    assert (titles, neighbors) == (["Ringworld", *OLD], (True, False))


async def test_paging_continues_past_ranked_matches(client: ApiClient, sample_books: None) -> None:
    before_the_end, cursors, _ = await fetch_page(client, first=5, offset=RANKED - 5)
    assert before_the_end == ["Ringworld"] * 5
    both, more_cursors, neighbors = await fetch_page(client, first=5, after=cursors[2])
    assert (both, more_cursors[:2], neighbors) == (["Ringworld", "Ringworld", *OLD[:3]], cursors[3:], (True, True))
    after, _, neighbors = await fetch_page(client, first=10, after=more_cursors[-1])
    assert (after, neighbors) == (OLD[3:], (True, False))
    nothing, _, neighbors = await fetch_page(client, first=10, offset=RANKED + OLDER)
    assert (nothing, neighbors) == ([], (True, False))


async def test_paging_backward_into_ranked_matches(client: ApiClient, sample_books: None) -> None:
    _, cursors, _ = await fetch_page(client, last=OLDER)
    titles, _, neighbors = await fetch_page(client, last=3, before=cursors[1])
    assert (titles, neighbors) == (["Ringworld", "Ringworld", OLD[0]], (True, True))
    _, cursors, _ = await fetch_page(client, first=2)
    titles, _, neighbors = await fetch_page(client, last=5, before=cursors[1])
    assert (titles, neighbors) == ([BEST], (False, True))


async def test_offset_and_cursor_list_the_same_books(client: ApiClient, sample_books: None) -> None:
    start = RANKED - 20
    _, cursors, _ = await fetch_page(client, first=1, offset=start)
    by_cursor = await fetch_page(client, first=25, after=cursors[0])
    assert await fetch_page(client, first=25, offset=start + 1) == by_cursor
