"""Answers of the shop, compared."""

import datetime as dt
import re
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from graph.execution import Answer
from tests.graph.engine.told import Told

INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+(?:Z|\+00:00)")
SOON = dt.timedelta(minutes=1)
OF_ITS_OWN = re.compile(r"[\w.=-]{14,}")
"""An ID, a cursor, a token, the number of an order."""


@dataclass(slots=True)
class Translation:
    """Of answers given at different times, and by shops that were one and have made up things of their `own` since."""

    own: re.Pattern[str] | None = None
    _ours: dict[str, str] = field(default_factory=dict)
    _theirs: dict[str, str] = field(default_factory=dict)

    def of(self, theirs: Any, ours: Any) -> Any:
        """Theirs, in our words."""
        if isinstance(theirs, dict) and isinstance(ours, dict):
            return {key: self.of(value, ours.get(key)) for key, value in theirs.items()}
        if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
            return [self.of(value, own) for value, own in zip(theirs, ours, strict=True)]
        if isinstance(theirs, str) and isinstance(ours, str) and theirs != ours:
            if INSTANT.fullmatch(theirs) and INSTANT.fullmatch(ours) and _are_near(theirs, ours):
                return ours
            if self.own and self.own.fullmatch(theirs) and self.own.fullmatch(ours) and self._same(theirs, ours):
                return ours
        return theirs

    def _same(self, theirs: str, ours: str) -> bool:
        """As before."""
        return self._ours.setdefault(theirs, ours) == ours and self._theirs.setdefault(ours, theirs) == theirs


def _are_near(one: str, another: str) -> bool:
    return abs(dt.datetime.fromisoformat(one) - dt.datetime.fromisoformat(another)) < SOON


def told(given: Answer) -> Told:
    errors = [orjson.dumps(error, option=orjson.OPT_SORT_KEYS).decode() for error in given.errors]
    return Told(orjson.dumps(given.data).decode(), sorted(errors), [])


def agree(ours: Answer, theirs: Answer, translation: Translation | None = None) -> bool:
    """Whether they come to the same."""
    translated = replace(theirs, data=(translation or Translation()).of(theirs.data, ours.data))
    return ours.executed == theirs.executed and told(ours).is_as_good_as(told(translated))
