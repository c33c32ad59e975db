"""What is asked of objects: fields that know how to be got and completed, as many objects at once as there are."""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLObjectType,
    is_non_null_type,
)
from graphql.execution.collect_fields import (
    FieldDetailsList,
    FragmentDetails,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues
from graphql.pyutils import Path

from graph.engine.asked import Asked, asked_below
from graph.engine.failures import FieldPlaces, Places
from graph.engine.run import Run
from graph.engine.shapes import Jobs, Shape, shape_of
from graph.engine.sources import Batched, Call, Source, source_of
from graph.engine.swift import Deviation, Swift, given_up, written

if TYPE_CHECKING:
    from graph.engine.plan import Plan

Values = Sequence[Any]
Row = dict[str, Any]
MOST_SWIFT = 8
"""Functions for one selection, one for each set of what is at hand."""


class Field:
    """A field of a selection; fields of one name beside each other have been merged."""

    def __init__(
        self,
        key: str,
        order: int,
        details: FieldDetailsList,
        parent_type: GraphQLObjectType,
        definition: GraphQLField,
        holder: "Field | None",
        selections: "Selections",
    ) -> None:
        self.key, self.order, self.details = key, order, details
        self.parent_type, self.definition = parent_type, definition
        self.nodes: list[FieldNode] = [detail.node for detail in details]
        self.name = self.nodes[0].name.value
        self.path: Path = Path(holder.path if holder else None, key, parent_type.name)
        self.nullable = not is_non_null_type(definition.type)
        self.source: Source = source_of(
            selections.strawberry, definition, self.nodes[0], hide_suggestions=selections.hide_suggestions
        )
        self.shape: Shape = shape_of(self, definition.type, selections)

    @property
    def carried(self) -> str | None:
        """The attribute in which a parent may have what is loaded for it."""
        return self.source.carried if isinstance(self.source, Batched) else None

    @property
    def inline(self) -> bool:
        """Whether it can be written out as plain Python; one that has to be loaded, if parents carry what is loaded for it."""
        return self.shape.inline and (not self.source.deferred or self.carried is not None)

    @cached_property
    def asked(self) -> Mapping[str, Asked] | None:
        """What is asked of the objects that this field leads to, by their types."""
        return asked_below(self)

    def fill(self, rows: list[Row], values: Values, places: Places, run: Run, jobs: Jobs) -> None:
        """Completes the field's values, and puts each into its row."""
        own = FieldPlaces(places, self.key, self.order, self.nullable)
        key = self.key
        for row, value in zip(rows, self.shape.complete(values, own, run, jobs), strict=True):
            row[key] = value


class Group:
    """Deferred fields that are got together."""

    def __init__(self, fields: list[Field]) -> None:
        self.fields = fields
        self.name = ", ".join(f"{field.parent_type.name}.{field.name}" for field in fields)
        source = fields[0].source
        self._source = source if isinstance(source, Batched) else None

    def at_hand(self, parents: Values, run: Run) -> Values | None:
        """What is loaded for the fields, where it is there already."""
        if self._source is None:
            return None
        if self._source.carried:
            with contextlib.suppress(AttributeError):
                return list(map(attrgetter(self._source.carried), parents))
        return self._source.batch.at_hand(parents, run.context)

    def fill(self, fields: list[Field], loaded: Values, rows: list[Row], places: Places, run: Run, jobs: Jobs) -> None:
        for field in fields:
            assert isinstance(field.source, Batched)
            field.fill(rows, field.source.made(loaded), places, run, jobs)

    async def fill_later(self, parents: Values, rows: list[Row], places: Places, run: Run) -> None:
        jobs: Jobs = []
        if self._source:
            loaded = await self._source.loaded(parents, run)
            run.failures.a_moment_later()
            self.fill(self.fields, loaded, rows, places, run, jobs)
        else:
            [field] = self.fields
            assert isinstance(field.source, Call)
            values = await field.source.later(field, parents, run)
            run.failures.a_moment_later()
            field.fill(rows, values, places, run, jobs)
        await all_done(jobs)


Hand = dict[Group, Values]
"""What groups have at hand."""


class Selection:
    """Fields that are asked of objects of one type.

    Where something fails, resolvers that do not wait may be called again, to find out what it was; but for those that are to be
    called `once`.
    """

    def __init__(self, fields: list[Field], *, once: bool = False) -> None:
        self.fields = fields
        self.inline = all(field.inline for field in fields)
        self._plain = [field for field in fields if field.inline and not field.source.deferred]
        self._nested = [field for field in fields if not field.inline and not field.source.deferred]
        self._groups = _grouped([field for field in fields if field.source.deferred])
        self._readable = [group for group in self._groups if all(field.inline for field in group.fields)]
        self._attributes = [field.carried or "" for group in self._readable for field in group.fields]
        self._others = [group for group in self._groups if group not in self._readable]
        self._once = once
        self._seen = False
        self._swift: dict[Any, Swift] = {}

    def complete(self, parents: Values, places: Places, run: Run, jobs: Jobs) -> list[Row]:
        """A row for each parent. What has to be waited for joins the jobs, and is put into the rows later."""
        if not parents:
            return []
        is_swift = self._seen and not self._once
        self._seen = True  # writing and compiling takes longer than answering once
        carried = is_swift and self._are_carried(parents[0])
        hand = self._hand(self._others if carried else self._groups, parents, run)
        rows = self._swiftly(parents, hand, run, carried=carried) if is_swift else None
        if rows is not None and self.inline and carried:
            return rows
        left = {group: [field for field in group.fields if not field.shape.inline] for group in hand}
        if rows is None:
            if carried:
                carried, hand = False, self._hand(self._groups, parents, run)
            rows = self._carefully(parents, places, run, jobs)
            left = {group: group.fields for group in hand}
        for group, fields in left.items():
            group.fill(fields, hand[group], rows, places, run, jobs)
        for field in self._nested:
            field.fill(rows, field.source.now(field, parents, run), places, run, jobs)
        for group in self._others if carried else self._groups:
            if group not in hand:
                later, watch = group.fill_later(parents, rows, places, run), run.plan.watch
                jobs.append(later if watch is None else watch(group.name, later))
        return rows

    def _are_carried(self, parent: Any) -> bool:
        """Whether what is loaded for fields that could be written out can be read off the parent. Then it can be of all, or swiftness fails."""
        return bool(self._attributes) and all(hasattr(parent, name) for name in self._attributes)

    def _hand(self, groups: Sequence[Group], parents: Values, run: Run) -> Hand:
        found = ((group, group.at_hand(parents, run)) for group in groups)
        return {group: loaded for group, loaded in found if loaded is not None}

    def _swiftly(self, parents: Values, hand: Hand, run: Run, *, carried: bool) -> list[Row] | None:
        """`None` where something is not as it should be: what and where, the careful way finds out."""
        if not (carried or hand or self._plain):
            return None
        try:
            return self._swift_way(tuple(hand), carried=carried)(parents, run, *hand.values())
        except Exception:
            return None

    def _swift_way(self, groups: tuple[Group, ...], *, carried: bool) -> Swift:
        """Raises where there is none."""
        known = groups, carried
        swift = self._swift.get(known)
        if swift is None:
            if len(self._swift) >= MOST_SWIFT:
                raise Deviation
            self._swift[known] = given_up  # for good, if Python refuses to compile so many blocks within one another
            readable = [field for group in self._readable for field in group.fields] if carried else []
            swift = self._swift[known] = written(self, [*self._plain, *readable], groups)
        return swift

    def _carefully(self, parents: Values, places: Places, run: Run, jobs: Jobs) -> list[Row]:
        rows: list[Row] = [dict.fromkeys(field.key for field in self.fields) for _ in parents]
        for field in self._plain:
            field.fill(rows, field.source.now(field, parents, run), places, run, jobs)
        return rows


def _grouped(fields: list[Field]) -> list[Group]:
    """Those that share what is loaded, together."""
    groups: dict[Any, list[Field]] = {}
    for field in fields:
        source = field.source
        groups.setdefault(source.batch if isinstance(source, Batched) else field, []).append(field)
    return list(map(Group, groups.values()))


async def all_done(jobs: Sequence[Coroutine[Any, Any, None]]) -> None:
    if len(jobs) == 1:
        await jobs[0]
    elif jobs:
        await asyncio.gather(*jobs)


class Selections:
    """Collects fields, for one answer to the document's conditions, as graphql-core does."""

    def __init__(self, plan: "Plan", variables: VariableValues) -> None:
        self.strawberry = plan.schema
        self.schema = plan.graphql_schema
        self.hide_suggestions = plan.hide_suggestions
        self._operation = plan.operation
        self._fragments = {name: FragmentDetails(fragment) for name, fragment in plan.fragments.items()}
        self._variables = variables

    def root(self, type_: GraphQLObjectType) -> Selection:
        collected = collect_fields(self.schema, self._fragments, self._variables, type_, self._operation)
        return self._selection(collected.grouped_field_set, type_, None)

    def below(self, field: Field, type_: GraphQLObjectType) -> Selection:
        collected = collect_subfields(
            self.schema, self._fragments, self._variables, self._operation, type_, field.details
        )
        return self._selection(collected.grouped_field_set, type_, field)

    def _selection(self, grouped: GroupedFieldSet, type_: GraphQLObjectType, holder: Field | None) -> Selection:
        found = [
            (key, details, self.schema.get_field(type_, details[0].node.name.value)) for key, details in grouped.items()
        ]
        return Selection(
            [
                Field(key, order, details, type_, definition, holder, self)
                for order, (key, details, definition) in enumerate(found)
                if definition is not None
            ]
        )
