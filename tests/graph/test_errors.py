"""Refusals: the exceptions of the domain, the table that maps them, and the contract agree."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar, get_type_hints

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInterfaceType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLUnionType,
    build_schema,
)

from domain.errors import Refusal as DomainUserError
from domain.errors import Rule
from graph import errors
from graph.faults import WrongCall
from graph.refusals import PROBLEMS

T = TypeVar("T")

SCHEMA = build_schema((Path(__file__).parents[2] / "schema.graphql").read_text())
UNIONS = [type_ for type_ in SCHEMA.type_map.values() if isinstance(type_, GraphQLUnionType)]


def _below(kind: type[T]) -> Iterator[type[T]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _below(subclass)


REFUSALS = list(_below(DomainUserError))
WRONG_CALLS = list(_below(WrongCall))


def _user_error() -> GraphQLInterfaceType:
    interface = SCHEMA.type_map["UserError"]
    assert isinstance(interface, GraphQLInterfaceType)
    return interface


def _codes() -> dict[str, str]:
    """The codes of the contract, with what it says of each."""
    enum = SCHEMA.type_map["ErrorCode"]
    assert isinstance(enum, GraphQLEnumType)
    return {name: value.description or "" for name, value in enum.values.items()}


def test_the_table_has_every_refusal_and_nothing_else() -> None:
    assert set(PROBLEMS) == set(REFUSALS)
    assert {refusal.__module__ for refusal in REFUSALS} == {"domain.errors"}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_has_a_problem_of_its_own_name(refusal: type[DomainUserError]) -> None:
    problem = SCHEMA.type_map[refusal.__name__]
    assert isinstance(problem, GraphQLObjectType)
    assert list(problem.interfaces) == [_user_error()]
    assert problem.description
    declared = getattr(errors, refusal.__name__)
    assert PROBLEMS[refusal] is declared
    assert get_type_hints(declared, include_extras=False)["refusal"] in (refusal, DomainUserError)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_problem_can_end_some_mutation(refusal: type[DomainUserError]) -> None:
    assert [union.name for union in UNIONS if refusal.__name__ in {member.name for member in union.types}]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_the_code_of_a_refusal_is_in_the_contract_as_one(refusal: type[DomainUserError]) -> None:
    assert _codes()[refusal.code].startswith(("Result: ", "Result or top-level: "))


def test_each_refusal_has_a_code_of_its_own() -> None:
    by_code = {refusal.code: refusal for refusal in REFUSALS}
    assert len(by_code) == len(REFUSALS)
    assert {code for code, told in _codes().items() if told.startswith("Result")} == set(by_code)


def test_the_contract_has_no_problem_that_the_domain_does_not_know() -> None:
    problems = {type_.name for type_ in SCHEMA.get_possible_types(_user_error())}
    assert problems == {refusal.__name__ for refusal in REFUSALS}


def test_every_mutation_ends_in_one_outcome_or_in_problems() -> None:
    assert SCHEMA.mutation_type is not None
    returned = [field.type for field in SCHEMA.mutation_type.fields.values()]
    assert not [type_ for type_ in returned if isinstance(type_, GraphQLNonNull)]
    assert {str(type_) for type_ in returned} == {union.name for union in UNIONS}
    for union in UNIONS:
        outcomes = [member.name for member in union.types if _user_error() not in member.interfaces]
        assert len(outcomes) == (2 if union.name == "RequestEmailVerificationResult" else 1), union.name


@pytest.mark.parametrize("wrong", WRONG_CALLS)
def test_the_code_of_a_wrong_call_is_in_the_contract_as_one(wrong: type[WrongCall]) -> None:
    assert _codes()[wrong.code].startswith(("Top-level: ", "Result or top-level: "))


def test_the_rules_of_input_are_those_of_the_domain() -> None:
    rules = SCHEMA.type_map["InputRule"]
    assert isinstance(rules, GraphQLEnumType)
    assert list(rules.values) == [rule.value for rule in Rule]
