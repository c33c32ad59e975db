"""Pagination: every walk through a list returns each item once, in order."""

import base64
import json
from collections import deque
from itertools import cycle
from typing import Any

import asyncpg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence.tables import new_id
from tests.support.database.databases import empty_tables
from tests.support.graphql.connections import (
    CONNECTIONS,
    EXPECTED_SQL,
    ConnectionField,
    get_ids,
    populate_connections,
    walk_pages,
)
from tests.support.http.client import ApiClient

ALL_CONNECTIONS = [pytest.param(connection, id=name) for name, connection in CONNECTIONS.items()]
NUMBERED_CONNECTIONS = [
    pytest.param(connection, id=name) for name, connection in CONNECTIONS.items() if connection.has_offset
]
SIZES = st.lists(st.integers(1, 15), min_size=1, max_size=4)


@pytest.fixture(scope="module")
async def customer(app: Starlette, open_shop: Shop, postgres: asyncpg.Connection) -> ApiClient:
    """Return the client of a customer with orders, in a shop with items in every list, which these tests only read."""
    await empty_tables(open_shop, postgres)
    return (await populate_connections(ApiClient(app), open_shop, postgres)).client


# ── User errors ───────────────────────────────────────────────────────────────────────────


async def test_invalid_arguments_are_request_errors(customer: ApiClient) -> None:
    for name, connection in CONNECTIONS.items():
        cursor = (await connection.fetch_page(customer, first=1))["pageInfo"]["endCursor"]
        bad_arguments: list[dict[str, Any]] = [
            {"first": -1},
            {"first": 101},
            {"last": -1},
            {"last": 101},
            {"first": 1, "last": 1},
            {"first": 0, "last": 0},
            {"first": 2**31 - 1},
            {"after": " "},
            {"after": "null"},
            {"after": cursor[:-1]},
            {"before": cursor[1:]},
            {"after": cursor + "A" * 4000},
            {"after": "é"},
            {"before": to_global_id("Book", new_id())},
        ]
        if connection.has_offset:
            bad_arguments += [
                {"offset": -1},
                {"offset": 10_001},
                {"offset": 0, "after": cursor},
                {"offset": 1, "last": 1, "after": ""},
                {"offset": 1, "before": cursor},
                {"offset": 1, "last": 1},
            ]
        for arguments in bad_arguments:
            assert (await connection.execute(customer, **arguments)).codes == ["BAD_USER_INPUT"], (name, arguments)


async def test_an_empty_cursor_is_no_cursor(customer: ApiClient) -> None:
    for name, connection in CONNECTIONS.items():
        first_page = await connection.fetch_page(customer, first=1)
        assert await connection.fetch_page(customer, first=1, after="") == first_page, name
        assert await connection.fetch_page(customer, first=1, after="", before="") == first_page, name
        last_page = await connection.fetch_page(customer, last=1)
        assert await connection.fetch_page(customer, last=1, before="") == last_page, name
        if connection.has_offset:
            second_page = await connection.fetch_page(customer, first=1, offset=1)
            assert await connection.fetch_page(customer, first=1, offset=1, after="") == second_page, name


async def test_cursor_of_another_list_or_sort_is_a_request_error(customer: ApiClient) -> None:
    cursors = {
        name: (await connection.fetch_page(customer, first=1))["pageInfo"]["endCursor"]
        for name, connection in CONNECTIONS.items()
    }
    fingerprints = {_parse_cursor(cursor)[0] for cursor in cursors.values()}
    assert len(fingerprints) == len(CONNECTIONS)
    alternating_arguments = cycle(("after", "before"))
    names = deque(CONNECTIONS)
    for _ in range(4):
        for name, other_name in zip(CONNECTIONS, names, strict=True):
            for argument in ("after", "before") if other_name == name else (next(alternating_arguments),):
                codes = (await CONNECTIONS[name].execute(customer, **{argument: cursors[other_name]})).codes
                assert codes == ([] if other_name == name else ["BAD_USER_INPUT"]), (name, other_name)
        names.rotate()


def _parse_cursor(cursor: str) -> list[Any]:
    """Return the fingerprint of the list, and the position."""
    parts: list[Any] = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    return parts


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


ORIGINAL_VALUE = "the original value"
FORGED_CURSORS = JSON | st.tuples(
    JSON | st.just(ORIGINAL_VALUE), JSON | st.just(ORIGINAL_VALUE) | st.uuids().map(lambda key: key.hex)
)


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(list(CONNECTIONS)), forged=FORGED_CURSORS, argument=st.sampled_from(["after", "before"]))
@example(name="books by search", forged=(ORIGINAL_VALUE, 7), argument="after")
@example(name="User.orders", forged=(ORIGINAL_VALUE, None), argument="before")
@example(name="Query.authors", forged=7, argument="after")
@example(name="Query.books by PRICE_ASC", forged=("99999999999.99", ORIGINAL_VALUE), argument="after")
async def test_forged_cursors_are_rejected(customer: ApiClient, name: str, forged: Any, argument: str) -> None:
    connection = CONNECTIONS[name]
    cursor = (await connection.fetch_page(customer, first=1))["pageInfo"]["endCursor"]
    fingerprint, *original = _parse_cursor(cursor)
    if isinstance(forged, tuple):
        parts = zip(forged, original, strict=True)
        forged = [fingerprint, *(original_part if part == ORIGINAL_VALUE else part for part, original_part in parts)]
    cursor_text = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
    assert (await connection.execute(customer, **{argument: cursor_text})).codes in ([], ["BAD_USER_INPUT"])


