"""Random documents over the whole schema: a result or a typed error, never an internal error; errors write nothing.

`FUZZ_EXAMPLES` is the number of documents for each root field.
"""

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import asyncpg
import pytest
from graphql import (
    DocumentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    StringValueNode,
    Visitor,
    parse,
    print_ast,
    visit,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import from_schema, nodes

from domain.shop import Shop
from graph.schema import schema
from tests.support.graphql.bad_values import BAD_DATES, BAD_DATETIMES, BAD_DECIMALS, BAD_IDS, BAD_TEXTS
from tests.support.graphql.fuzz_client import FuzzClient, can_return_user_error, create_samples
from tests.support.graphql.schema_fields import get_fields
from tests.support.http.client import ApiClient as Client
from tests.support.shop.factories import SignedInUser, add_admin

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "10"))
FIELDS = [f"{parent}.{name}" for parent in ("Query", "Mutation") for name in get_fields(parent)]
FUZZ_SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),  # examples are intentionally large and share a shop
)


def _strings(*samples: list[Any]) -> st.SearchStrategy[Any]:
    texts = [sample for group in samples for sample in group if isinstance(sample, str)]
    return st.sampled_from(texts).map(nodes.String)


SCALARS = {
    "Decimal": _strings(BAD_DECIMALS, ["0.01", "12.90", "100"]),
    "Date": _strings(BAD_DATES, ["1937-09-21"]),
    "DateTime": _strings(BAD_DATETIMES, ["2026-03-01T09:30:00Z"]),
}


@cache
def documents(name: str) -> st.SearchStrategy[DocumentNode]:
    _, _, root = name.partition(".")
    identity: Any = lambda document: document  # noqa: E731
    return from_schema(schema.as_str(), fields=[root], custom_scalars=SCALARS, print_ast=identity)


CODE_DOCUMENT = parse("{ ... on UserError { code } }")


def _select_error_code(root: Any) -> Any:
    if not can_return_user_error(get_fields("Mutation")[root.name.value]):
        return root
    [operation] = CODE_DOCUMENT.definitions
    assert isinstance(operation, OperationDefinitionNode)
    return _with_selections(root, *root.selection_set.selections, *operation.selection_set.selections)


def _with_selections(node: Any, *selections: Any) -> Any:
    attributes = {name: getattr(node, name) for name in node.keys}
    return type(node)(**attributes | {"selection_set": SelectionSetNode(selections=selections)})


class _MutateDocument(Visitor):
    """Selects the error code of mutations, one per document, and replaces some strings by sample values or bad values."""

    def __init__(self, draw: Callable[[], str | None]) -> None:
        super().__init__()
        self._draw = draw

    def leave_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> OperationDefinitionNode | None:
        if node.operation is not OperationType.MUTATION:
            return None
        operation: OperationDefinitionNode = _with_selections(
            node, _select_error_code(node.selection_set.selections[0])
        )
        return operation

    def enter_string_value(self, node: StringValueNode, *_: Any) -> StringValueNode | None:
        value = self._draw()
        return None if value is None else StringValueNode(value=value, block=False)


@dataclass
class Session:
    """An administrator's session, reactivated before each document."""

    fuzz_client: FuzzClient
    user: SignedInUser
    executed: list[bool] = field(default_factory=list)

    @property
    def sample_values(self) -> list[str]:
        return [*self.fuzz_client.samples.values(), *BAD_IDS, *(text for text in BAD_TEXTS if isinstance(text, str))]

    async def send(self, name: str, document: DocumentNode) -> None:
        reactivate = "UPDATE sessions SET revoked_at = NULL WHERE id = $1"
        await self.fuzz_client.postgres.execute(reactivate, self.user.session_id)
        response = await self.fuzz_client.send(name, print_ast(document), {})
        self.executed.append("data" in response)


@pytest.fixture
async def fuzz_session(
    client: Client, shop: Shop, postgres: asyncpg.Connection, record_property: Callable[[str, object], None]
) -> AsyncIterator[Session]:
    user = await add_admin(shop)
    async with client.with_token(user.token).http() as http:
        session = Session(FuzzClient(http, postgres, await create_samples(shop, user)), user)
        yield session
    record_property("documents", len(session.executed))
    record_property("executed", sum(session.executed))
    assert any(session.executed) or EXAMPLES < 100


@pytest.mark.timeout(60 + EXAMPLES)
@pytest.mark.parametrize("name", FIELDS)
@FUZZ_SETTINGS
@given(data=st.data())
async def test_random_documents_cause_no_internal_error(fuzz_session: Session, name: str, data: st.DataObject) -> None:
    choices = st.none() | st.sampled_from(fuzz_session.sample_values)
    document: DocumentNode = visit(data.draw(documents(name)), _MutateDocument(lambda: data.draw(choices)))
    await fuzz_session.send(name, document)
    assert fuzz_session.fuzz_client.failures == []
