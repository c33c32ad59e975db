"""The examples of the GraphQL specification, through both executors; the numbers are its sections (October 2021)."""

from collections.abc import Awaitable
from typing import Any

import orjson
import pytest
from graphql import GraphQLError, execute, get_operation_ast, parse, validate

from graph.engine import Engine
from tests.graph.engine.examples import Numbers, schema

engine = Engine(schema)


def _told(data: Any, errors: list[GraphQLError] | None) -> str:
    """With the order of fields, which the specification gives."""
    told = {"data": data} if not errors else {"errors": [error.formatted for error in errors], "data": data}
    return orjson.dumps(told).decode()


async def answer(text: str, **variables: Any) -> dict[str, Any]:
    """What graphql-core says, and the engine does: carefully, and then swiftly."""
    document = parse(text)
    assert validate(schema._schema, document) == []
    result = execute(schema._schema, document, context_value=Numbers(), variable_values=variables)
    result = await result if isinstance(result, Awaitable) else result
    expected = _told(result.data, result.errors)
    operation = get_operation_ast(document)
    assert operation is not None
    plan = engine.compile(document, operation)
    for _ in range(3):
        outcome = await plan.run(Numbers(), variables)
        assert _told(outcome.data, outcome.errors) == expected
    told: dict[str, Any] = orjson.loads(expected)
    return told


async def data(text: str, **variables: Any) -> Any:
    told = await answer(text, **variables)
    assert "errors" not in told
    return told["data"]


# ── 2.8 Fragments ─────────────────────────────────────────────────────────────────────────


async def test_type_conditions() -> None:
    text = """query FragmentTyping { profiles(handles: ["zuck", "coca-cola"]) { handle ...userFragment ...pageFragment } }
    fragment userFragment on User { friends { count } }
    fragment pageFragment on Page { likers { count } }"""
    assert await data(text) == {
        "profiles": [
            {"handle": "zuck", "friends": {"count": 1234}},
            {"handle": "coca-cola", "likers": {"count": 90234512}},
        ]
    }


# ── 3.13 Directives ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("skip", "include", "there"),
    [(False, True, True), (False, False, False), (True, True, False), (True, False, False)],
)
async def test_skip_and_include_together(skip: bool, include: bool, there: bool) -> None:
    text = "query ($skip: Boolean!, $include: Boolean!) { b foo @skip(if: $skip) @include(if: $include) }"
    assert await data(text, skip=skip, include=include) == ({"b": 5, "foo": 1} if there else {"b": 5})


# ── 5.3.2 Field selection merging ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("merged", "becomes"),
    [
        ("name name", {"name": "Odie"}),
        ("otherName: name otherName: name", {"otherName": "Odie"}),
        ("doesKnowCommand(dogCommand: SIT) doesKnowCommand(dogCommand: SIT)", {"doesKnowCommand": True}),
        ("doesKnowCommand(dogCommand: $command) doesKnowCommand(dogCommand: $command)", {"doesKnowCommand": False}),
    ],
)
async def test_what_is_the_same_is_merged(merged: str, becomes: dict[str, Any]) -> None:
    declared = "($command: DogCommand!)" if "$" in merged else ""
    assert await data(f"query {declared} {{ dog {{ {merged} }} }}", command="HEEL") == {"dog": becomes}


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        (
            "{ pets { ...safeDifferingFields } } fragment safeDifferingFields on Pet "
            "{ ... on Dog { volume: barkVolume } ... on Cat { volume: meowVolume } }",
            [{"volume": 11}, {"volume": 3}],
        ),
        (
            "{ pets { ...safeDifferingArgs } } fragment safeDifferingArgs on Pet "
            "{ ... on Dog { doesKnowCommand(dogCommand: DOWN) } ... on Cat { doesKnowCommand(catCommand: JUMP) } }",
            [{"doesKnowCommand": False}, {"doesKnowCommand": True}],
        ),
    ],
)
async def test_what_differs_safely_is_not(text: str, becomes: list[Any]) -> None:
    assert await data(text) == {"pets": becomes}


@pytest.mark.parametrize(
    "conflict",
    [
        "... on Dog { name: nickname name }",
        "... on Dog { doesKnowCommand(dogCommand: SIT) doesKnowCommand(dogCommand: HEEL) }",
        "... on Dog { doesKnowCommand(dogCommand: SIT) doesKnowCommand(dogCommand: $command) }",
        "... on Dog { doesKnowCommand(dogCommand: $command) doesKnowCommand(dogCommand: $other) }",
        "... on Dog { someValue: nickname } ... on Cat { someValue: meowVolume }",
    ],
)
def test_what_conflicts_never_gets_as_far(conflict: str) -> None:
    text = f"query ($command: DogCommand!, $other: DogCommand!) {{ pets {{ {conflict} }} }}"
    errors = [error.message for error in validate(schema._schema, parse(text))]
    assert any("conflict because" in message for message in errors)


# ── 6.2.2 Mutations ───────────────────────────────────────────────────────────────────────


async def test_mutations_run_one_after_the_other() -> None:
    text = """mutation {
      first: changeTheNumber(newNumber: 1) { theNumber }
      second: changeTheNumber(newNumber: 3) { theNumber }
      third: changeTheNumber(newNumber: 2) { theNumber }
    }"""
    assert await data(text) == {"first": {"theNumber": 1}, "second": {"theNumber": 3}, "third": {"theNumber": 2}}


