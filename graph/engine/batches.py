"""Fields that are got for many parents at once."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

METADATA = "batch"
"""Where a Strawberry field keeps its `Batch`."""


@dataclass(frozen=True, slots=True)
class Batch:
    """How a field's values come for all parents in one go, in the order of the parents; a failure stands as an exception.

    Fields with the same `load` beside each other share what it loads. `then` makes the value out of what was loaded for a parent.
    """

    load: Callable[[Sequence[Any], Any], Awaitable[Sequence[Any]]]
    """Called with the parents and the context of the request."""
    then: Callable[[Any], Any]
