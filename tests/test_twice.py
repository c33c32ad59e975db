"""An engine that answers otherwise than graphql-core fails whoever asks it over HTTP."""

from dataclasses import replace
from typing import Any

import pytest

from domain.shop import Shop
from graph.context import Context
from graph.engine import Outcome, Plan
from server.settings import Settings
from tests.browser import opened
from tests.client import Visitor
from tests.factories import add_genre

TITLED = "{ genres { name } }"
UNSPOKEN = "query ($it: Boolean = true) { genres { name @include(if: $it) } }"


async def _sends(visitor: Visitor, document: str, **variables: Any) -> None:
    async with visitor.http() as http:
        await http.post("/graphql", json={"query": document, "variables": variables})


async def test_a_wrong_answer(visitor: Visitor, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await add_genre(shop, "Poetry")
    honest = Plan.run

    async def lying(plan: Plan, context: Context, variables: dict[str, Any] | None) -> Outcome:
        return replace(await honest(plan, context, variables), data={"genres": []})

    monkeypatch.setattr(Plan, "run", lying)
    with pytest.raises(AssertionError, match="differ over"):
        await _sends(visitor, TITLED, once="more")
    monkeypatch.undo()
    await _sends(visitor, TITLED, once="again")


async def test_what_is_left_to_graphql_core(settings: Settings, shop: Shop) -> None:
    async with opened(settings) as app:
        await _sends(Visitor(app), UNSPOKEN, it=False)
        with pytest.raises(AssertionError, match="a condition that is null"):
            await _sends(Visitor(app), UNSPOKEN, it=None)
