"""Fields that are got for many parents at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

METADATA = "loaded"
"""Where a Strawberry field keeps that it is `Loaded`."""


class Batch(Protocol):
    """What is loaded for many parents in one go, in their order; a failure stands as an exception.

    `reads` are the attributes of a parent that it depends on; a parent that has the attribute `carried` has it loaded there.
    """

    reads: frozenset[str]
    carried: str | None

    async def load(self, parents: Sequence[Any], context: Any) -> Sequence[Any]: ...

    def at_hand(self, parents: Sequence[Any], context: Any) -> Sequence[Any] | None:
        """What would be loaded, where all of it is there already and nothing of it has failed."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """How a field is got. Fields of one batch beside each other share what it loads; `then` makes each one's value of it.

    Whoever resolves a field above it finds the batch in `info.asked`, and may get what it loads along with the parents.
    `reads` are the attributes that `then` reads of what is loaded, `None` where it may be any; what is `handed_on` is a value
    itself, of which the document's fields read theirs.
    """

    batch: Batch
    then: Callable[[Any], Any]
    reads: frozenset[str] | None = None
    handed_on: bool = False
