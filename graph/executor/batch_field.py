"""Fields that are got for many parents at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

BATCH_FIELD_KEY = "batch_field"
"""Where a Strawberry field keeps that it is `Loaded`."""


class BatchLoaderProtocol(Protocol):
    """What is loaded for many parents in one go, in their order; a failure stands as an exception.

    `reads` are the attributes of a parent that it depends on; a parent that has the attribute `carried` has it loaded there.
    """

    requires: frozenset[str]
    preloaded: str | None

    async def load(self, parents: Sequence[Any], context: Any) -> Sequence[Any]: ...

    def get_cached(self, parents: Sequence[Any], context: Any) -> Sequence[Any] | None:
        """What would be loaded, where all of it is there already and nothing of it has failed."""


@dataclass(frozen=True, slots=True)
class BatchField:
    """How a field is got. Fields of one batch beside each other share what it loads; `then` makes each one's value of it.

    Whoever resolves a field above it finds the batch in `info.lookahead`, and may get what it loads along with the parents.
    `reads` are the attributes that `then` reads of what is loaded, `None` where it may be any; what is `handed_on` is a value
    itself, of which the document's fields read theirs.
    """

    loader: BatchLoaderProtocol
    transform: Callable[[Any], Any]
    requires: frozenset[str] | None = None
    is_passthrough: bool = False
