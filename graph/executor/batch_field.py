"""Declares fields whose values are loaded for many parents at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

BATCH_FIELD_KEY = "batch_field"
"""The key in a Strawberry field's metadata that holds its `BatchField`."""


class BatchLoaderProtocol(Protocol):
    """Loads one value for each of many parents.

    `requires` names the attributes of a parent that the loader reads. A parent with the attribute `preloaded` has its value there.
    """

    requires: frozenset[str]
    preloaded: str | None

    async def load(self, parents: Sequence[Any], context: Any) -> Sequence[Any]:
        """Load the values in the order of the parents; an exception in the sequence is that parent's field error."""

    def get_cached(self, parents: Sequence[Any], context: Any) -> Sequence[Any] | None:
        """Return what `load` would return, or `None` unless all values are cached and none of them failed."""


@dataclass(frozen=True, slots=True)
class BatchField:
    """How a field's value is computed from a batch loader.

    Sibling fields with one loader share its values; `transform` computes each field's value from the loaded value.
    Resolvers above find the loader in `info.lookahead`, and may load its values together with the parents.
    `requires` names the attributes of a loaded value that `transform` reads (`None`: any). With `is_passthrough`, the loaded
    value is the field's value, and the selection set below reads its attributes.
    """

    loader: BatchLoaderProtocol
    transform: Callable[[Any], Any]
    requires: frozenset[str] | None = None
    is_passthrough: bool = False
