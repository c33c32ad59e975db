"""What a document asks of objects, for whoever gets them: nothing else has to be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from graph.engine.batches import Batch
from graph.engine.shapes import Leaf, Listing, Object, Shape

if TYPE_CHECKING:
    from graph.engine.selections import Field

READS = "reads"
"""Where a Strawberry field keeps which attributes its resolver reads; where it does not say, that may be any."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Of objects of one type: attributes, `None` where it may be any of them, and what is asked of what is loaded for them."""

    attributes: frozenset[str] | None = frozenset()
    loaded: Mapping[Batch, "Asked"] = field(default_factory=dict)

    def __or__(self, other: "Asked") -> "Asked":
        anything = self.attributes is None or other.attributes is None
        batches = dict.fromkeys([*self.loaded, *other.loaded])
        return Asked(
            None if anything else frozenset({*(self.attributes or ()), *(other.attributes or ())}),
            {it: self.loaded.get(it, NOTHING) | other.loaded.get(it, NOTHING) for it in batches},
        )


NOTHING = Asked()
ANYTHING = Asked(None)


def asked_of(shape: Shape) -> Asked:
    """Of the objects that a shape completes."""
    while isinstance(shape, Listing):
        shape = shape.item
    if isinstance(shape, Object):
        return reduce(or_, (field.source.asks(field) for field in shape.selection.fields), NOTHING)
    return NOTHING if isinstance(shape, Leaf) else ANYTHING


def asked_below(field: "Field") -> dict[str, Asked] | None:
    """By the types of the objects that a field leads to without waiting. `None` where some of them may be of any type."""
    found: dict[str, Asked] = {}
    return found if _look(field.shape, found) else None


def _look(shape: Shape, found: dict[str, Asked]) -> bool:
    while isinstance(shape, Listing):
        shape = shape.item
    if isinstance(shape, Object):
        name = shape.type.name
        found[name] = found.get(name, NOTHING) | asked_of(shape)
        return all(_look(field.shape, found) for field in shape.selection.fields if not field.source.deferred)
    return isinstance(shape, Leaf)
