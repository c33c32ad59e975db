"""The user errors of the domain, their object types and the SDL agree."""

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


def _iterate_subclasses(base: type[T]) -> Iterator[type[T]]:
    for subclass in base.__subclasses__():
        yield subclass
        yield from _iterate_subclasses(subclass)


USER_ERRORS = list(_iterate_subclasses(DomainUserError))
REQUEST_ERRORS = list(_iterate_subclasses(RequestError))


def _get_user_error_interface() -> GraphQLInterfaceType:
    interface = SCHEMA.type_map["UserError"]
    assert isinstance(interface, GraphQLInterfaceType)
    return interface


def _get_code_descriptions() -> dict[str, str]:
    """Return the codes of the SDL with their descriptions."""
    enum = SCHEMA.type_map["ErrorCode"]
    assert isinstance(enum, GraphQLEnumType)
    return {name: value.description or "" for name, value in enum.values.items()}


def test_error_types_cover_every_user_error() -> None:
    assert set(ERROR_TYPES) == set(USER_ERRORS)
    assert {error.__module__ for error in USER_ERRORS} == {"domain.errors"}


@pytest.mark.parametrize("error", USER_ERRORS)
def test_user_error_has_a_type_of_its_name(error: type[DomainUserError]) -> None:
    object_type = SCHEMA.type_map[error.__name__]
    assert isinstance(object_type, GraphQLObjectType)
    assert list(object_type.interfaces) == [_get_user_error_interface()]
    assert object_type.description
    error_type = getattr(user_errors, error.__name__)
    assert ERROR_TYPES[error] is error_type
    assert get_type_hints(error_type, include_extras=False)["error"] in (error, DomainUserError)


@pytest.mark.parametrize("error", USER_ERRORS)
def test_every_user_error_type_is_in_a_mutation_union(error: type[DomainUserError]) -> None:
    assert [union.name for union in UNIONS if error.__name__ in {member.name for member in union.types}]


@pytest.mark.parametrize("error", USER_ERRORS)
def test_user_error_codes_are_in_the_schema(error: type[DomainUserError]) -> None:
    assert _get_code_descriptions()[error.code].startswith(("Result: ", "Result or top-level: "))


def test_user_error_codes_are_unique() -> None:
    by_code = {error.code: error for error in USER_ERRORS}
    assert len(by_code) == len(USER_ERRORS)
    assert {code for code, description in _get_code_descriptions().items() if description.startswith("Result")} == set(
        by_code
    )


def test_schema_has_no_unknown_user_error() -> None:
    error_types = {type_.name for type_ in SCHEMA.get_possible_types(_get_user_error_interface())}
    assert error_types == {error.__name__ for error in USER_ERRORS}


def test_every_mutation_returns_one_success_type_or_user_errors() -> None:
    assert SCHEMA.mutation_type is not None
    result_types = [field.type for field in SCHEMA.mutation_type.fields.values()]
    assert not [type_ for type_ in result_types if isinstance(type_, GraphQLNonNull)]
    assert {str(type_) for type_ in result_types} == {union.name for union in UNIONS}
    for union in UNIONS:
        success_types = [member.name for member in union.types if _get_user_error_interface() not in member.interfaces]
        assert len(success_types) == (2 if union.name == "RequestEmailVerificationResult" else 1), union.name


@pytest.mark.parametrize("error", REQUEST_ERRORS)
def test_request_error_codes_are_in_the_schema(error: type[RequestError]) -> None:
    assert _get_code_descriptions()[error.code].startswith(("Top-level: ", "Result or top-level: "))


def test_input_rules_match_the_domain() -> None:
    rules = SCHEMA.type_map["InputRule"]
    assert isinstance(rules, GraphQLEnumType)
    assert list(rules.values) == [rule.value for rule in Constraint]
