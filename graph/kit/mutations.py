"""Declares mutations: who may call them, and the union of results and user errors they return."""

from collections.abc import Callable
from typing import Annotated, Any, Union

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.types.field import StrawberryField
from strawberry.types.lazy_type import LazyType
from strawberry.utils.str_converters import capitalize_first, to_camel_case

from domain.errors import UserError
from graph.kit.declare import Resolver, build_field
from graph.kit.permissions import Permission

ERROR_TYPES: dict[type[UserError], Callable[..., Any]] = {}
"""The object type of each user error of the domain, filled by `user_error_type` in `graph.user_errors`."""


def mutation(
    permission: Permission,
    *result_types: type,
    errors: tuple[type[UserError], ...] = (),
    name: str | None = None,
    exclusive: bool = False,
) -> Callable[[Resolver], StrawberryField]:
    """Declare a field of `Mutation`. It returns a nullable union, named after it: `CheckoutResult` for `checkout`.

    Args:
        permission: Who may call the mutation.
        result_types: The object types of success, the first members of the union.
        errors: The user errors that the resolver may raise, the other members in this order.
            One that is raised without being listed is an internal error.
        name: The name in the SDL, when it is not the resolver's.
        exclusive: Whether a document with this mutation may contain no other.
    """

    def declare(resolver: Resolver) -> StrawberryField:
        mutation_name = name or to_camel_case(resolver.__name__)
        return build_field(
            resolver,
            _build_result_union(mutation_name, result_types, errors) | None,
            [ResetContext(), *permission.extensions, UserErrorExtension(errors)],
            permission,
            name,
            {"exclusive": exclusive},
        )

    return declare


def _build_result_union(mutation_name: str, result_types: tuple[type, ...], errors: tuple[type[UserError], ...]) -> Any:
    # Lazy, because the types of errors refer to types of modules that declare mutations.
    error_types = (LazyType[Any, Any](error.__name__, "graph.user_errors") for error in errors)
    union = strawberry.union(f"{capitalize_first(mutation_name)}Result", description=f"How `{mutation_name}` can end.")
    return Annotated[Union[(*result_types, *error_types)], union]  # members known at run time only


class ResetContext(FieldExtension):
    """Forgets what was loaded before the mutation, the viewer included, since it may change it."""

    async def resolve_async(self, next_: Resolver, source: Any, info: strawberry.Info, **arguments: Any) -> Any:
        """Invalidate the context, then resolve."""
        info.context.invalidate()
        return await next_(source, info, **arguments)


class UserErrorExtension(FieldExtension):
    """Returns a declared user error as a member of the union, and counts it. Others pass as internal errors."""

    def __init__(self, errors: tuple[type[UserError], ...]) -> None:
        self.errors = errors

    async def resolve_async(self, next_: Resolver, source: Any, info: strawberry.Info, **arguments: Any) -> Any:
        """Resolve, and return the error's object type where a declared user error is raised."""
        try:
            return await next_(source, info, **arguments)
        except self.errors as error:
            info.context.shop.counters.user_errors[info.field_name, error.code] += 1
            return ERROR_TYPES[type(error)](error=error)
