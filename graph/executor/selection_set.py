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

from graph.executor.codegen import Bailout, FastPath, compile_selection_set, no_fast_path
from graph.executor.completion import Completer, Jobs, build_completer
from graph.executor.execution_state import ExecutionState
from graph.executor.lookahead import Lookahead, compute_lookahead_by_type
from graph.executor.null_propagation import FieldPositions, ResponsePositions
from graph.executor.resolution import BatchResolver, FunctionResolver, Resolver, build_resolver

if TYPE_CHECKING:
    from graph.executor.plan import Plan

Values = Sequence[Any]
ResultMap = dict[str, Any]
MAX_FAST_PATHS = 8
"""Functions for one selection, one for each set of what is at hand."""


class Field:
    """A field of a selection; fields of one name beside each other have been merged."""

    def __init__(
        self,
        response_name: str,
        index: int,
        details: FieldDetailsList,
        parent_type: GraphQLObjectType,
        definition: GraphQLField,
        parent: "Field | None",
        builder: "SelectionSetBuilder",
    ) -> None:
        self.response_name, self.index, self.details = response_name, index, details
        self.parent_type, self.definition = parent_type, definition
        self.nodes: list[FieldNode] = [detail.node for detail in details]
        self.name = self.nodes[0].name.value
        self.path: Path = Path(parent.path if parent else None, response_name, parent_type.name)
        self.is_nullable = not is_non_null_type(definition.type)
        self.resolver: Resolver = build_resolver(
            builder.strawberry_schema, definition, self.nodes[0], hide_suggestions=builder.hide_suggestions
        )
        self.completer: Completer = build_completer(self, definition.type, builder)

    @property
    def preloaded(self) -> str | None:
        """The attribute in which a parent may have what is loaded for it."""
        return self.resolver.preloaded if isinstance(self.resolver, BatchResolver) else None

    @property
    def is_inlinable(self) -> bool:
        """Whether it can be written out as plain Python; one that has to be loaded, if parents carry what is loaded for it."""
        return self.completer.is_inlinable and (not self.resolver.is_async or self.preloaded is not None)

    @cached_property
    def lookahead(self) -> Mapping[str, Lookahead] | None:
        """What is asked of the objects that this field leads to, by their types."""
        return compute_lookahead_by_type(self)

    def complete_into(
        self,
        result_maps: list[ResultMap],
        values: Values,
        positions: ResponsePositions,
        state: ExecutionState,
        jobs: Jobs,
    ) -> None:
        """Completes the field's values, and puts each into its row."""
        field_positions = FieldPositions(positions, self.response_name, self.index, self.is_nullable)
        response_name = self.response_name
        for result_map, value in zip(
            result_maps, self.completer.complete(values, field_positions, state, jobs), strict=True
        ):
            result_map[response_name] = value


class AsyncFieldGroup:
    """Deferred fields that are got together."""

    def __init__(self, fields: list[Field]) -> None:
        self.fields = fields
        self.name = ", ".join(f"{field.parent_type.name}.{field.name}" for field in fields)
        resolver = fields[0].resolver
        self._batch_resolver = resolver if isinstance(resolver, BatchResolver) else None

    def get_cached(self, parents: Values, state: ExecutionState) -> Values | None:
        """What is loaded for the fields, where it is there already."""
        if self._batch_resolver is None:
            return None
        if self._batch_resolver.preloaded:
            with contextlib.suppress(AttributeError):
                return list(map(attrgetter(self._batch_resolver.preloaded), parents))
        return self._batch_resolver.loader.get_cached(parents, state.context)

    def complete_into(
        self,
        fields: list[Field],
        loaded_values: Values,
        result_maps: list[ResultMap],
        positions: ResponsePositions,
        state: ExecutionState,
        jobs: Jobs,
    ) -> None:
        for field in fields:
            assert isinstance(field.resolver, BatchResolver)
            field.complete_into(result_maps, field.resolver.transform_all(loaded_values), positions, state, jobs)

    async def resolve_and_complete(
        self, parents: Values, result_maps: list[ResultMap], positions: ResponsePositions, state: ExecutionState
    ) -> None:
        jobs: Jobs = []
        if self._batch_resolver:
            loaded_values = await self._batch_resolver.load(parents, state)
            state.errors.next_tick()
            self.complete_into(self.fields, loaded_values, result_maps, positions, state, jobs)
        else:
            [field] = self.fields
            assert isinstance(field.resolver, FunctionResolver)
            values = await field.resolver.resolve_async(field, parents, state)
            state.errors.next_tick()
            field.complete_into(result_maps, values, positions, state, jobs)
        await gather_jobs(jobs)


