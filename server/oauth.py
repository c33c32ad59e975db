"""Signing in through a provider: there with a question, back with an answer, and home with a code of our own.

It keeps nothing but a short-lived, signed cookie in the browser that began; it holds no database connection while the
provider thinks. Every way it can fail has a code, which the frontend is told in the address that it is sent back to.
"""

import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from itsdangerous import TimestampSigner
from pydantic import ValidationError
from starlette.datastructures import URL
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from domain import identities
from domain.errors import AccountDeactivated
from domain.identities import EmailMissing, EmailUnverified, Profile
from domain.sessions import SessionTokens
from domain.shop import Shop
from graph.context import RefreshCookie
from graph.scalars import format_datetime
from persistence.faults import Unavailable
from server import cookies
from server.providers import Attempt, ProviderDown, ProviderRefused, SignInProvider

log = structlog.get_logger()

LIFETIME = 600  # seconds that a sign-in may take
SESSION_COOKIE = "sign_in"
HEADERS = {"cache-control": "no-store"}  # every answer says no-referrer, too

TROUBLES = {
    "access_denied": (403, "You did not let the provider tell who you are."),
    "account_deactivated": (403, "This account has been deactivated. Ask the store to let you in again."),
    "email_missing": (403, "The provider tells no email address, and the store needs one."),
    "email_unverified": (403, "The provider has not verified your email address. Verify it there, then try again."),
    "provider_refused": (400, "The provider does not confirm this sign-in. Begin again."),
    "provider_unavailable": (502, "The provider does not answer as it should. Try again later."),
    "shop_unavailable": (503, "The store cannot answer just now. Try again in a moment."),
    "state_mismatch": (400, "This sign-in did not begin in this browser, or too long ago. Begin again."),
}
CODES: dict[type[Exception], str] = {
    AccountDeactivated: "account_deactivated",
    EmailMissing: "email_missing",
    EmailUnverified: "email_unverified",
    ProviderDown: "provider_unavailable",
    ProviderRefused: "provider_refused",
    Unavailable: "shop_unavailable",
}


class Trouble(Exception):
    """Why nobody is signed in: a key of `TROUBLES`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


KNOWN: tuple[type[Exception], ...] = (Trouble, *CODES)


class SignInCookie(SessionMiddleware):
    """The first key signs it, all verify it: nobody who is at the provider has to begin again when keys change."""

    def __init__(self, app: ASGIApp, /, keys: Sequence[bytes], **options: Any) -> None:
        super().__init__(app, keys[0].hex(), **options)
        self.signer = TimestampSigner([key.hex() for key in reversed(keys)])  # which signs with the last


@dataclass(frozen=True, slots=True)
class OAuth:
    """The two addresses of each provider, by the provider's name in them; `cookie_path` as at the endpoint."""

    shop: Shop
    providers: Mapping[str, SignInProvider]
    cookie_path: str | None

    def mounted(self, keys: Sequence[bytes], path: str) -> Mount:
        """`path` is the one that browsers see: a proxy may have put something before it."""
        is_https = self.shop.policy.public_url.startswith("https:")
        session = Middleware(
            SignInCookie,
            keys=keys,
            session_cookie=SESSION_COOKIE,
            max_age=LIFETIME,
            path=path,
            same_site="lax",
            https_only=is_https,
        )
        routes = [Route("/{provider}", self.begin), Route("/{provider}/callback", self.come_back)]
        return Mount("/auth", routes=routes, middleware=[session])

    async def begin(self, request: Request) -> Response:
        """Sends the browser to the provider."""
        name = request.path_params["provider"]
        if name not in self.providers:
            return _not_offered()
        attempt = Attempt()
        try:
            address = await self.providers[name].address(attempt)
        except ProviderDown as error:
            return self._sorry(name, error)
        request.session[name] = attempt.model_dump()
        return RedirectResponse(address, 302, HEADERS)

    async def come_back(self, request: Request) -> Response:
        """Lets in whomever the provider vouches for."""
        name = request.path_params["provider"]
        if name not in self.providers:
            return _not_offered()
        try:
            profile = await self._profile(request, name)
            return await self._welcome(request, profile)
        except KNOWN as error:
            return self._sorry(name, error)

    async def _profile(self, request: Request, name: str) -> Profile:
        attempt, told = _attempt(request, name), request.query_params
        if "error" in told:  # some providers leave the state out here
            raise Trouble("access_denied" if told["error"] == "access_denied" else "provider_refused")
        if attempt is None or not hmac.compare_digest(attempt.state.encode(), told.get("state", "").encode()):
            raise Trouble("state_mismatch")
        code = told.get("code", "")
        if not (code and code.isascii() and code.isprintable()):  # RFC 6749, A.11
            raise Trouble("provider_refused")
        return await self.providers[name].profile(attempt, code, told.get("iss"))

    async def _welcome(self, request: Request, profile: Profile) -> Response:
        frontend = self.shop.policy.frontend_url
        if frontend is not None:
            code = await identities.code_for(self.shop, profile)
            return RedirectResponse(URL(frontend).include_query_params(code=code), 302, HEADERS)
        signed_in = await identities.sign_in_through(self.shop, profile, request.headers.get("user-agent"))
        return self._tokens(signed_in.tokens)

    def _tokens(self, tokens: SessionTokens) -> Response:
        shown = {
            "accessToken": tokens.access.text,
            "accessTokenExpiresAt": format_datetime(tokens.access.expires_at),
            "refreshToken": None if self.cookie_path else tokens.refresh,
            "refreshTokenExpiresAt": format_datetime(tokens.refresh_expires_at),
        }
        response = JSONResponse(shown, headers=HEADERS)
        if self.cookie_path:
            cookies.put(response, RefreshCookie(None, changed=True, kept=tokens), self.cookie_path)
        return response

    def _sorry(self, name: str, error: Exception) -> Response:
        code = error.code if isinstance(error, Trouble) else _code_of(error)
        status, message = TROUBLES[code]
        self.shop.tally.failed_sign_ins[name, code] += 1
        log.info("sign_in_refused", provider=name, code=code, reason=str(error))
        frontend = self.shop.policy.frontend_url
        if frontend is not None:
            return RedirectResponse(URL(frontend).include_query_params(error=code), 302, HEADERS)
        return JSONResponse({"error": code, "message": message}, status, HEADERS)


def _attempt(request: Request, name: str) -> Attempt | None:
    """What this browser began and has not finished, as long as it is not too old. It can be had once."""
    try:
        attempt = Attempt.model_validate(request.session.pop(name, None))
    except ValidationError:
        return None
    return attempt if time.time() - attempt.began <= LIFETIME else None


def _code_of(error: Exception) -> str:
    return next(code for kind, code in CODES.items() if isinstance(error, kind))


def _not_offered() -> Response:
    message = "Signing in through this provider is not offered here."
    return JSONResponse({"error": "not_offered", "message": message}, 404, HEADERS)
