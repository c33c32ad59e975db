"""The benchmarks: their database has no violations, their peers send the same SQL, and their ratios are correct."""

from collections import Counter
from itertools import islice
from typing import Any

import pytest
from sqlalchemy import make_url

from domain.shop import Shop
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Query
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_book, book_id
from tools.bench.database import ensure_database
from tools.bench.fixtures import Fixtures
from tools.bench.generation import Size, format_steps
from tools.bench.measurement import Sample
from tools.bench.peers.statements import export_statements
from tools.bench.processes import format_haproxy_config
from tools.bench.protocols import GraphQL
from tools.bench.scale import compute_ratios
from tools.bench.workloads import (
    BOOK,
    CATALOG,
    FEW_CALLERS,
    MANY_CALLERS,
    MIX,
    NEW_CALLERS,
    SEARCH,
    SHARES,
    WORKLOADS,
)


def test_the_generated_database_satisfies_the_invariants(server_url: str) -> None:
    url = make_url(server_url).set(database="postgres").render_as_string(hide_password=False)
    size, messages = Size(books=300, reviews=3_000, users=400), list[str]()
    name = ensure_database(url, size, messages.append)
    assert messages[-1] == "invariants"
    assert ensure_database(url, size, messages.append) == name
    assert messages.count("invariants") == 1


def test_every_placeholder_is_replaced() -> None:
    assert [name for name, sql in format_steps(Size.for_books(1_000)) if ":books" in sql or ":anchor" in sql] == []


def test_exported_statements_name_their_parameters() -> None:
    statements = export_statements()
    assert statements["newestAfter"].parameters == ["after_key", "after_id"]
    assert set(statements["search"].parameters) == {"search", *statements["search"].fixed}
    assert statements["search"].skewed


async def test_exported_statements_equal_the_sent_statements(
    client: ApiClient, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statements read only the columns that the documents select."""
    sent_sql, fetch = list[str](), ReadSession._fetch_once

    async def record_and_fetch(self: ReadSession, query: Query[Any], arguments: list[Any]) -> Any:
        sent_sql.append(query.sql)
        return await fetch(self, query, arguments)

    book = await add_book(shop, "Two words")
    monkeypatch.setattr(ReadSession, "_fetch_once", record_and_fetch)
    statements = export_statements()
    for document, variables, names in (
        (CATALOG, {"first": 20, "after": None}, ["newest"]),
        (SEARCH, {"first": 20, "words": "two words"}, ["search"]),
        (BOOK, {"first": 10, "id": book_id(book)}, ["book", "reviews"]),
    ):
        sent_sql.clear()
        assert not (await client.execute(document, **variables)).errors
        assert sent_sql[: len(names)] == [statements[name].sql for name in names]


# ── More processes ────────────────────────────────────────────────────────────────────────


def test_the_mix_has_its_shares_and_each_user_once() -> None:
    fixtures = Fixtures("", ["two words"], ["a book"], ["another"], [f"user {n}" for n in range(1_000)])
    requests = list(MIX.requests(fixtures, "round"))
    documents = Counter(request.document for request in requests[:100])
    assert documents == {WORKLOADS[name].document: share for name, share in SHARES.items()}
    tokens = Counter(request.token for request in requests if request.token)
    assert (tokens.total(), set(tokens.values())) == (50, {1})
    buyers = {request.token for request in requests if request.document == WORKLOADS["W5"].document}
    assert buyers == set(fixtures.tokens[:10])


def test_callers_repeat_and_new_callers_do_not() -> None:
    fixtures = Fixtures("", [], [], [], [])
    for workload, new_count in ((FEW_CALLERS, 0), (MANY_CALLERS, 0), (NEW_CALLERS, 200)):
        first, second = (
            {request.address for request in islice(workload.requests(fixtures, key), 200)} for key in ("1", "2")
        )
        assert (len(first), len(second - first)) == (100 if workload is FEW_CALLERS else 200, new_count)
    requests = GraphQL().encode_requests(MANY_CALLERS, fixtures, "1", 1)
    assert requests[0].count(b"\r\nx-forwarded-for: 10.") == 1


def test_topologies_are_compared_round_by_round() -> None:
    def sample(target: str, per_second: float, cpu: float) -> Sample:
        return Sample(
            target,
            "W1",
            requests=1,
            per_second=per_second,
            cpu=cpu,
            busiest=0.5,
            database_cpu=1,
            components={"HAProxy": 1},
            load_cpu=1,
            statements=1,
            p50=1,
            p99=2,
            rss=1,
            uss=1,
        )

    first_samples = [sample("one", *figures) for figures in ((100, 1), (10, 2), (50, 4))]
    second_samples = [sample("two", *figures) for figures in ((150, 1), (20, 4), (200, 2))]
    (ratio,) = compute_ratios("workers", [*first_samples, *second_samples])
    assert (ratio.target, ratio.baseline) == ("two", "one")
    assert ratio.figures == {"requests/s": 2.0, "server CPU": 1.0, "database CPU": 1.0, "total CPU": 1.0}


def test_haproxy_balances_over_the_servers() -> None:
    config = format_haproxy_config(9000, [9001, 9002])
    ports = [line.rpartition(":")[2] for line in config.splitlines() if ":90" in line]
    assert ports == ["9000", *2 * ["9001", "9002"]]  # in the backends `ready` and `alive`
    assert ":800" not in config.partition("\n")[2]
