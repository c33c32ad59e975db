"""What is deleted between two statements of one request."""

from functools import cached_property
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from graph.loaders import Loaders
from tests.client import Visitor
from tests.customers import MY_CART, add_customer
from tests.factories import add_book


async def test_a_book_deleted_after_the_line_that_names_it_was_read(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await add_customer(visitor, shop, (await add_book(shop), 1))
    real = vars(Loaders)["book"].func

    def deleting_first(loaders: Loaders) -> Any:
        loader = real(loaders)
        question = loader._question

        async def delete_and_load(keys: list[Any]) -> Any:
            await postgres.execute("DELETE FROM books")
            return await question(keys)

        loader._question = delete_and_load
        return loader

    changed = cached_property(deleting_first)
    changed.__set_name__(Loaders, "book")
    monkeypatch.setattr(Loaders, "book", changed)
    reply = await customer.ask(MY_CART)
    assert [error["extensions"] for error in reply.errors] == [{"code": "SERVICE_UNAVAILABLE", "retryAfter": 1}]
    assert (await customer.ask(MY_CART))["me"]["cart"]["items"] == []
