"""Computes which attributes and batch loaders a selection set needs, so that resolvers fetch nothing else."""

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
"""The key in a Strawberry field's metadata that holds the attributes its resolver reads; without it, it may read any."""


@dataclass(frozen=True, slots=True, eq=False)
class Lookahead:
    """What a selection set needs of objects of one type.

    `attributes` names the attributes that are read (`None`: any). `by_loader` maps each batch loader to what is needed of
    the objects that it loads.
    """

    attributes: frozenset[str] | None = frozenset()
    by_loader: Mapping[BatchLoaderProtocol, "Lookahead"] = field(default_factory=dict)

    def __or__(self, other: "Lookahead") -> "Lookahead":
        reads_all = self.attributes is None or other.attributes is None
        loaders = dict.fromkeys([*self.by_loader, *other.by_loader])
        return Lookahead(
            None if reads_all else frozenset({*(self.attributes or ()), *(other.attributes or ())}),
            {
                loader: self.by_loader.get(loader, NO_ATTRIBUTES) | other.by_loader.get(loader, NO_ATTRIBUTES)
                for loader in loaders
            },
        )


NO_ATTRIBUTES = Lookahead()
ALL_ATTRIBUTES = Lookahead(None)


def compute_lookahead(completer: Completer) -> Lookahead:
    """Compute what is needed of the objects that a completer completes."""
    while isinstance(completer, ListCompleter):
        completer = completer.item_completer
    if isinstance(completer, ObjectCompleter):
        return reduce(
            or_, (field.resolver.get_lookahead(field) for field in completer.selection_set.fields), NO_ATTRIBUTES
        )
    return NO_ATTRIBUTES if isinstance(completer, LeafCompleter) else ALL_ATTRIBUTES


def compute_lookahead_by_type(field: "Field") -> dict[str, Lookahead] | None:
    """Compute the lookahead of each object type below a field, down to the next async resolver.

    Returns `None` if an interface or a union is among these types.
    """
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
