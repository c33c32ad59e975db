"""Providers to sign in at, on the network: a GitHub and an OpenID provider that can be told to lie, fail and hang."""

import hashlib
import json
import secrets
import socket
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from joserfc import jws
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT, SECRET = "bookstore-client", "the client's own secret"
Answer = Callable[[], Response]


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """At an address of its own, in a thread of its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield f"http://localhost:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


class Provider:
    """Says yes at once. `instead` answers in place of what is at a path; `denies` says no."""

    authorize_path: str
    token_path: str

    def __init__(self) -> None:
        self.address = ""
        self.faults: list[Exception] = []
        self.begin_anew()

    def begin_anew(self) -> None:
        self.instead: dict[str, Answer] = {}
        self.denies = False
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST"])])

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._answered(request)
        except Exception as fault:
            self.faults.append(fault)
            raise

    async def _answered(self, request: Request) -> Response:
        path = request.url.path
        self.asked.append(path)
        if path in self.instead:
            return await run_in_threadpool(self.instead[path])
        if path == self.authorize_path:
            return self._authorize(dict(request.query_params))
        if path == self.token_path:
            return self._token(dict(parse_qsl((await request.body()).decode())), request)
        return self.tell(path, request)

    def _authorize(self, asked: dict[str, str]) -> Response:
        assert asked["client_id"] == CLIENT
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        back = URL(asked["redirect_uri"])
        if self.denies:
            return RedirectResponse(back.include_query_params(error="access_denied", state=asked["state"]), 302)
        code = secrets.token_hex(8)
        self._codes[code] = asked
        return RedirectResponse(back.include_query_params(code=code, state=asked["state"]), 302)

    def _token(self, given: dict[str, str], request: Request) -> Response:
        """For a code once, for whoever can show the verifier of its challenge."""
        asked = self._codes.pop(given["code"], None)
        digest = hashlib.sha256(given["code_verifier"].encode()).digest()
        proven = asked is not None and asked["code_challenge"] == urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or not proven or given["redirect_uri"] != asked["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        return self.hand_out(asked, given, request)

    def hand_out(self, asked: dict[str, str], given: dict[str, str], request: Request) -> Response:
        raise NotImplementedError

    def tell(self, path: str, request: Request) -> Response:
        raise NotImplementedError


class GitHub(Provider):
    """`user` and `emails` are what its API says."""

    authorize_path, token_path = "/login/oauth/authorize", "/login/oauth/access_token"

    def begin_anew(self) -> None:
        super().begin_anew()
        self.user: Any = {"id": 583231, "login": "octocat", "name": "Mona Octocat", "email": "shown@example.com"}
        self.emails: Any = [{"email": "mona@example.com", "primary": True, "verified": True}]

    def hand_out(self, asked: dict[str, str], given: dict[str, str], request: Request) -> Response:
        assert (given["client_id"], given["client_secret"]) == (CLIENT, SECRET)
        return JSONResponse({"access_token": "gho_token", "token_type": "bearer", "scope": "user:email"})

    def tell(self, path: str, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer gho_token"
        return JSONResponse({"/user": self.user, "/user/emails": self.emails}[path])


class OpenID(Provider):
    """`claims` go into its ID tokens, over what is right; `sign` signs them."""

    authorize_path, token_path = "/authorize", "/token"

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "first"})
        super().__init__()

    def begin_anew(self) -> None:
        super().begin_anew()
        self.claims: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.sign: Callable[[dict[str, Any]], str] = self.signed

    def signed(self, claims: dict[str, Any]) -> str:
        header = {"alg": "RS256", "kid": self.key.kid, "typ": "JWT"}
        return jws.serialize_compact(header, json.dumps(claims), self.key)

    def hand_out(self, asked: dict[str, str], given: dict[str, str], request: Request) -> Response:
        now = int(time.time())
        right = {
            "iss": self.address,
            "aud": CLIENT,
            "sub": "1001",
            "nonce": asked["nonce"],
            "iat": now,
            "exp": now + 3600,
            "email": "mona@example.com",
            "email_verified": True,
            "name": "Mona Lisa",
        }
        claims = {name: value for name, value in (right | self.claims).items() if value is not None}
        return JSONResponse({"access_token": "at", "token_type": "Bearer", "id_token": self.sign(claims)})

    def tell(self, path: str, request: Request) -> Response:
        if path == "/jwks":
            return JSONResponse({"keys": [self.key.as_dict(private=False)]})
        assert path == "/.well-known/openid-configuration"
        described = {
            "issuer": self.address,
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "jwks_uri": f"{self.address}/jwks",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        }
        return JSONResponse(described | self.metadata)


@contextmanager
def at_work(provider: Provider) -> Iterator[None]:
    with served(provider.app()) as address:
        provider.address = address
        yield
    assert provider.faults == []  # a provider of ours that fails would pass for one that was told to
