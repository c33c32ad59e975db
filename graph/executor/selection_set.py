"""Executes selection sets: each is compiled once, and executed for many parent objects at once."""

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
from graph.executor.completion import Completer, Jobs, Values, build_completer
from graph.executor.execution_state import ExecutionState
from graph.executor.lookahead import Lookahead, compute_lookahead_by_type
from graph.executor.null_propagation import FieldPositions, ResponsePositions
from graph.executor.resolution import BatchResolver, FunctionResolver, Resolver, build_resolver

if TYPE_CHECKING:
    from graph.executor.plan import Plan

ResultMap = dict[str, Any]
"""A completed object: completed values by response names."""
MAX_FAST_PATHS = 8
"""Fast paths per selection set: one for each combination of cached groups."""


class Field:
    """A compiled field of a selection set. Fields with the same response name are merged into one."""

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
        """The attribute of a parent that may hold the value of its batch loader."""
        return self.resolver.preloaded if isinstance(self.resolver, BatchResolver) else None

    @property
    def is_inlinable(self) -> bool:
        """Whether code can be generated for it. For a batch field this requires that parents can hold its loaded value."""
        return self.completer.is_inlinable and (not self.resolver.is_async or self.preloaded is not None)

    @cached_property
    def lookahead(self) -> Mapping[str, Lookahead] | None:
        """What is needed of the objects below this field, by their types; see `compute_lookahead_by_type`."""
        return compute_lookahead_by_type(self)

    def complete_into(
        self,
        result_maps: list[ResultMap],
        values: Values,
        positions: ResponsePositions,
        state: ExecutionState,
        jobs: Jobs,
    ) -> None:
        """Complete the field's values, and store each in its result map."""
        field_positions = FieldPositions(positions, self.response_name, self.index, self.is_nullable)
        response_name = self.response_name
        for result_map, value in zip(
            result_maps, self.completer.complete(values, field_positions, state, jobs), strict=True
        ):
            result_map[response_name] = value


class AsyncFieldGroup:
    """Async fields that are resolved by one job: one field, or batch fields with the same loader."""

    def __init__(self, fields: list[Field]) -> None:
        self.fields = fields
        self.name = ", ".join(f"{field.parent_type.name}.{field.name}" for field in fields)
        resolver = fields[0].resolver
        self._batch_resolver = resolver if isinstance(resolver, BatchResolver) else None

    def get_cached(self, parents: Values, state: ExecutionState) -> Values | None:
        """Return the loaded values if the parents hold them or the loader has cached them, else `None`."""
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
        """Complete these batch fields from the loaded values, and store the results in the result maps."""
        for field in fields:
            assert isinstance(field.resolver, BatchResolver)
            field.complete_into(result_maps, field.resolver.transform_all(loaded_values), positions, state, jobs)

    async def resolve_and_complete(
        self, parents: Values, result_maps: list[ResultMap], positions: ResponsePositions, state: ExecutionState
    ) -> None:
        """Resolve the fields, complete them into the result maps, and await the jobs below them."""
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
"""Loaded values of groups that need no job."""


class SelectionSet:
    """The merged fields that are selected from objects of one type.

    If a field fails on the fast path, the slow path calls the sync resolvers again. `resolve_once` disables the fast path, so
    that each resolver is called once.
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
        """Return a result map for each parent. Async fields are added to `jobs`, which store their values in the maps later."""
        if not parents:
            return []
        can_use_fast_path = self._has_run and not self._resolve_once
        self._has_run = True  # compiling a fast path takes longer than executing the slow path once
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
        """Return whether the parent holds all values that can be preloaded. If another parent lacks one, the fast path fails."""
        return bool(self._preloaded_attributes) and all(hasattr(parent, name) for name in self._preloaded_attributes)

    def _collect_cached(
        self, groups: Sequence[AsyncFieldGroup], parents: Values, state: ExecutionState
    ) -> CachedValues:
        cached = ((group, group.get_cached(parents, state)) for group in groups)
        return {group: loaded for group, loaded in cached if loaded is not None}

    def _run_fast_path(
        self, parents: Values, cached: CachedValues, state: ExecutionState, *, is_preloaded: bool
    ) -> list[ResultMap] | None:
        """Return the result maps, or `None` if a value is unexpected; the slow path finds the field errors."""
        if not (is_preloaded or cached or self._inlinable_fields):
            return None
        try:
            return self._get_fast_path(tuple(cached), is_preloaded=is_preloaded)(parents, state, *cached.values())
        except Exception:
            return None

    def _get_fast_path(self, groups: tuple[AsyncFieldGroup, ...], *, is_preloaded: bool) -> FastPath:
        """Return the fast path for these cached groups, compiling it if necessary. Raises if there is none."""
        key = groups, is_preloaded
        fast_path = self._fast_paths.get(key)
        if fast_path is None:
            if len(self._fast_paths) >= MAX_FAST_PATHS:
                raise Bailout
            self._fast_paths[key] = no_fast_path  # stays if Python cannot compile that many nested blocks
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
    """Group batch fields by loader; each other field is a group of its own."""
    groups: dict[Any, list[Field]] = {}
    for field in fields:
        resolver = field.resolver
        groups.setdefault(resolver.loader if isinstance(resolver, BatchResolver) else field, []).append(field)
    return list(map(AsyncFieldGroup, groups.values()))


async def gather_jobs(jobs: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Await the jobs concurrently."""
    if len(jobs) == 1:
        await jobs[0]
    elif jobs:
        await asyncio.gather(*jobs)


class SelectionSetBuilder:
    """Compiles selection sets for one combination of `@skip` and `@include` conditions. graphql-core collects the fields."""

    def __init__(self, plan: "Plan", variables: VariableValues) -> None:
        self.strawberry_schema = plan.schema
        self.graphql_schema = plan.graphql_schema
        self.hide_suggestions = plan.hide_suggestions
        self._operation = plan.operation
        self._fragments = {name: FragmentDetails(fragment) for name, fragment in plan.fragments.items()}
        self._variables = variables

    def build_root(self, type_: GraphQLObjectType) -> SelectionSet:
        """Compile the operation's root selection set."""
        collected = collect_fields(self.graphql_schema, self._fragments, self._variables, type_, self._operation)
        return self._build(collected.grouped_field_set, type_, None)

    def build_subselection(self, field: Field, type_: GraphQLObjectType) -> SelectionSet:
        """Compile the selection set of a field for one object type."""
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