# ── Walks ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("connection", ALL_CONNECTIONS)
@settings(max_examples=5, deadline=None)
@given(sizes=SIZES)
async def test_every_item_is_listed_once_and_in_order(
    customer: ApiClient, connection: ConnectionField, sizes: list[int]
) -> None:
    full_page = await connection.fetch_page(customer, first=100)
    assert len(set(get_ids(full_page))) == len(get_ids(full_page)) == full_page["totalCount"] > 1
    assert await connection.fetch_page(customer, last=100) == full_page
    assert await walk_pages(connection, customer, sizes, forward=True) == get_ids(full_page)
    assert await walk_pages(connection, customer, sizes, forward=False) == get_ids(full_page)


@pytest.mark.parametrize("name", EXPECTED_SQL)
async def test_ties_are_sorted_by_id(customer: ApiClient, postgres: asyncpg.Connection, name: str) -> None:
    kind = {"Query.authors": "Author", "User.orders": "Order"}[name]
    expected = [to_global_id(kind, row["id"]) for row in await postgres.fetch(EXPECTED_SQL[name])]
    assert await walk_pages(CONNECTIONS[name], customer, [3], forward=True) == expected
    assert await walk_pages(CONNECTIONS[name], customer, [4], forward=False) == expected


@pytest.mark.parametrize("connection", ALL_CONNECTIONS)
@settings(max_examples=5, deadline=None)
@given(cuts=st.tuples(st.integers(0, 60), st.integers(0, 60)), size=st.integers(0, 30))
async def test_between_two_cursors(
    customer: ApiClient, connection: ConnectionField, cuts: tuple[int, int], size: int
) -> None:
    edges = (await connection.fetch_page(customer, first=100))["edges"]
    start, end = (cut % len(edges) for cut in cuts)
    ids_between = [edge["node"]["id"] for edge in edges[start + 1 : end]]
    window = {"after": edges[start]["cursor"], "before": edges[end]["cursor"]}

    from_start = await connection.fetch_page(customer, first=size, **window)
    assert get_ids(from_start) == ids_between[:size]
    assert from_start["pageInfo"]["hasNextPage"] is (len(ids_between) > size)
    from_end = await connection.fetch_page(customer, last=size, **window)
    assert get_ids(from_end) == ids_between[max(0, len(ids_between) - size) :]
    assert from_end["pageInfo"]["hasPreviousPage"] is (len(ids_between) > size)
    assert from_start["totalCount"] == from_end["totalCount"] == len(edges)


@pytest.mark.parametrize("connection", NUMBERED_CONNECTIONS)
@settings(max_examples=5, deadline=None)
@given(offset=st.integers(0, 50), size=st.integers(0, 30))
async def test_numbered_pages(customer: ApiClient, connection: ConnectionField, offset: int, size: int) -> None:
    all_ids = get_ids(await connection.fetch_page(customer, first=100))
    page = await connection.fetch_page(customer, first=size, offset=offset)
    assert get_ids(page) == all_ids[offset : offset + size]
    assert page["pageInfo"]["hasPreviousPage"] is (offset > 0)
    assert page["pageInfo"]["hasNextPage"] is (len(all_ids) > offset + size)
    assert page["totalCount"] == len(all_ids)


async def test_first_and_last_numbered_page(customer: ApiClient) -> None:
    books = CONNECTIONS["Query.books by NEWEST"]
    assert get_ids(await books.fetch_page(customer, offset=10_000)) == []
    assert (
        await books.fetch_page(customer, offset=0)
        == await books.fetch_page(customer, first=20)
        == await books.fetch_page(customer)
    )
    assert await books.fetch_page(customer, after=None, before=None, last=None, first=None) == await books.fetch_page(
        customer
    )


@pytest.mark.parametrize("connection", ALL_CONNECTIONS)
async def test_an_empty_page_has_no_cursors(customer: ApiClient, connection: ConnectionField) -> None:
    for arguments in ({"first": 0}, {"last": 0}):
        page = await connection.fetch_page(customer, **arguments)
        assert (page["nodes"], page["edges"]) == ([], [])
        assert (page["pageInfo"]["startCursor"], page["pageInfo"]["endCursor"]) == (None, None)
        page_flags = (page["pageInfo"]["hasNextPage"], page["pageInfo"]["hasPreviousPage"])
        assert page_flags == ("first" in arguments, "last" in arguments)
        assert page["totalCount"] > 0
