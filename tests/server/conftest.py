"""Providers to sign in at that can be told to lie, fail and hang; and a shop that offers them."""

from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.applications import Starlette

from domain.shop import Shop
from server.settings import Settings
from tests.arrivals import offering
from tests.browser import Browser, browsing
from tests.oauth_providers import GitHub, OpenID, at_work


@pytest.fixture(scope="module")
def providers() -> Iterator[tuple[OpenID, GitHub]]:
    google, github = OpenID(), GitHub()
    with at_work(google), at_work(github):
        yield google, github


@pytest.fixture
def google(providers: tuple[OpenID, GitHub]) -> OpenID:
    providers[0].begin_anew()
    return providers[0]


@pytest.fixture
def github(providers: tuple[OpenID, GitHub]) -> GitHub:
    providers[1].begin_anew()
    return providers[1]


@pytest.fixture(scope="module")
async def offered(settings: Settings, providers: tuple[OpenID, GitHub]) -> AsyncIterator[Starlette]:
    async with offering(settings, providers[0].address, providers[1].address) as app:
        yield app


@pytest.fixture
async def browser(offered: Starlette, google: OpenID, github: GitHub, shop: Shop) -> AsyncIterator[Browser]:
    async with browsing(offered) as browser:
        yield browser
