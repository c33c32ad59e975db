"""Where a refusal of the domain becomes a member of its mutation's union."""

from collections.abc import Callable
from typing import Any

import strawberry
from strawberry.extensions import FieldExtension

from domain.errors import UserError

ERROR_TYPES: dict[type[UserError], Callable[..., Any]] = {}
"""The type that tells of each refusal; `graph/user_errors.py` fills it in."""


class UserErrorExtension(FieldExtension):
    async def resolve_async(
        self, next_: Callable[..., Any], source: Any, info: strawberry.Info, **arguments: Any
    ) -> Any:
        try:
            return await next_(source, info, **arguments)
        except UserError as error:
            info.context.shop.counters.user_errors[info.field_name, error.code] += 1
            return ERROR_TYPES[type(error)](error=error)
