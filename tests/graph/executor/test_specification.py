"""The examples of the GraphQL specification (October 2021) with both executors, by section."""

from typing import Any

import orjson
import pytest
from graphql import parse, validate

from tests.support.graphql.comparison import Execution, execute_with_both
from tests.support.graphql.specification_examples import NumberContext, executor, schema


def _format_response(execution: Execution) -> bytes:
    """Serialize with the order of fields, which the specification defines."""
    errors = {"errors": [error.formatted for error in execution.errors]} if execution.errors else {}
    return orjson.dumps({**errors, "data": execution.data})


async def execute_both(text: str, **variables: Any) -> dict[str, Any]:
    """Assert that both executors return the same response, and return it."""
    expected, executions = await execute_with_both(executor, text, variables, NumberContext)
    for execution in executions:
        assert _format_response(execution) == _format_response(expected)
    response: dict[str, Any] = orjson.loads(_format_response(expected))
    return response


async def execute_for_data(text: str, **variables: Any) -> Any:
    response = await execute_both(text, **variables)
    assert "errors" not in response
    return response["data"]


# ── 2.8 Fragments ─────────────────────────────────────────────────────────────────────────


async def test_type_conditions() -> None:
    text = """query FragmentTyping { profiles(handles: ["zuck", "coca-cola"]) { handle ...userFragment ...pageFragment } }
    fragment userFragment on User { friends { count } }
    fragment pageFragment on Page { likers { count } }"""
    assert await execute_for_data(text) == {
        "profiles": [
            {"handle": "zuck", "friends": {"count": 1234}},
            {"handle": "coca-cola", "likers": {"count": 90234512}},
        ]
    }


# ── 3.13 Directives ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("skip", "include", "is_selected"),
    [(False, True, True), (False, False, False), (True, True, False), (True, False, False)],
)
async def test_skip_and_include_together(skip: bool, include: bool, is_selected: bool) -> None:
    text = "query ($skip: Boolean!, $include: Boolean!) { b foo @skip(if: $skip) @include(if: $include) }"
    assert await execute_for_data(text, skip=skip, include=include) == ({"b": 5, "foo": 1} if is_selected else {"b": 5})


# ── 5.3.2 Field selection merging ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("name name", {"name": "Odie"}),
        ("otherName: name otherName: name", {"otherName": "Odie"}),
        ("doesKnowCommand(dogCommand: SIT) doesKnowCommand(dogCommand: SIT)", {"doesKnowCommand": True}),
        ("doesKnowCommand(dogCommand: $command) doesKnowCommand(dogCommand: $command)", {"doesKnowCommand": False}),
    ],
)
async def test_identical_fields_are_merged(fields: str, expected: dict[str, Any]) -> None:
    variable_definitions = "($command: DogCommand!)" if "$" in fields else ""
    assert await execute_for_data(f"query {variable_definitions} {{ dog {{ {fields} }} }}", command="HEEL") == {
        "dog": expected
    }


