"""The benchmarks' database is sound, they know our SQL, and what they reckon is right."""

from collections import Counter
from itertools import islice
from typing import Any

import pytest
from sqlalchemy import make_url

from benchmarks.arrangements import BALANCER, PRIMARY
from benchmarks.data import made
from benchmarks.dialects import GraphQL
from benchmarks.generation import Size, steps
from benchmarks.mix import BUSY, MIX, SHARES, STRANGERS, VISITORS
from benchmarks.peers.statements import exported
from benchmarks.replicas import balancer_settings
from benchmarks.stage import Stage
from benchmarks.turns import SERVERS, Question, Turn, ratios
from benchmarks.workloads import BOOK, CATALOGUE, SEARCH, WORKLOADS
from domain.shop import Shop
from persistence.postgres.database import ReadSession
from persistence.postgres.statements import Query
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_book, book_id


def test_generated_database_keeps_the_invariants(server_url: str) -> None:
    address = make_url(server_url).set(database="postgres").render_as_string(hide_password=False)
    size, told = Size(books=300, reviews=3_000, users=400), list[str]()
    name = made(address, size, told.append)
    assert told[-1] == "invariants"
    assert made(address, size, told.append) == name
    assert told.count("invariants") == 1


def test_every_placeholder_is_replaced() -> None:
    assert [name for name, sql in steps(Size.of(1_000)) if ":books" in sql or ":anchor" in sql] == []


def test_exported_sql_lists_its_parameters() -> None:
    statements = exported()
    assert statements["newestAfter"].parameters == ["after_key", "after_id"]
    assert set(statements["search"].parameters) == {"search", *statements["search"].fixed}
    assert statements["search"].skewed


async def test_peers_with_our_sql_send_equal_statements(
    client: ApiClient, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And we send no more than this: no column that the documents do not ask for."""
    ours, fetch = list[str](), ReadSession._fetch_once

    async def heard(self: ReadSession, query: Query[Any], arguments: list[Any]) -> Any:
        ours.append(query.sql)
        return await fetch(self, query, arguments)

    book = await add_book(shop, "Two words")
    monkeypatch.setattr(ReadSession, "_fetch_once", heard)
    statements = exported()
    for document, variables, names in (
        (CATALOGUE, {"first": 20, "after": None}, ["newest"]),
        (SEARCH, {"first": 20, "words": "two words"}, ["search"]),
        (BOOK, {"first": 10, "id": book_id(book)}, ["book", "reviews"]),
    ):
        ours.clear()
        assert not (await client.execute(document, **variables)).errors
        assert ours[: len(names)] == [statements[name].sql for name in names]


# ── More processes ────────────────────────────────────────────────────────────────────────


def test_mix_has_its_shares_and_covers_every_caller() -> None:
    stage = Stage("", ["two words"], ["a book"], ["another"], [f"reader {n}" for n in range(1_000)])
    questions = list(MIX.questions(stage, "round"))
    asked = Counter(question.document for question in questions[:100])
    assert asked == {WORKLOADS[name].document: share for name, share in SHARES.items()}
    tokens = Counter(question.token for question in questions if question.token)
    assert (tokens.total(), set(tokens.values())) == (50, {1})
    buyers = {question.token for question in questions if question.document == WORKLOADS["W5"].document}
    assert buyers == set(stage.tokens[:10])


def test_returning_and_new_visitors() -> None:
    stage = Stage("", [], [], [], [])
    for workload, new in ((BUSY, 0), (VISITORS, 0), (STRANGERS, 200)):
        first, second = (
            {question.address for question in islice(workload.questions(stage, key), 200)} for key in ("1", "2")
        )
        assert (len(first), len(second - first)) == (100 if workload is BUSY else 200, new)
    requests = GraphQL().requests(VISITORS, stage, "1", 1)
    assert requests[0].count(b"\r\nx-forwarded-for: 10.") == 1


def test_topologies_are_compared_by_round() -> None:
    def turn(per_second: float, servers: float) -> Turn:
        cpu = {SERVERS: servers, PRIMARY: 1.0, BALANCER: 1.0}
        return Turn(per_second, cpu, load=1, busiest=0.5, p50=1, p99=2)

    question = Question("workers", "W1", "pages")
    one, two = [turn(100, 1), turn(10, 2), turn(50, 4)], [turn(150, 1), turn(20, 4), turn(200, 2)]
    (ratio,) = ratios({question: {"one": one, "two": two}})
    assert (ratio.arrangement, ratio.other) == ("two", "one")
    assert ratio.figures == {
        "requests a second": 2.0,
        "servers' CPU": 1.0,
        "PostgreSQL's CPU": 1.0,
        "CPU of all": 1.0,
    }


def test_balancer_configuration_lists_all_servers() -> None:
    settings = balancer_settings(9000, [9001, 9002])
    told = [line.rpartition(":")[2] for line in settings.splitlines() if ":90" in line]
    assert told == ["9000", *2 * ["9001", "9002"]]  # those that are ready, and those that are alive
    assert ":800" not in settings.partition("\n")[2]