async def test_mutations_go_on_after_one_that_fails() -> None:
    text = """mutation {
      first: changeTheNumber(newNumber: 1) { theNumber }
      second: failToChangeTheNumber(newNumber: 3) { theNumber }
      third: changeTheNumber(newNumber: 2) { theNumber }
    }"""
    told = await answer(text)
    assert told["data"] == {"first": {"theNumber": 1}, "second": None, "third": {"theNumber": 2}}
    assert [error["path"] for error in told["errors"]] == [["second"]]


# ── 6.3 Executing selection sets ──────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("{ foo ...Fragment qux } fragment Fragment on Query { bar baz }", "foo bar baz qux"),
        ("{ foo ...Matching bar } fragment Matching on Query { bar qux foo }", "foo bar qux"),
        ("{ foo @skip(if: true) bar foo }", "bar foo"),
        ("{ foo ... @include(if: false) { qux } ... on Query { baz } }", "foo baz"),
    ],
)
async def test_fields_come_in_the_order_they_are_met(text: str, order: str) -> None:
    assert list(await data(text)) == order.split()


async def test_fields_are_collected() -> None:
    text = "{ a { subfield1 } ...ExampleFragment } fragment ExampleFragment on Query { a { subfield2 } b }"
    told = await data(text)
    assert list(told) == ["a", "b"]
    assert told == {"a": {"subfield1": 1, "subfield2": 2}, "b": 5}


# ── 6.4.3 Completing values ───────────────────────────────────────────────────────────────


async def test_selection_sets_are_merged() -> None:
    assert await data("{ me { firstName } me { lastName } }") == {"me": {"firstName": "Luke", "lastName": "Skywalker"}}


# ── 6.4.4 Handling field errors, 7.1.2 Errors ─────────────────────────────────────────────

FRIENDS = """query ($episode: Episode) {
  hero(episode: $episode) {
    name
    heroFriends: FRIENDS {
      id
      name
    }
  }
}"""
LUKE, LEIA = {"id": "1000", "name": "Luke Skywalker"}, {"id": "1003", "name": "Leia Organa"}
FAILED = {
    "message": "Name for character with ID 1002 could not be fetched.",
    "locations": [{"line": 6, "column": 7}],
    "path": ["hero", "heroFriends", 1, "name"],
    "extensions": {"code": "CAN_NOT_FETCH_BY_ID", "timestamp": "Fri Feb 9 14:33:09 UTC 2018"},
}


@pytest.mark.parametrize(
    ("friends", "hero"),
    [
        ("friends", {"name": "R2-D2", "heroFriends": [LUKE, {"id": "1002", "name": None}, LEIA]}),
        ("namedFriends", {"name": "R2-D2", "heroFriends": [LUKE, None, LEIA]}),
        ("sureFriends", None),
    ],
)
async def test_a_friend_without_a_name(friends: str, hero: Any) -> None:
    told = await answer(FRIENDS.replace("FRIENDS", friends), episode="EMPIRE")
    assert told == {"errors": [FAILED], "data": {"hero": hero}}


async def test_nothing_is_left_where_nothing_may_be_null() -> None:
    told = await answer("{ foo sureHero { sureFriends { name } } }")
    assert told["data"] is None
    assert [error["path"] for error in told["errors"]] == [["sureHero", "sureFriends", 1, "name"]]


# ── 3.12 Combining list and non-null ──────────────────────────────────────────────────────

GONE = "the box"


@pytest.mark.parametrize(
    ("kind", "of", "becomes", "fails_at"),
    [
        ("loose", ["1", "2", "3"], [1, 2, 3], None),
        ("loose", None, None, None),
        ("loose", ["1", "2", "null"], [1, 2, None], None),
        ("loose", ["1", "2", "Error"], [1, 2, None], 2),
        ("there", ["1", "2", "3"], [1, 2, 3], None),
        ("there", None, GONE, "there"),
        ("there", ["1", "2", "null"], [1, 2, None], None),
        ("there", ["1", "2", "Error"], [1, 2, None], 2),
        ("full", ["1", "2", "3"], [1, 2, 3], None),
        ("full", None, None, None),
        ("full", ["1", "2", "null"], None, 2),
        ("full", ["1", "2", "Error"], None, 2),
        ("strict", ["1", "2", "3"], [1, 2, 3], None),
        ("strict", None, GONE, "strict"),
        ("strict", ["1", "2", "null"], GONE, 2),
        ("strict", ["1", "2", "Error"], GONE, 2),
    ],
)
async def test_lists_of_each_kind(kind: str, of: list[str] | None, becomes: Any, fails_at: Any) -> None:
    """`[Int]`, `[Int]!`, `[Int!]` and `[Int!]!`."""
    told = await answer(f"query ($of: [String!]) {{ box {{ {kind}(of: $of) }} }}", of=of)
    assert told["data"] == {"box": None if becomes is GONE else {kind: becomes}}
    assert [error["path"][-1] for error in told.get("errors", [])] == ([] if fails_at is None else [fails_at])
