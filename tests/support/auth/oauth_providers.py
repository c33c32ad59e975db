"""OAuth providers on the network: a fake GitHub and a fake OpenID provider that lie, fail and hang on demand."""

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

CLIENT_ID, CLIENT_SECRET = "bookstore-client", "the client's own secret"
ResponseFactory = Callable[[], Response]


@contextmanager
def serve_in_thread(app: Starlette) -> Iterator[str]:
    """Serve the application in a thread and yield its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://localhost:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


class FakeOAuthProvider:
    """Grants every authorization immediately.

    `overrides` maps paths to functions that return other responses; with `is_denying` it denies access.
    """

    authorize_path: str
    token_path: str

    def __init__(self) -> None:
        self.url = ""
        self.failures: list[Exception] = []
        self.reset()

    def reset(self) -> None:
        """Delete overrides, requests and codes."""
        self.overrides: dict[str, ResponseFactory] = {}
        self.is_denying = False
        self.requested_paths: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}

    def app(self) -> Starlette:
        """Return an application that handles every path."""
        return Starlette(routes=[Route("/{path:path}", self._handle, methods=["GET", "POST"])])

    async def _handle(self, request: Request) -> Response:
        try:
            return await self._dispatch(request)
        except Exception as error:
            self.failures.append(error)
            raise

    async def _dispatch(self, request: Request) -> Response:
        path = request.url.path
        self.requested_paths.append(path)
        if path in self.overrides:
            return await run_in_threadpool(self.overrides[path])
        if path == self.authorize_path:
            return self._authorize(dict(request.query_params))
        if path == self.token_path:
            return self._token(dict(parse_qsl((await request.body()).decode())), request)
        return self.get_resource(path, request)

    def _authorize(self, params: dict[str, str]) -> Response:
        assert params["client_id"] == CLIENT_ID
        assert (params["response_type"], params["code_challenge_method"]) == ("code", "S256")
        redirect_uri = URL(params["redirect_uri"])
        if self.is_denying:
            return RedirectResponse(
                redirect_uri.include_query_params(error="access_denied", state=params["state"]), 302
            )
        code = secrets.token_hex(8)
        self._codes[code] = params
        return RedirectResponse(redirect_uri.include_query_params(code=code, state=params["state"]), 302)

    def _token(self, form: dict[str, str], request: Request) -> Response:
        """Exchange a code once, for a client with the verifier of its challenge."""
        authorization = self._codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        is_verified = (
            authorization is not None
            and authorization["code_challenge"] == urlsafe_b64encode(digest).rstrip(b"=").decode()
        )
        if authorization is None or not is_verified or form["redirect_uri"] != authorization["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        return self.issue_tokens(authorization, form, request)

    def issue_tokens(self, authorization: dict[str, str], form: dict[str, str], request: Request) -> Response:
        """Return the tokens of a verified authorization."""
        raise NotImplementedError

    def get_resource(self, path: str, request: Request) -> Response:
        """Return the resource at any other path."""
        raise NotImplementedError


class FakeGitHub(FakeOAuthProvider):
    """A GitHub whose API returns `user` and `emails`."""

    authorize_path, token_path = "/login/oauth/authorize", "/login/oauth/access_token"

    def reset(self) -> None:
        super().reset()
        self.user: Any = {"id": 583231, "login": "octocat", "name": "Mona Octocat", "email": "shown@example.com"}
        self.emails: Any = [{"email": "mona@example.com", "primary": True, "verified": True}]

    def issue_tokens(self, authorization: dict[str, str], form: dict[str, str], request: Request) -> Response:
        assert (form["client_id"], form["client_secret"]) == (CLIENT_ID, CLIENT_SECRET)
        return JSONResponse({"access_token": "gho_token", "token_type": "bearer", "scope": "user:email"})

    def get_resource(self, path: str, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer gho_token"
        return JSONResponse({"/user": self.user, "/user/emails": self.emails}[path])


class FakeOpenIDProvider(FakeOAuthProvider):
    """An OpenID provider. `claims` override the claims of its ID tokens, which `sign` signs; `metadata` overrides its configuration."""

    authorize_path, token_path = "/authorize", "/token"

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "first"})
        super().__init__()

    def reset(self) -> None:
        super().reset()
        self.claims: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.sign: Callable[[dict[str, Any]], str] = self.sign_claims

    def sign_claims(self, claims: dict[str, Any]) -> str:
        header = {"alg": "RS256", "kid": self.key.kid, "typ": "JWT"}
        return jws.serialize_compact(header, json.dumps(claims), self.key)

    def issue_tokens(self, authorization: dict[str, str], form: dict[str, str], request: Request) -> Response:
        now = int(time.time())
        valid_claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": "1001",
            "nonce": authorization["nonce"],
            "iat": now,
            "exp": now + 3600,
            "email": "mona@example.com",
            "email_verified": True,
            "name": "Mona Lisa",
        }
        claims = {name: value for name, value in (valid_claims | self.claims).items() if value is not None}
        return JSONResponse({"access_token": "at", "token_type": "Bearer", "id_token": self.sign(claims)})

    def get_resource(self, path: str, request: Request) -> Response:
        if path == "/jwks":
            return JSONResponse({"keys": [self.key.as_dict(private=False)]})
        assert path == "/.well-known/openid-configuration"
        configuration = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        }
        return JSONResponse(configuration | self.metadata)


@contextmanager
def run_provider(provider: FakeOAuthProvider) -> Iterator[None]:
    """Serve the provider and assert at the end that it raised no exception of its own."""
    with serve_in_thread(provider.app()) as url:
        provider.url = url
        yield
    assert provider.failures == []  # a bug in the fake would look like a failure that a test expects