@pytest.mark.parametrize(
    ("text", "expected"),
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
async def test_fields_of_different_types_are_not_merged(text: str, expected: list[Any]) -> None:
    assert await execute_for_data(text) == {"pets": expected}


@pytest.mark.parametrize(
    "selections",
    [
        "... on Dog { name: nickname name }",
        "... on Dog { doesKnowCommand(dogCommand: SIT) doesKnowCommand(dogCommand: HEEL) }",
        "... on Dog { doesKnowCommand(dogCommand: SIT) doesKnowCommand(dogCommand: $command) }",
        "... on Dog { doesKnowCommand(dogCommand: $command) doesKnowCommand(dogCommand: $other) }",
        "... on Dog { someValue: nickname } ... on Cat { someValue: meowVolume }",
    ],
)
def test_conflicting_fields_fail_validation(selections: str) -> None:
    text = f"query ($command: DogCommand!, $other: DogCommand!) {{ pets {{ {selections} }} }}"
    errors = [error.message for error in validate(schema._schema, parse(text))]
    assert any("conflict because" in message for message in errors)


# ── 6.2.2 Mutations ───────────────────────────────────────────────────────────────────────


async def test_mutations_run_serially() -> None:
    text = """mutation {
      first: changeTheNumber(newNumber: 1) { theNumber }
      second: changeTheNumber(newNumber: 3) { theNumber }
      third: changeTheNumber(newNumber: 2) { theNumber }
    }"""
    assert await execute_for_data(text) == {
        "first": {"theNumber": 1},
        "second": {"theNumber": 3},
        "third": {"theNumber": 2},
    }


async def test_mutations_continue_after_a_failure() -> None:
    text = """mutation {
      first: changeTheNumber(newNumber: 1) { theNumber }
      second: failToChangeTheNumber(newNumber: 3) { theNumber }
      third: changeTheNumber(newNumber: 2) { theNumber }
    }"""
    response = await execute_both(text)
    assert response["data"] == {"first": {"theNumber": 1}, "second": None, "third": {"theNumber": 2}}
    assert [error["path"] for error in response["errors"]] == [["second"]]


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
async def test_fields_keep_the_order_of_the_document(text: str, order: str) -> None:
    assert list(await execute_for_data(text)) == order.split()


async def test_fields_are_collected() -> None:
    text = "{ a { subfield1 } ...ExampleFragment } fragment ExampleFragment on Query { a { subfield2 } b }"
    result = await execute_for_data(text)
    assert list(result) == ["a", "b"]
    assert result == {"a": {"subfield1": 1, "subfield2": 2}, "b": 5}


# ── 6.4.3 Completing values ───────────────────────────────────────────────────────────────


async def test_selection_sets_are_merged() -> None:
    assert await execute_for_data("{ me { firstName } me { lastName } }") == {
        "me": {"firstName": "Luke", "lastName": "Skywalker"}
    }


# ── 6.4.4 Handling field errors, 7.1.2 Errors ─────────────────────────────────────────────

FRIENDS_QUERY = """query ($episode: Episode) {
  hero(episode: $episode) {
    name
    heroFriends: FRIENDS {
      id
      name
    }
  }
}"""
LUKE, LEIA = {"id": "1000", "name": "Luke Skywalker"}, {"id": "1003", "name": "Leia Organa"}
EXPECTED_ERROR = {
    "message": "Name for character with ID 1002 could not be fetched.",
    "locations": [{"line": 6, "column": 7}],
    "path": ["hero", "heroFriends", 1, "name"],
    "extensions": {"code": "CAN_NOT_FETCH_BY_ID", "timestamp": "Fri Feb 9 14:33:09 UTC 2018"},
}


@pytest.mark.parametrize(
    ("friends_field", "expected_hero"),
    [
        ("friends", {"name": "R2-D2", "heroFriends": [LUKE, {"id": "1002", "name": None}, LEIA]}),
        ("namedFriends", {"name": "R2-D2", "heroFriends": [LUKE, None, LEIA]}),
        ("sureFriends", None),
    ],
)
async def test_field_error_propagates_null(friends_field: str, expected_hero: Any) -> None:
    response = await execute_both(FRIENDS_QUERY.replace("FRIENDS", friends_field), episode="EMPIRE")
    assert response == {"errors": [EXPECTED_ERROR], "data": {"hero": expected_hero}}


async def test_null_propagates_to_data() -> None:
    response = await execute_both("{ foo sureHero { sureFriends { name } } }")
    assert response["data"] is None
    assert [error["path"] for error in response["errors"]] == [["sureHero", "sureFriends", 1, "name"]]


# ── 3.12 Combining list and non-null ──────────────────────────────────────────────────────

NULL_BOX = "the box"


@pytest.mark.parametrize(
    ("field", "of", "expected", "error_key"),
    [
        ("nullable", ["1", "2", "3"], [1, 2, 3], None),
        ("nullable", None, None, None),
        ("nullable", ["1", "2", "null"], [1, 2, None], None),
        ("nullable", ["1", "2", "Error"], [1, 2, None], 2),
        ("nonNullList", ["1", "2", "3"], [1, 2, 3], None),
        ("nonNullList", None, NULL_BOX, "nonNullList"),
        ("nonNullList", ["1", "2", "null"], [1, 2, None], None),
        ("nonNullList", ["1", "2", "Error"], [1, 2, None], 2),
        ("nonNullItems", ["1", "2", "3"], [1, 2, 3], None),
        ("nonNullItems", None, None, None),
        ("nonNullItems", ["1", "2", "null"], None, 2),
        ("nonNullItems", ["1", "2", "Error"], None, 2),
        ("nonNull", ["1", "2", "3"], [1, 2, 3], None),
        ("nonNull", None, NULL_BOX, "nonNull"),
        ("nonNull", ["1", "2", "null"], NULL_BOX, 2),
        ("nonNull", ["1", "2", "Error"], NULL_BOX, 2),
    ],
)
async def test_list_and_non_null_combinations(field: str, of: list[str] | None, expected: Any, error_key: Any) -> None:
    """`[Int]`, `[Int]!`, `[Int!]` and `[Int!]!`, resolved sync and async."""
    response = await execute_both(f"query ($of: [String!]) {{ box {{ {field}(of: $of) }} }}", of=of)
    assert response["data"] == {"box": None if expected is NULL_BOX else {field: expected}}
    assert [error["path"][-1] for error in response.get("errors", [])] == ([] if error_key is None else [error_key])
