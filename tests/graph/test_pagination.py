"""Pages: whichever way a list is walked, every item is seen once and in its place."""

import base64
import json
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from domain.shop import Shop
from graph.ids import global_id
from persistence.models import new_id
from tests.client import Visitor
from tests.factories import add_administrator, add_book
from tests.lists import BY_HAND, LISTS, Listing, filled, ids, walked

ALL = [pytest.param(listing, id=name) for name, listing in LISTS.items()]
NUMBERED = [pytest.param(listing, id=name) for name, listing in LISTS.items() if listing.has_offset]
SIZES = st.lists(st.integers(1, 15), min_size=1, max_size=4)


@pytest.fixture
async def reader(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> Visitor:
    """Someone with orders, in a shop with something in every list."""
    return (await filled(visitor, shop, postgres)).visitor


# ── Refusals ──────────────────────────────────────────────────────────────────────────────


async def test_what_makes_no_sense_is_a_wrong_call(reader: Visitor) -> None:
    for name, listing in LISTS.items():
        cursor = (await listing.page(reader, first=1))["pageInfo"]["endCursor"]
        wrong: list[dict[str, Any]] = [
            {"first": -1},
            {"first": 101},
            {"last": -1},
            {"last": 101},
            {"first": 1, "last": 1},
            {"first": 0, "last": 0},
            {"first": 2**31 - 1},
            {"after": ""},
            {"before": ""},
            {"after": "null"},
            {"after": cursor[:-1]},
            {"before": cursor[1:]},
            {"after": cursor + "A" * 4000},
            {"after": "é"},
            {"before": global_id("Book", new_id())},
        ]
        if listing.has_offset:
            wrong += [
                {"offset": -1},
                {"offset": 10_001},
                {"offset": 0, "after": cursor},
                {"offset": 1, "before": cursor},
                {"offset": 1, "last": 1},
            ]
        for arguments in wrong:
            assert (await listing.ask(reader, **arguments)).codes == ["BAD_USER_INPUT"], (name, arguments)


async def test_cursors_of_another_list_or_order_are_a_wrong_call(reader: Visitor) -> None:
    cursors = {name: (await listing.page(reader, first=1))["pageInfo"]["endCursor"] for name, listing in LISTS.items()}
    assert len(set(cursors.values())) == len(LISTS)
    for name, listing in LISTS.items():
        for other, cursor in cursors.items():
            for way in ("after", "before"):
                codes = (await listing.ask(reader, **{way: cursor})).codes
                assert codes == ([] if other == name else ["BAD_USER_INPUT"]), (name, other)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(
        ["0001-01-01T00:00:00+23:00", "9999-12-31", "0001-01-01", "1e400", "NaN", "-1", "9" * 20, "\0", "\ud800"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


KEPT = "what was there"
FORGED = JSON | st.tuples(JSON | st.just(KEPT), JSON | st.just(KEPT) | st.uuids().map(lambda key: key.hex))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(list(LISTS)), forged=FORGED, way=st.sampled_from(["after", "before"]))
@example(name="books found", forged=(KEPT, 7), way="after")
@example(name="orders", forged=(KEPT, None), way="before")
@example(name="authors", forged=7, way="after")
@example(name="books by PRICE_ASC", forged=("99999999999.99", KEPT), way="after")
async def test_forged_cursors_do_no_harm(reader: Visitor, name: str, forged: Any, way: str) -> None:
    listing = LISTS[name]
    cursor = (await listing.page(reader, first=1))["pageInfo"]["endCursor"]
    fingerprint, *place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    if isinstance(forged, tuple):
        parts = zip(forged, place, strict=True)
        forged = [fingerprint, *(own if part == KEPT else part for part, own in parts)]
    told = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
    assert (await listing.ask(reader, **{way: told})).codes in ([], ["BAD_USER_INPUT"])


# ── Walks ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("listing", ALL)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=SIZES)
async def test_every_item_is_seen_once_and_in_its_place(reader: Visitor, listing: Listing, sizes: list[int]) -> None:
    everything = await listing.page(reader, first=100)
    assert len(set(ids(everything))) == len(ids(everything)) == everything["totalCount"] > 1
    assert await listing.page(reader, last=100) == everything
    assert await walked(listing, reader, sizes, forward=True) == ids(everything)
    assert await walked(listing, reader, sizes, forward=False) == ids(everything)


@pytest.mark.parametrize("name", BY_HAND)
async def test_items_that_tie_are_ordered_by_id(reader: Visitor, postgres: asyncpg.Connection, name: str) -> None:
    kind = {"authors": "Author", "orders": "Order"}[name]
    expected = [global_id(kind, row["id"]) for row in await postgres.fetch(BY_HAND[name])]
    assert await walked(LISTS[name], reader, [3], forward=True) == expected
    assert await walked(LISTS[name], reader, [4], forward=False) == expected


@pytest.mark.parametrize("listing", ALL)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.tuples(st.integers(0, 60), st.integers(0, 60)), size=st.integers(0, 30))
async def test_between_two_cursors(reader: Visitor, listing: Listing, cuts: tuple[int, int], size: int) -> None:
    edges = (await listing.page(reader, first=100))["edges"]
    start, end = (cut % len(edges) for cut in cuts)
    between = [edge["node"]["id"] for edge in edges[start + 1 : end]]
    window = {"after": edges[start]["cursor"], "before": edges[end]["cursor"]}

    from_start = await listing.page(reader, first=size, **window)
    assert ids(from_start) == between[:size]
    assert from_start["pageInfo"]["hasNextPage"] is (len(between) > size)
    from_end = await listing.page(reader, last=size, **window)
    assert ids(from_end) == between[max(0, len(between) - size) :]
    assert from_end["pageInfo"]["hasPreviousPage"] is (len(between) > size)
    assert from_start["totalCount"] == from_end["totalCount"] == len(edges)


@pytest.mark.parametrize("listing", NUMBERED)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, 50), size=st.integers(0, 30))
async def test_numbered_pages(reader: Visitor, listing: Listing, offset: int, size: int) -> None:
    everything = ids(await listing.page(reader, first=100))
    page = await listing.page(reader, first=size, offset=offset)
    assert ids(page) == everything[offset : offset + size]
    assert page["pageInfo"]["hasPreviousPage"] is (offset > 0)
    assert page["pageInfo"]["hasNextPage"] is (len(everything) > offset + size)
    assert page["totalCount"] == len(everything)


