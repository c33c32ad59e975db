"""What is told of a document by two executors, and whether it comes to the same."""

from dataclasses import dataclass
from typing import Any

import orjson

ResponsePath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ComparableResult:
    """`errors` in no order: what waits at the same time fails in any."""

    data: str
    errors: list[str]
    log: list[str]

    def is_equivalent_to(self, other: "ComparableResult") -> bool:
        """Where several things fail below one position, which becomes null as a whole, any of them may be told for it."""
        ours, theirs = self._group_errors_by_nulled_path(), other._group_errors_by_nulled_path()
        return (self.data, self.log, ours.keys()) == (other.data, other.log, theirs.keys()) and all(
            _are_equivalent(errors, theirs[path], path) for path, errors in ours.items()
        )

    def _group_errors_by_nulled_path(self) -> dict[ResponsePath, list[dict[str, Any]]]:
        """Errors by the positions that they have made null."""
        data, errors_by_path = orjson.loads(self.data), dict[ResponsePath, list[dict[str, Any]]]()
        for error in map(orjson.loads, self.errors):
            errors_by_path.setdefault(_find_nulled_path(data, error.get("path", [])), []).append(error)
        return errors_by_path


def _find_nulled_path(data: Any, path: list[str | int]) -> ResponsePath:
    for length, key in enumerate(path):
        if data is None:
            return tuple(path[:length])
        data = data[key]
    return tuple(path)


def _are_equivalent(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], nulled_path: ResponsePath) -> bool:
    if all(tuple(error.get("path", [])) == nulled_path for error in (*ours, *theirs)):
        return ours == theirs
    their_errors = {tuple(error.get("path", [])): error for error in theirs}
    return all(error == their_errors.get(tuple(error.get("path", [])), error) for error in ours)
