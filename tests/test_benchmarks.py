"""The benchmarks' database is sound, and they know our SQL."""

from typing import Any

import pytest
from sqlalchemy import make_url

from benchmarks.data import made
from benchmarks.generation import Size, steps
from benchmarks.peers.statements import exported
from benchmarks.workloads import BOOK, CATALOGUE, SEARCH
from domain.shop import Shop
from persistence.database import Reading
from persistence.query import Query
from tests.client import Visitor
from tests.factories import add_book, book_id


def test_the_database_that_is_made_keeps_the_invariants(server_url: str) -> None:
    address = make_url(server_url).set(database="postgres").render_as_string(hide_password=False)
    size, told = Size(books=300, reviews=3_000, users=400), list[str]()
    name = made(address, size, told.append)
    assert told[-1] == "invariants"
    assert made(address, size, told.append) == name
    assert told.count("invariants") == 1


def test_every_name_is_put_in() -> None:
    assert [name for name, sql in steps(Size.of(1_000)) if ":books" in sql or ":anchor" in sql] == []


def test_the_sql_for_other_programs_tells_its_parameters() -> None:
    statements = exported()
    assert statements["newestAfter"].parameters == ["after_key", "after_id"]
    assert set(statements["search"].parameters) == {"search", *statements["search"].fixed}
    assert statements["search"].skewed


async def test_peers_with_our_sql_send_what_we_send(
    visitor: Visitor, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And we send no more than this: no column that the documents do not ask for."""
    ours, fetch = list[str](), Reading._fetch_once

    async def heard(self: Reading, query: Query[Any], arguments: list[Any]) -> Any:
        ours.append(query.sql)
        return await fetch(self, query, arguments)

    book = await add_book(shop, "Two words")
    monkeypatch.setattr(Reading, "_fetch_once", heard)
    statements = exported()
    for document, variables, names in (
        (CATALOGUE, {"first": 20, "after": None}, ["newest"]),
        (SEARCH, {"first": 20, "words": "two words"}, ["search"]),
        (BOOK, {"first": 10, "id": book_id(book)}, ["book", "reviews"]),
    ):
        ours.clear()
        assert not (await visitor.ask(document, **variables)).errors
        assert ours[: len(names)] == [statements[name].sql for name in names]
