"""A provider that is away, hangs or talks nonsense, and a database that does: an error with a code, never a fault."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse

from domain.shop import Shop
from server.providers import asking
from server.settings import Settings
from tests.arrivals import arrived, code_in, nobody_in, offering
from tests.browser import Browser, browsing
from tests.client import Visitor
from tests.factories import add_member
from tests.locks import holding
from tests.oauth_providers import GitHub, OpenID, Provider
from tests.sessions import try_to_log_in

CALLBACK = "/auth/github/callback"


def _hangs() -> Response:
    time.sleep(2)  # longer than the shop's patience here
    return PlainTextResponse("at last")


ANSWERS: dict[str, Callable[[], Response]] = {
    "an error": lambda: PlainTextResponse("Bad gateway", 502),
    "no JSON": lambda: PlainTextResponse("<html>"),
    "no text": lambda: Response(b"\xff\xfe\x00"),
    "nothing": lambda: Response(b""),
    "null": lambda: JSONResponse(None),
    "a list": lambda: JSONResponse([1]),
    "a number": lambda: JSONResponse(7),
    "an empty object": lambda: JSONResponse({}),
    "another object": lambda: JSONResponse({"id": [], "issuer": 1, "access_token": {}, "id_token": None, "keys": 1}),
    "a bottomless list": lambda: Response("[" * 100_000),
    "a redirect": lambda: RedirectResponse("https://attacker.test", 302),
    "hanging": _hangs,
}
ASKED_FIRST = ["/.well-known/openid-configuration", "/jwks"]
ASKED_EACH_TIME = [
    ("google", "/token"),
    ("github", "/login/oauth/access_token"),
    ("github", "/user"),
    ("github", "/user/emails"),
]


async def _fails_and_recovers(
    browser: Browser, provider: Provider, name: str, path: str, answer: str, postgres: asyncpg.Connection
) -> None:
    provider.instead[path] = ANSWERS[answer]
    assert await nobody_in(postgres, await browser.http.get(f"/auth/{name}")) == "provider_unavailable"
    assert path in provider.asked
    del provider.instead[path]  # nothing of it is remembered
    assert await arrived(browser, await browser.http.get(f"/auth/{name}"))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE", 1)


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize(("name", "path"), ASKED_EACH_TIME)
async def test_a_provider_in_trouble(
    browser: Browser,
    google: OpenID,
    github: GitHub,
    postgres: asyncpg.Connection,
    impatient: None,
    name: str,
    path: str,
    answer: str,
) -> None:
    provider: Provider = google if name == "google" else github
    await _fails_and_recovers(browser, provider, name, path, answer, postgres)


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("path", ASKED_FIRST)
async def test_a_provider_that_cannot_say_what_it_is(
    settings: Settings,
    shop: Shop,
    google: OpenID,
    postgres: asyncpg.Connection,
    impatient: None,
    path: str,
    answer: str,
) -> None:
    async with offering(settings, google.address) as app, browsing(app) as browser:
        await _fails_and_recovers(browser, google, "google", path, answer, postgres)


async def test_a_provider_that_drips(
    browser: Browser, github: GitHub, postgres: asyncpg.Connection, impatient: None
) -> None:
    """Each byte comes soon enough, and all is well with them; but they take too long together."""

    async def drops() -> AsyncIterator[bytes]:
        for _ in range(25):
            yield b" "
            await asyncio.sleep(0.1)
        yield json.dumps(github.user).encode()

    github.instead["/user"] = lambda: StreamingResponse(drops())
    assert await nobody_in(postgres, await browser.http.get("/auth/github")) == "provider_unavailable"


async def test_a_provider_that_is_away(settings: Settings, shop: Shop, postgres: asyncpg.Connection) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://localhost:{free.getsockname()[1]}"
    async with offering(settings, nowhere, nowhere) as app, browsing(app) as browser:
        assert await nobody_in(postgres, await browser.http.get("/auth/google")) == "provider_unavailable"


async def test_a_provider_that_describes_another(
    settings: Settings, shop: Shop, google: OpenID, postgres: asyncpg.Connection
) -> None:
    google.metadata = {"issuer": "https://attacker.test"}
    async with offering(settings, google.address) as app, browsing(app) as browser:
        assert await nobody_in(postgres, await browser.http.get("/auth/google")) == "provider_unavailable"


async def test_a_provider_that_hangs_holds_no_connection(settings: Settings, shop: Shop, github: GitHub) -> None:
    """With one connection in the whole shop, others log in meanwhile."""
    await add_member(shop, "bob@example.com")
    let_go = threading.Event()
    github.instead["/user"] = lambda: (let_go.wait(20) and JSONResponse(github.user)) or Response(status_code=500)
    few: dict[str, Any] = {"pool_size": 1, "pool_max_overflow": 0}
    async with offering(settings, github=github.address, **few) as app, browsing(app) as browser:
        coming = asyncio.create_task(browser.http.get("/auth/github"))
        while "/user" not in github.asked:
            await asyncio.sleep(0.01)
        assert (await try_to_log_in(Visitor(app), "bob@example.com"))["__typename"] == "LoggedIn"
        let_go.set()
        code_in(await coming)


# ── Without a frontend, and without a database ────────────────────────────────────────────


async def test_without_a_frontend_refusals_are_json(
    settings: Settings, shop: Shop, google: OpenID, github: GitHub
) -> None:
    async with offering(settings, google.address, github.address, frontend_url=None) as app, browsing(app) as browser:
        github.emails = []
        google.instead["/token"] = ANSWERS["an error"]
        expected = {
            "/auth/github": (403, "email_missing"),
            "/auth/google": (502, "provider_unavailable"),
            f"{CALLBACK}?error=access_denied": (403, "access_denied"),
            f"{CALLBACK}?code=x&state=y": (400, "state_mismatch"),
        }
        for path, refusal in expected.items():
            response = await browser.http.get(path)
            answer = response.json()
            assert (response.status_code, answer["error"]) == refusal
            assert sorted(answer) == ["error", "message"]
            assert response.headers["cache-control"] == "no-store"


async def test_a_database_that_does_not_answer(
    browser: Browser, settings: Settings, postgres: asyncpg.Connection
) -> None:
    assert settings.database_url is not None
    async with holding(settings.database_url, "LOCK TABLE identities IN ACCESS EXCLUSIVE MODE"):
        response = await browser.http.get("/auth/github")
    assert await nobody_in(postgres, response) == "shop_unavailable"
