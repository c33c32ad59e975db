"""Where a refusal of the domain becomes a member of its mutation's union."""

from collections.abc import Callable
from typing import Any

import strawberry
from strawberry.extensions import FieldExtension

from domain.errors import Refusal

PROBLEMS: dict[type[Refusal], Callable[..., Any]] = {}
"""The type that tells of each refusal; `graph/errors.py` fills it in."""


class Refusals(FieldExtension):
    async def resolve_async(
        self, next_: Callable[..., Any], source: Any, info: strawberry.Info, **arguments: Any
    ) -> Any:
        try:
            return await next_(source, info, **arguments)
        except Refusal as refusal:
            info.context.shop.tally.refusals[info.field_name, refusal.code] += 1
            return PROBLEMS[type(refusal)](refusal=refusal)
