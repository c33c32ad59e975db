"""What is told of a document by two executors, and whether it comes to the same."""

from dataclasses import dataclass
from typing import Any

import orjson

Position = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """`errors` in no order: what waits at the same time fails in any."""

    data: str
    errors: list[str]
    log: list[str]

    def is_as_good_as(self, other: "Told") -> bool:
        """Where several things fail below one position, which becomes null as a whole, any of them may be told for it."""
        ours, theirs = self._by_position(), other._by_position()
        return (self.data, self.log, ours.keys()) == (other.data, other.log, theirs.keys()) and all(
            _agree(told, theirs[position], position) for position, told in ours.items()
        )

    def _by_position(self) -> dict[Position, list[dict[str, Any]]]:
        """Errors by the positions that they have made null."""
        data, found = orjson.loads(self.data), dict[Position, list[dict[str, Any]]]()
        for error in map(orjson.loads, self.errors):
            found.setdefault(_nulled(data, error.get("path", [])), []).append(error)
        return found


def _nulled(data: Any, path: list[str | int]) -> Position:
    for length, key in enumerate(path):
        if data is None:
            return tuple(path[:length])
        data = data[key]
    return tuple(path)


def _agree(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], position: Position) -> bool:
    if all(tuple(error.get("path", [])) == position for error in (*ours, *theirs)):
        return ours == theirs
    known = {tuple(error.get("path", [])): error for error in theirs}
    return all(error == known.get(tuple(error.get("path", [])), error) for error in ours)
