"""A search for a common word: the newest 3,000 matches are ranked, and the older matches follow by age."""

import asyncpg
import pytest

from domain.shop import Shop
from tests.support.http.client import ApiClient

SEARCH_QUERY = """query ($first: Int, $after: String, $last: Int, $before: String, $offset: Int) {
    books(search: "ring", first: $first, after: $after, last: $last, before: $before, offset: $offset) {
        totalCount edges { cursor node { title } } pageInfo { hasNextPage hasPreviousPage } } }"""
RANKED_COUNT, OLDER_COUNT = 3_000, 8
BEST_TITLE = "Ring"
"""The title of an old ranked book, the only title with the whole word."""
INSERT_BOOKS = f"""
INSERT INTO books (id, slug, title, price, added_at)
SELECT gen_random_uuid(), 'ring-' || n,
    CASE WHEN n = {RANKED_COUNT - 1} THEN '{BEST_TITLE}' WHEN n <= {RANKED_COUNT} THEN 'Ringworld' ELSE 'Ring ' || n END,
    1, now() - n * interval '1 hour'
FROM generate_series(1, {RANKED_COUNT + OLDER_COUNT}) n"""
OLDER_TITLES = [f"Ring {RANKED_COUNT + number}" for number in range(1, OLDER_COUNT + 1)]


@pytest.fixture
async def sample_books(shop: Shop, postgres: asyncpg.Connection) -> None:
    await postgres.execute(INSERT_BOOKS)


async def fetch_page(client: ApiClient, **arguments: int | str) -> tuple[list[str], list[str], tuple[bool, bool]]:
    """Return the titles, the cursors, and whether items precede and follow the page."""
    page = (await client.execute(SEARCH_QUERY, **arguments))["books"]
    assert page["totalCount"] == RANKED_COUNT + OLDER_COUNT
    neighbors = page["pageInfo"]["hasPreviousPage"], page["pageInfo"]["hasNextPage"]
    return [edge["node"]["title"] for edge in page["edges"]], [edge["cursor"] for edge in page["edges"]], neighbors


async def test_ranked_matches_precede_older_matches(client: ApiClient, sample_books: None) -> None:
    titles, _, neighbors = await fetch_page(client, first=3)
    assert (titles, neighbors) == ([BEST_TITLE, "Ringworld", "Ringworld"], (False, True))
    titles, _, neighbors = await fetch_page(client, last=OLDER_COUNT + 1)
    assert (titles, neighbors) == (["Ringworld", *OLDER_TITLES], (True, False))


async def test_paging_continues_past_ranked_matches(client: ApiClient, sample_books: None) -> None:
    titles_before, cursors, _ = await fetch_page(client, first=5, offset=RANKED_COUNT - 5)
    assert titles_before == ["Ringworld"] * 5
    titles_across, more_cursors, neighbors = await fetch_page(client, first=5, after=cursors[2])
    assert (titles_across, more_cursors[:2], neighbors) == (
        ["Ringworld", "Ringworld", *OLDER_TITLES[:3]],
        cursors[3:],
        (True, True),
    )
    titles_after, _, neighbors = await fetch_page(client, first=10, after=more_cursors[-1])
    assert (titles_after, neighbors) == (OLDER_TITLES[3:], (True, False))
    titles_beyond, _, neighbors = await fetch_page(client, first=10, offset=RANKED_COUNT + OLDER_COUNT)
    assert (titles_beyond, neighbors) == ([], (True, False))


async def test_paging_backward_into_ranked_matches(client: ApiClient, sample_books: None) -> None:
    _, cursors, _ = await fetch_page(client, last=OLDER_COUNT)
    titles, _, neighbors = await fetch_page(client, last=3, before=cursors[1])
    assert (titles, neighbors) == (["Ringworld", "Ringworld", OLDER_TITLES[0]], (True, True))
    _, cursors, _ = await fetch_page(client, first=2)
    titles, _, neighbors = await fetch_page(client, last=5, before=cursors[1])
    assert (titles, neighbors) == ([BEST_TITLE], (False, True))


async def test_offset_and_cursor_list_the_same_books(client: ApiClient, sample_books: None) -> None:
    start = RANKED_COUNT - 20
    _, cursors, _ = await fetch_page(client, first=1, offset=start)
    by_cursor = await fetch_page(client, first=25, after=cursors[0])
    assert await fetch_page(client, first=25, offset=start + 1) == by_cursor
