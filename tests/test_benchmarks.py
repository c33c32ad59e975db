"""The benchmarks' database is sound, and they know our SQL."""

from sqlalchemy import make_url

from benchmarks.data import made
from benchmarks.generation import Size, steps
from benchmarks.peers.statements import exported


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
