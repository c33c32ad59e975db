"""Declares who may call a field. SQL, not the permission, restricts callers to their own rows."""

from enum import Enum
from typing import Any

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.schema_directive import Location

from graph.request_errors import Forbidden


@strawberry.enum(description="What an account may do.")
class UserRole(Enum):
    """The roles of accounts."""

    USER = strawberry.enum_value("USER", description="May shop and review.")
    ADMIN = strawberry.enum_value("ADMIN", description="May administer the store, too.")


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="requiresAuth",
    description=(
        "The field, or the whole mutation, needs a signed-in caller. With `role: ADMIN` the caller must also be an "
        "administrator. Without the permission the field is `null` and the response carries a top-level error whose "
        "`extensions.code` is `UNAUTHENTICATED`, `AUTH_TOKEN_EXPIRED`, `AUTH_ACCOUNT_DEACTIVATED` or `FORBIDDEN`."
    ),
)
class RequiresAuth:
    """The directive that shows a permission in the SDL."""

    role: UserRole = strawberry.directive_field(name="role", default=strawberry.UNSET)


class Permission:
    """Who may call a field.

    `directive_arguments` are those of `@requiresAuth` in the SDL; `None` leaves the directive out.
    """

    directive_arguments: dict[str, Any] | None

    @property
    def extensions(self) -> list[FieldExtension]:
        """The extensions that check the permission before the resolver runs."""
        raise NotImplementedError


class _Public(Permission):
    directive_arguments = None

    @property
    def extensions(self) -> list[FieldExtension]:
        return []


class _Restricted(Permission, FieldExtension):
    @property
    def extensions(self) -> list[FieldExtension]:
        return [self]

    async def check(self, info: strawberry.Info) -> None:
        """Raise a `RequestError` when the caller lacks the permission."""
        raise NotImplementedError

    async def resolve_async(self, next_: Any, source: Any, info: strawberry.Info, **arguments: Any) -> Any:
        await self.check(info)
        value = next_(source, info, **arguments)
        return await value if hasattr(value, "__await__") else value


class _SignedIn(_Restricted):
    directive_arguments: dict[str, Any] | None = {}  # noqa: RUF012  # read only

    async def check(self, info: strawberry.Info) -> None:
        await info.context.require_viewer()


class _AdminOnly(_Restricted):
    directive_arguments: dict[str, Any] | None = {"role": UserRole.ADMIN}  # noqa: RUF012  # read only

    async def check(self, info: strawberry.Info) -> None:
        viewer = await info.context.require_viewer()
        if viewer.user.role != UserRole.ADMIN.value:
            raise Forbidden


public = _Public()
signed_in = _SignedIn()
admin_only = _AdminOnly()
