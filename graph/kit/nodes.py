"""Declares `node` and `nodes`, which refetch objects by global ID, and how each type is found."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import strawberry

from graph.kit.declare import argument, query
from graph.kit.ids import from_global_id
from graph.kit.permissions import public
from graph.request_errors import BadUserInput

MAX_NODES = 100

NodeResolver = Callable[[Any, uuid.UUID], Awaitable[Any]]
NODE_RESOLVERS: dict[str, NodeResolver] = {}


@strawberry.interface(description="An object that can be refetched by its ID alone.")
class Node:
    """The interface of objects with a global ID."""

    id: strawberry.ID = strawberry.field(
        description="The object's global ID: opaque, unique across all types, and safe to use as a cache key."
    )


def node_resolver(type_name: str) -> Callable[[NodeResolver], NodeResolver]:
    """Declare the function that finds an object of a type by its key, and returns `None` when the caller may not see it."""

    def declare(resolver: NodeResolver) -> NodeResolver:
        NODE_RESOLVERS[type_name] = resolver
        return resolver

    return declare


async def _resolve_node(info: strawberry.Info, id_: str) -> Any:
    type_name, key = from_global_id(id_)
    return await NODE_RESOLVERS[type_name](info, key) if type_name in NODE_RESOLVERS else None


@query(public, Node | None)
async def node(info: strawberry.Info, id: Annotated[strawberry.ID, argument("The ID of the object.")]) -> Any:
    """Refetches any object by its global ID. `null` when there is no such object or the caller may not see it."""
    return await _resolve_node(info, id)


@query(public, list[Node | None])
async def nodes(
    info: strawberry.Info, ids: Annotated[list[strawberry.ID], argument("The IDs of the objects, 100 at most.")]
) -> list[Any]:
    """Refetches several objects at once, in the order of `ids`.

    An object that is missing, or that the caller may not see, is `null` in its place.
    """
    if len(ids) > MAX_NODES:
        raise BadUserInput(f"`ids` must hold {MAX_NODES} IDs at most.")
    return list(await asyncio.gather(*(_resolve_node(info, id_) for id_ in ids)))