CachedValues = dict[AsyncFieldGroup, Values]
"""What groups have at hand."""


class SelectionSet:
    """Fields that are asked of objects of one type.

    Where something fails, resolvers that do not wait may be called again, to find out what it was; but for those that are to be
    called `once`.
    """

    def __init__(self, fields: list[Field], *, resolve_once: bool = False) -> None:
        self.fields = fields
        self.is_inlinable = all(field.is_inlinable for field in fields)
        self._inlinable_fields = [field for field in fields if field.is_inlinable and not field.resolver.is_async]
        self._other_sync_fields = [field for field in fields if not field.is_inlinable and not field.resolver.is_async]
        self._async_groups = _group_by_loader([field for field in fields if field.resolver.is_async])
        self._preloadable_groups = [
            group for group in self._async_groups if all(field.is_inlinable for field in group.fields)
        ]
        self._preloaded_attributes = [
            field.preloaded or "" for group in self._preloadable_groups for field in group.fields
        ]
        self._other_async_groups = [group for group in self._async_groups if group not in self._preloadable_groups]
        self._resolve_once = resolve_once
        self._has_run = False
        self._fast_paths: dict[Any, FastPath] = {}

    def complete(
        self, parents: Values, positions: ResponsePositions, state: ExecutionState, jobs: Jobs
    ) -> list[ResultMap]:
        """A row for each parent. What has to be waited for joins the jobs, and is put into the rows later."""
        if not parents:
            return []
        can_use_fast_path = self._has_run and not self._resolve_once
        self._has_run = True  # writing and compiling takes longer than answering once
        is_preloaded = can_use_fast_path and self._is_preloaded(parents[0])
        cached = self._collect_cached(self._other_async_groups if is_preloaded else self._async_groups, parents, state)
        result_maps = (
            self._run_fast_path(parents, cached, state, is_preloaded=is_preloaded) if can_use_fast_path else None
        )
        if result_maps is not None and self.is_inlinable and is_preloaded:
            return result_maps
        remaining_fields = {
            group: [field for field in group.fields if not field.completer.is_inlinable] for group in cached
        }
        if result_maps is None:
            if is_preloaded:
                is_preloaded, cached = False, self._collect_cached(self._async_groups, parents, state)
            result_maps = self._run_slow_path(parents, positions, state, jobs)
            remaining_fields = {group: group.fields for group in cached}
        for group, fields in remaining_fields.items():
            group.complete_into(fields, cached[group], result_maps, positions, state, jobs)
        for field in self._other_sync_fields:
            field.complete_into(result_maps, field.resolver.resolve_sync(field, parents, state), positions, state, jobs)
        for group in self._other_async_groups if is_preloaded else self._async_groups:
            if group not in cached:
                job, tracer = group.resolve_and_complete(parents, result_maps, positions, state), state.plan.tracer
                jobs.append(job if tracer is None else tracer(group.name, job))
        return result_maps

    def _is_preloaded(self, parent: Any) -> bool:
        """Whether what is loaded for fields that could be written out can be read off the parent. Then it can be of all, or swiftness fails."""
        return bool(self._preloaded_attributes) and all(hasattr(parent, name) for name in self._preloaded_attributes)

    def _collect_cached(
        self, groups: Sequence[AsyncFieldGroup], parents: Values, state: ExecutionState
    ) -> CachedValues:
        cached = ((group, group.get_cached(parents, state)) for group in groups)
        return {group: loaded for group, loaded in cached if loaded is not None}

    def _run_fast_path(
        self, parents: Values, cached: CachedValues, state: ExecutionState, *, is_preloaded: bool
    ) -> list[ResultMap] | None:
        """`None` where something is not as it should be: what and where, the careful way finds out."""
        if not (is_preloaded or cached or self._inlinable_fields):
            return None
        try:
            return self._get_fast_path(tuple(cached), is_preloaded=is_preloaded)(parents, state, *cached.values())
        except Exception:
            return None

    def _get_fast_path(self, groups: tuple[AsyncFieldGroup, ...], *, is_preloaded: bool) -> FastPath:
        """Raises where there is none."""
        key = groups, is_preloaded
        fast_path = self._fast_paths.get(key)
        if fast_path is None:
            if len(self._fast_paths) >= MAX_FAST_PATHS:
                raise Bailout
            self._fast_paths[key] = (
                no_fast_path  # for good, if Python refuses to compile so many blocks within one another
            )
            preloaded_fields = (
                [field for group in self._preloadable_groups for field in group.fields] if is_preloaded else []
            )
            fast_path = self._fast_paths[key] = compile_selection_set(
                self, [*self._inlinable_fields, *preloaded_fields], groups
            )
        return fast_path

    def _run_slow_path(
        self, parents: Values, positions: ResponsePositions, state: ExecutionState, jobs: Jobs
    ) -> list[ResultMap]:
        result_maps: list[ResultMap] = [dict.fromkeys(field.response_name for field in self.fields) for _ in parents]
        for field in self._inlinable_fields:
            field.complete_into(result_maps, field.resolver.resolve_sync(field, parents, state), positions, state, jobs)
        return result_maps


