"""Compares GraphQL responses of the server."""

import datetime as dt
import re
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from graph.execution.execute import GraphQLResponse
from tests.support.graphql.comparison import ComparableResult

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+(?:Z|\+00:00)")
TIMESTAMP_TOLERANCE = dt.timedelta(minutes=1)
GENERATED_VALUE = re.compile(r"[\w.=-]{14,}")
"""An ID, a cursor, a token or an order number."""


@dataclass(slots=True)
class ResponseNormalizer:
    """Removes allowed differences between responses: timestamps, and values that two shops have generated.

    `generated_values` matches generated values; each value must always correspond to the same value of the other shop.
    """

    generated_values: re.Pattern[str] | None = None
    _actual_by_expected: dict[str, str] = field(default_factory=dict)
    _expected_by_actual: dict[str, str] = field(default_factory=dict)

    def normalize(self, expected: Any, actual: Any) -> Any:
        """Return the expected data, with actual values at the positions of allowed differences."""
        if isinstance(expected, dict) and isinstance(actual, dict):
            return {key: self.normalize(value, actual.get(key)) for key, value in expected.items()}
        if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
            return [self.normalize(value, actual_value) for value, actual_value in zip(expected, actual, strict=True)]
        if isinstance(expected, str) and isinstance(actual, str) and expected != actual:
            if TIMESTAMP.fullmatch(expected) and TIMESTAMP.fullmatch(actual) and _are_close(expected, actual):
                return actual
            if (
                self.generated_values
                and self.generated_values.fullmatch(expected)
                and self.generated_values.fullmatch(actual)
                and self._is_consistent(expected, actual)
            ):
                return actual
        return expected

    def _is_consistent(self, expected: str, actual: str) -> bool:
        """Return whether the two values have corresponded to each other so far."""
        return (
            self._actual_by_expected.setdefault(expected, actual) == actual
            and self._expected_by_actual.setdefault(actual, expected) == expected
        )


def _are_close(expected: str, actual: str) -> bool:
    return abs(dt.datetime.fromisoformat(expected) - dt.datetime.fromisoformat(actual)) < TIMESTAMP_TOLERANCE


def build_comparable(response: GraphQLResponse) -> ComparableResult:
    errors = [orjson.dumps(error, option=orjson.OPT_SORT_KEYS).decode() for error in response.errors]
    return ComparableResult(orjson.dumps(response.data).decode(), sorted(errors), [])


def are_equivalent(
    actual: GraphQLResponse, expected: GraphQLResponse, normalizer: ResponseNormalizer | None = None
) -> bool:
    """Return whether two responses are equal, except for allowed differences."""
    normalized = replace(expected, data=(normalizer or ResponseNormalizer()).normalize(expected.data, actual.data))
    return actual.is_executed == expected.is_executed and build_comparable(actual).is_equivalent_to(
        build_comparable(normalized)
    )
