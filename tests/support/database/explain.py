"""Query plans as `EXPLAIN (FORMAT JSON)` returns them."""

from collections.abc import Iterator
from typing import Any


def iterate_plan_nodes(plan: Any) -> Iterator[dict[str, Any]]:
    """Yield every node of the plan, parents first."""
    if isinstance(plan, list):
        for item in plan:
            yield from iterate_plan_nodes(item)
    elif isinstance(plan, dict):
        if "Node Type" in plan:
            yield plan
        for value in plan.values():
            yield from iterate_plan_nodes(value)
