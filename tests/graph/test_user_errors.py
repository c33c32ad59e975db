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

from domain.errors import Constraint
from domain.errors import UserError as DomainUserError
from graph import user_errors
from graph.kit.mutations import ERROR_TYPES
from graph.request_errors import RequestError

T = TypeVar("T")

SCHEMA = build_schema((Path(__file__).parents[2] / "schema.graphql").read_text())
UNIONS = [type_ for type_ in SCHEMA.type_map.values() if isinstance(type_, GraphQLUnionType)]


def _below(kind: type[T]) -> Iterator[type[T]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _below(subclass)


REFUSALS = list(_below(DomainUserError))
WRONG_CALLS = list(_below(RequestError))


def _user_error() -> GraphQLInterfaceType:
    interface = SCHEMA.type_map["UserError"]
    assert isinstance(interface, GraphQLInterfaceType)
    return interface


def _codes() -> dict[str, str]:
    """The codes of the contract, with what it says of each."""
    enum = SCHEMA.type_map["ErrorCode"]
    assert isinstance(enum, GraphQLEnumType)
    return {name: value.description or "" for name, value in enum.values.items()}


def test_error_types_cover_every_user_error() -> None:
    assert set(ERROR_TYPES) == set(REFUSALS)
    assert {refusal.__module__ for refusal in REFUSALS} == {"domain.errors"}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_user_error_has_a_type_of_its_name(refusal: type[DomainUserError]) -> None:
    problem = SCHEMA.type_map[refusal.__name__]
    assert isinstance(problem, GraphQLObjectType)
    assert list(problem.interfaces) == [_user_error()]
    assert problem.description
    declared = getattr(user_errors, refusal.__name__)
    assert ERROR_TYPES[refusal] is declared
    assert get_type_hints(declared, include_extras=False)["refusal"] in (refusal, DomainUserError)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_every_user_error_type_is_in_a_mutation_union(refusal: type[DomainUserError]) -> None:
    assert [union.name for union in UNIONS if refusal.__name__ in {user.name for user in union.types}]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_user_error_codes_are_in_the_schema(refusal: type[DomainUserError]) -> None:
    assert _codes()[refusal.code].startswith(("Result: ", "Result or top-level: "))


def test_user_error_codes_are_unique() -> None:
    by_code = {refusal.code: refusal for refusal in REFUSALS}
    assert len(by_code) == len(REFUSALS)
    assert {code for code, told in _codes().items() if told.startswith("Result")} == set(by_code)


def test_schema_has_no_unknown_user_error() -> None:
    problems = {type_.name for type_ in SCHEMA.get_possible_types(_user_error())}
    assert problems == {refusal.__name__ for refusal in REFUSALS}


def test_every_mutation_returns_one_success_type_or_user_errors() -> None:
    assert SCHEMA.mutation_type is not None
    returned = [field.type for field in SCHEMA.mutation_type.fields.values()]
    assert not [type_ for type_ in returned if isinstance(type_, GraphQLNonNull)]
    assert {str(type_) for type_ in returned} == {union.name for union in UNIONS}
    for union in UNIONS:
        results = [user.name for user in union.types if _user_error() not in user.interfaces]
        assert len(results) == (2 if union.name == "RequestEmailVerificationResult" else 1), union.name


@pytest.mark.parametrize("wrong", WRONG_CALLS)
def test_request_error_codes_are_in_the_schema(wrong: type[RequestError]) -> None:
    assert _codes()[wrong.code].startswith(("Top-level: ", "Result or top-level: "))


def test_input_rules_match_the_domain() -> None:
    rules = SCHEMA.type_map["InputRule"]
    assert isinstance(rules, GraphQLEnumType)
    assert list(rules.values) == [rule.value for rule in Constraint]
