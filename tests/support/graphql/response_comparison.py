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
    """Removes expected differences between responses: timestamps, and values that two shops have generated.

    `generated_values` matches generated values; each must correspond to the same value of the other shop throughout.
    """

    generated_values: re.Pattern[str] | None = None
    _ours_by_theirs: dict[str, str] = field(default_factory=dict)
    _theirs_by_ours: dict[str, str] = field(default_factory=dict)

    def normalize(self, theirs: Any, ours: Any) -> Any:
        """Return their data, with our values where a difference is expected."""
        if isinstance(theirs, dict) and isinstance(ours, dict):
            return {key: self.normalize(value, ours.get(key)) for key, value in theirs.items()}
        if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
            return [self.normalize(value, our_value) for value, our_value in zip(theirs, ours, strict=True)]
        if isinstance(theirs, str) and isinstance(ours, str) and theirs != ours:
            if TIMESTAMP.fullmatch(theirs) and TIMESTAMP.fullmatch(ours) and _are_close(theirs, ours):
                return ours
            if (
                self.generated_values
                and self.generated_values.fullmatch(theirs)
                and self.generated_values.fullmatch(ours)
                and self._is_consistent(theirs, ours)
            ):
                return ours
        return theirs

    def _is_consistent(self, theirs: str, ours: str) -> bool:
        """Return whether the two values have corresponded to each other so far."""
        return (
            self._ours_by_theirs.setdefault(theirs, ours) == ours
            and self._theirs_by_ours.setdefault(ours, theirs) == theirs
        )


def _are_close(theirs: str, ours: str) -> bool:
    return abs(dt.datetime.fromisoformat(theirs) - dt.datetime.fromisoformat(ours)) < TIMESTAMP_TOLERANCE


def build_comparable(response: GraphQLResponse) -> ComparableResult:
    errors = [orjson.dumps(error, option=orjson.OPT_SORT_KEYS).decode() for error in response.errors]
    return ComparableResult(orjson.dumps(response.data).decode(), sorted(errors), [])


def are_equivalent(
    ours: GraphQLResponse, theirs: GraphQLResponse, normalizer: ResponseNormalizer | None = None
) -> bool:
    """Return whether two responses are equal, except for expected differences."""
    normalized = replace(theirs, data=(normalizer or ResponseNormalizer()).normalize(theirs.data, ours.data))
    return ours.is_executed == theirs.is_executed and build_comparable(ours).is_equivalent_to(
        build_comparable(normalized)
    )
