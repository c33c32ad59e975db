"""What is asked of objects: fields that know how to be got and completed, as many objects at once as there are."""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
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

from graph.engine.failures import FieldPlaces, Places
from graph.engine.run import Run
from graph.engine.shapes import Jobs, Shape, shape_of
from graph.engine.sources import Batched, Source, source_of
from graph.engine.swift import Swift, written

if TYPE_CHECKING:
    from graph.engine.plan import Plan

Values = Sequence[Any]


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
    def inline(self) -> bool:
        return not self.source.deferred and self.shape.inline

    def fill(self, rows: list[dict[str, Any]], values: Values, places: Places, run: Run, jobs: Jobs) -> None:
        """Completes the field's values, and puts each into its row."""
        own = FieldPlaces(places, self.key, self.order, self.nullable)
        key = self.key
        for row, value in zip(rows, self.shape.complete(values, own, run, jobs), strict=True):
            row[key] = value


class Selection:
    """Fields that are asked of objects of one type.

    Where something fails, resolvers that do not wait may be called again, to find out what it was; but for those that are to be
    called `once`.
    """

    def __init__(self, fields: list[Field], *, once: bool = False) -> None:
        self.fields = fields
        self._once = once
        self.swift_fields = [field for field in fields if field.inline]
        self._nested = [field for field in fields if not field.inline and not field.source.deferred]
        self._deferred = _grouped([field for field in fields if field.source.deferred])
        self.inline = len(self.swift_fields) == len(fields)
        self._seen = False
        self._swift: Swift | None = None

    def complete(self, parents: Values, places: Places, run: Run, jobs: Jobs) -> list[dict[str, Any]]:
        """A row for each parent. What has to be waited for joins the jobs, and is put into the rows later."""
        if not parents:
            return []
        rows = self._rows(parents, places, run, jobs)
        for field in self._nested:
            field.fill(rows, field.source.now(field, parents, run), places, run, jobs)
        for fields in self._deferred:
            jobs.append(_fill_later(fields, parents, rows, places, run))
        return rows

    def _rows(self, parents: Values, places: Places, run: Run, jobs: Jobs) -> list[dict[str, Any]]:
        if (
            self._swift is None and self._seen and not self._once
        ):  # writing and compiling takes longer than answering once
            self._swift = written(self)
        self._seen = True
        if self._swift is not None:
            with contextlib.suppress(Exception):  # something is wrong: what and where, the careful way finds out
                return self._swift(parents, run)
        rows: list[dict[str, Any]] = [dict.fromkeys(field.key for field in self.fields) for _ in parents]
        for field in self.swift_fields:
            field.fill(rows, field.source.now(field, parents, run), places, run, jobs)
        return rows


def _grouped(fields: list[Field]) -> list[list[Field]]:
    """Those that share what is loaded, together."""
    groups: dict[Any, list[Field]] = {}
    for field in fields:
        source = field.source
        groups.setdefault(source.batch.load if isinstance(source, Batched) else field, []).append(field)
    return list(groups.values())


async def _fill_later(
    fields: list[Field], parents: Values, rows: list[dict[str, Any]], places: Places, run: Run
) -> None:
    jobs: Jobs = []
    first = fields[0].source
    if isinstance(first, Batched):
        loaded = await first.loaded(parents, run)
        run.failures.a_moment_later()
        for field in fields:
            assert isinstance(field.source, Batched)
            field.fill(rows, field.source.made(loaded), places, run, jobs)
    else:
        [field] = fields
        values = await first.later(field, parents, run)
        run.failures.a_moment_later()
        field.fill(rows, values, places, run, jobs)
    await all_done(jobs)


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
