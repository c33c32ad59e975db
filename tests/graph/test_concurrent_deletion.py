"""Rows that are deleted between two statements of one request."""

from functools import cached_property
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from graph.loaders import Loaders
from tests.support.http.client import ApiClient
from tests.support.shop.customers import MY_CART_QUERY, add_customer
from tests.support.shop.factories import add_book


async def test_book_deleted_between_two_statements(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await add_customer(client, shop, (await add_book(shop), 1))
    build_loader = vars(Loaders)["book"].func

    def build_deleting_loader(loaders: Loaders) -> Any:
        loader = build_loader(loaders)
        fetch = loader._fetch

        async def delete_and_load(keys: list[Any]) -> Any:
            await postgres.execute("DELETE FROM books")
            return await fetch(keys)

        loader._fetch = delete_and_load
        return loader

    deleting_loader = cached_property(build_deleting_loader)
    deleting_loader.__set_name__(Loaders, "book")
    monkeypatch.setattr(Loaders, "book", deleting_loader)
    response = await customer.execute(MY_CART_QUERY)
    assert [error["extensions"] for error in response.errors] == [{"code": "SERVICE_UNAVAILABLE", "retryAfter": 1}]
    assert (await customer.execute(MY_CART_QUERY))["me"]["cart"]["items"] == []