def _group_by_loader(fields: list[Field]) -> list[AsyncFieldGroup]:
    """Those that share what is loaded, together."""
    groups: dict[Any, list[Field]] = {}
    for field in fields:
        resolver = field.resolver
        groups.setdefault(resolver.loader if isinstance(resolver, BatchResolver) else field, []).append(field)
    return list(map(AsyncFieldGroup, groups.values()))


async def gather_jobs(jobs: Sequence[Coroutine[Any, Any, None]]) -> None:
    if len(jobs) == 1:
        await jobs[0]
    elif jobs:
        await asyncio.gather(*jobs)


class SelectionSetBuilder:
    """Collects fields, for one answer to the document's conditions, as graphql-core does."""

    def __init__(self, plan: "Plan", variables: VariableValues) -> None:
        self.strawberry_schema = plan.schema
        self.graphql_schema = plan.graphql_schema
        self.hide_suggestions = plan.hide_suggestions
        self._operation = plan.operation
        self._fragments = {name: FragmentDetails(fragment) for name, fragment in plan.fragments.items()}
        self._variables = variables

    def build_root(self, type_: GraphQLObjectType) -> SelectionSet:
        collected = collect_fields(self.graphql_schema, self._fragments, self._variables, type_, self._operation)
        return self._build(collected.grouped_field_set, type_, None)

    def build_subselection(self, field: Field, type_: GraphQLObjectType) -> SelectionSet:
        collected = collect_subfields(
            self.graphql_schema, self._fragments, self._variables, self._operation, type_, field.details
        )
        return self._build(collected.grouped_field_set, type_, field)

    def _build(self, grouped: GroupedFieldSet, type_: GraphQLObjectType, parent: Field | None) -> SelectionSet:
        definitions = [
            (key, details, self.graphql_schema.get_field(type_, details[0].node.name.value))
            for key, details in grouped.items()
        ]
        return SelectionSet(
            [
                Field(key, order, details, type_, definition, parent, self)
                for order, (key, details, definition) in enumerate(definitions)
                if definition is not None
            ]
        )
