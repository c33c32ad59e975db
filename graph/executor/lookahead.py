"""What a document asks of objects, for whoever gets them: nothing else has to be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from graph.executor.batch_field import BatchLoaderProtocol
from graph.executor.completion import Completer, LeafCompleter, ListCompleter, ObjectCompleter

if TYPE_CHECKING:
    from graph.executor.selection_set import Field

REQUIRES_KEY = "requires"
"""Where a Strawberry field keeps which attributes its resolver reads; where it does not say, that may be any."""


@dataclass(frozen=True, slots=True, eq=False)
class Lookahead:
    """Of objects of one type: attributes, `None` where it may be any of them, and what is asked of what is loaded for them."""

    attributes: frozenset[str] | None = frozenset()
    by_loader: Mapping[BatchLoaderProtocol, "Lookahead"] = field(default_factory=dict)

    def __or__(self, other: "Lookahead") -> "Lookahead":
        reads_all = self.attributes is None or other.attributes is None
        loaders = dict.fromkeys([*self.by_loader, *other.by_loader])
        return Lookahead(
            None if reads_all else frozenset({*(self.attributes or ()), *(other.attributes or ())}),
            {it: self.by_loader.get(it, NO_ATTRIBUTES) | other.by_loader.get(it, NO_ATTRIBUTES) for it in loaders},
        )


NO_ATTRIBUTES = Lookahead()
ALL_ATTRIBUTES = Lookahead(None)


def compute_lookahead(completer: Completer) -> Lookahead:
    """Of the objects that a shape completes."""
    while isinstance(completer, ListCompleter):
        completer = completer.item_completer
    if isinstance(completer, ObjectCompleter):
        return reduce(
            or_, (field.resolver.get_lookahead(field) for field in completer.selection_set.fields), NO_ATTRIBUTES
        )
    return NO_ATTRIBUTES if isinstance(completer, LeafCompleter) else ALL_ATTRIBUTES


def compute_lookahead_by_type(field: "Field") -> dict[str, Lookahead] | None:
    """By the types of the objects that a field leads to without waiting. `None` where some of them may be of any type."""
    by_type: dict[str, Lookahead] = {}
    return by_type if _collect_by_type(field.completer, by_type) else None


def _collect_by_type(completer: Completer, by_type: dict[str, Lookahead]) -> bool:
    while isinstance(completer, ListCompleter):
        completer = completer.item_completer
    if isinstance(completer, ObjectCompleter):
        type_name = completer.type.name
        by_type[type_name] = by_type.get(type_name, NO_ATTRIBUTES) | compute_lookahead(completer)
        return all(
            _collect_by_type(field.completer, by_type)
            for field in completer.selection_set.fields
            if not field.resolver.is_async
        )
    return isinstance(completer, LeafCompleter)
