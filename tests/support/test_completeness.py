"""The handwritten test data for parts of the schema is complete; a new part fails these tests with its name."""

from graphql import GraphQLEnumType, is_required_argument

from tests.support.graphql import connections, fuzz_client
from tests.support.graphql.bad_values import build_good_arguments
from tests.support.graphql.connections import CONNECTIONS, SORT_OF_SEARCHES
from tests.support.graphql.fuzz_client import TEXT_SAMPLES, list_fields_with_arguments
from tests.support.graphql.schema_fields import (
    SCHEMA,
    build_path_variables,
    find_field,
    list_connections,
    list_id_arguments,
)
from tests.support.shop.sample_catalog import ORDER_BY_SQL


def test_every_book_sort_has_expected_sql() -> None:
    sorts = SCHEMA.type_map["BookSort"]
    assert isinstance(sorts, GraphQLEnumType)
    assert set(ORDER_BY_SQL) == set(sorts.values) - {SORT_OF_SEARCHES}


def test_every_connection_can_be_reached() -> None:
    assert {connection.name for connection in CONNECTIONS.values()} == set(list_connections())
    for name in list_connections():
        assert build_path_variables(name.partition(".")[0], connections.LOOKUPS) is not None
        required_arguments = [key for key, argument in find_field(name).args.items() if is_required_argument(argument)]
        assert required_arguments == [], name


def test_every_argument_has_a_sample() -> None:
    ids = dict.fromkeys((*list_id_arguments(), "id", "ids"), "an id")
    samples = TEXT_SAMPLES | ids | {"slug": "a-slug"}
    for name in list_fields_with_arguments():
        build_good_arguments(find_field(name), samples)  # raises KeyError with the argument's name
        build_path_variables(name.partition(".")[0], fuzz_client.LOOKUPS)
