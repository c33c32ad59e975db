"""That every query is asked of both executors is no empty promise."""

from typing import Any

import pytest
from gql.transport.exceptions import TransportConnectionFailed
from starlette.applications import Starlette

from graph.engine.plan import NULL_CONDITION
from graph.execution import Answer
from tests import twice
from tests.client import Visitor


async def _otherwise(*_: Any) -> Answer:
    return Answer({"genres": ["another"]}, [])


async def test_an_answer_that_differs_fails_the_test_that_asked(
    app: Starlette, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twice, "answer", _otherwise)
    with pytest.raises(TransportConnectionFailed, match="differ"):
        await visitor.ask("{ genres { name slug id } }")


async def test_a_document_that_is_left_to_graphql_core_fails_it(app: Starlette, visitor: Visitor) -> None:
    endpoint = twice._endpoint(app)
    assert endpoint is not None
    assert endpoint.documents.engine is not None
    with pytest.raises(TransportConnectionFailed, match=NULL_CONDITION):
        await visitor.ask("query ($yes: Boolean = true) { genres @include(if: $yes) { name } }", yes=None)
    del endpoint.documents.engine.left[NULL_CONDITION]