async def test_the_first_and_the_last_numbered_page_there_can_be(reader: Visitor) -> None:
    books = LISTS["books by NEWEST"]
    assert ids(await books.page(reader, offset=10_000)) == []
    assert await books.page(reader, offset=0) == await books.page(reader, first=20) == await books.page(reader)
    assert await books.page(reader, after=None, before=None, last=None, first=None) == await books.page(reader)


@pytest.mark.parametrize("listing", ALL)
async def test_an_empty_page_has_no_cursors(reader: Visitor, listing: Listing) -> None:
    for arguments in ({"first": 0}, {"last": 0}):
        page = await listing.page(reader, **arguments)
        assert (page["nodes"], page["edges"]) == ([], [])
        assert (page["pageInfo"]["startCursor"], page["pageInfo"]["endCursor"]) == (None, None)
        more = (page["pageInfo"]["hasNextPage"], page["pageInfo"]["hasPreviousPage"])
        assert more == ("first" in arguments, "last" in arguments)
        assert page["totalCount"] > 0


# ── A list that changes under the reader ──────────────────────────────────────────────────


@pytest.mark.parametrize("sort", ["NEWEST", "TITLE_ASC", "PRICE_DESC", "PUBLISHED_DESC"])
async def test_a_book_added_meanwhile_neither_repeats_nor_skips_another(reader: Visitor, shop: Shop, sort: str) -> None:
    books = LISTS[f"books by {sort}"]
    before = ids(await books.page(reader, first=100))
    seen: list[str] = []
    cursor = None
    while cursor is not None or not seen:
        page = await books.page(reader, first=7, after=cursor)
        seen += ids(page)
        await add_book(shop, "\u00c4gypten", price="12.50")
        await add_book(shop, "Zebra", price="0.01")
        cursor = page["pageInfo"]["endCursor"] if page["pageInfo"]["hasNextPage"] and len(seen) < 200 else None
    assert len(set(seen)) == len(seen)
    assert [id_ for id_ in seen if id_ in set(before)] == before


async def test_a_cursor_outlives_its_book(reader: Visitor, visitor: Visitor, shop: Shop) -> None:
    administrator = visitor.signed_in((await add_administrator(shop)).token)
    for sort in ("PUBLISHED_ASC", "TITLE_DESC"):
        books = LISTS[f"books by {sort}"]
        everything = ids(await books.page(reader, first=100))
        cursor = (await books.page(reader, first=5))["pageInfo"]["endCursor"]
        deleted = await administrator.ask(
            "mutation ($id: ID!) { deleteBook(input: {bookId: $id}) { __typename } }", id=everything[4]
        )
        assert deleted["deleteBook"]["__typename"] == "BookDeleted"
        assert ids(await books.page(reader, first=100, after=cursor)) == everything[5:]
        assert ids(await books.page(reader, last=100, before=cursor)) == everything[:4]
