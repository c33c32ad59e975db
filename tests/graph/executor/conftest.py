"""Fixture that records the fields executed on the slow path."""

from typing import Any

import pytest

from graph.executor.selection_set import SelectionSet


@pytest.fixture
def slow_fields(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the fields that have a fast path but were executed on the slow path, in the order of execution."""
    names: list[str] = []
    run_slow_path = SelectionSet._run_slow_path

    def run_and_record(selection_set: SelectionSet, *arguments: Any) -> Any:
        names.extend(f"{field.parent_type.name}.{field.name}" for field in selection_set._inlinable_fields)
        return run_slow_path(selection_set, *arguments)

    monkeypatch.setattr(SelectionSet, "_run_slow_path", run_and_record)
    return names
