"""The routes of OAuth sign-in: redirect to the provider, handle its callback, and redirect to the frontend.

The only state is a short-lived, signed cookie in the browser. No database connection is held during requests to the
provider. Each failure has a code, which the frontend gets as a query parameter.
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

from domain.auth import oauth
from domain.auth.oauth import EmailMissing, EmailUnverified, ProviderProfile
from domain.auth.sessions import SessionTokens
from domain.errors import AccountDeactivated
from domain.shop import Shop
from graph.context import RefreshCookie
from graph.kit.scalars import format_datetime
from persistence.postgres.errors import Unavailable
from server.http import cookies
from server.oauth import AuthorizationState, ProviderRefused, ProviderUnavailable, SignInProvider

log = structlog.get_logger()

STATE_LIFETIME = 600  # seconds
SESSION_COOKIE = "sign_in"
NO_STORE = {"cache-control": "no-store"}  # the middleware adds no-referrer

SIGN_IN_ERRORS = {
    "access_denied": (403, "You did not allow the provider to share your profile."),
    "account_deactivated": (403, "This account has been deactivated. Contact the store."),
    "email_missing": (403, "The provider did not share an email address, which the store needs."),
    "email_unverified": (403, "The provider has not verified your email address. Verify it there, then try again."),
    "provider_refused": (400, "The provider does not confirm this sign-in. Start again."),
    "provider_unavailable": (502, "The provider does not respond. Try again later."),
    "shop_unavailable": (503, "The store is unavailable. Try again in a moment."),
    "state_mismatch": (400, "This sign-in was not started in this browser, or has expired. Start again."),
}
ERROR_CODES: dict[type[Exception], str] = {
    AccountDeactivated: "account_deactivated",
    EmailMissing: "email_missing",
    EmailUnverified: "email_unverified",
    ProviderUnavailable: "provider_unavailable",
    ProviderRefused: "provider_refused",
    Unavailable: "shop_unavailable",
}


class SignInError(Exception):
    """A sign-in failed; `code` is a key of `SIGN_IN_ERRORS`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


EXPECTED_ERRORS: tuple[type[Exception], ...] = (SignInError, *ERROR_CODES)


class SignInSessionMiddleware(SessionMiddleware):
    """Signs the cookie with the first key and verifies it with all, so that sign-ins survive a key rotation."""

    def __init__(self, app: ASGIApp, /, keys: Sequence[bytes], **options: Any) -> None:
        super().__init__(app, keys[0].hex(), **options)
        self.signer = TimestampSigner([key.hex() for key in reversed(keys)])  # itsdangerous signs with the last key


@dataclass(frozen=True, slots=True)
class OAuth:
    """The two routes of each provider. `cookie_path` is set if refresh tokens are sent in a cookie."""

    shop: Shop
    providers: Mapping[str, SignInProvider]
    cookie_path: str | None

    def build_mount(self, keys: Sequence[bytes], path: str) -> Mount:
        """Return the mounted routes; `path` is their public path, with the prefix of a proxy."""
        is_https = self.shop.policy.public_url.startswith("https:")
        session = Middleware(
            SignInSessionMiddleware,
            keys=keys,
            session_cookie=SESSION_COOKIE,
            max_age=STATE_LIFETIME,
            path=path,
            same_site="lax",
            https_only=is_https,
        )
        routes = [Route("/{provider}", self.authorize), Route("/{provider}/callback", self.callback)]
        return Mount("/auth", routes=routes, middleware=[session])

    async def authorize(self, request: Request) -> Response:
        """Redirect the browser to the provider."""
        name = request.path_params["provider"]
        if name not in self.providers:
            return _provider_not_offered()
        authorization = AuthorizationState()
        try:
            url = await self.providers[name].create_authorization_url(authorization)
        except ProviderUnavailable as error:
            return self._error_response(name, error)
        request.session[name] = authorization.model_dump()
        return RedirectResponse(url, 302, NO_STORE)

    async def callback(self, request: Request) -> Response:
        """Sign in the user whom the provider confirms."""
        name = request.path_params["provider"]
        if name not in self.providers:
            return _provider_not_offered()
        try:
            profile = await self._fetch_profile(request, name)
            return await self._complete(request, profile)
        except EXPECTED_ERRORS as error:
            return self._error_response(name, error)

    async def _fetch_profile(self, request: Request, name: str) -> ProviderProfile:
        authorization, query = _pop_authorization(request, name), request.query_params
        if "error" in query:  # some providers omit the state here
            raise SignInError("access_denied" if query["error"] == "access_denied" else "provider_refused")
        if authorization is None or not hmac.compare_digest(
            authorization.state.encode(), query.get("state", "").encode()
        ):
            raise SignInError("state_mismatch")
        code = query.get("code", "")
        if not (code and code.isascii() and code.isprintable()):  # RFC 6749, A.11
            raise SignInError("provider_refused")
        return await self.providers[name].fetch_profile(authorization, code, query.get("iss"))

    async def _complete(self, request: Request, profile: ProviderProfile) -> Response:
        frontend = self.shop.policy.frontend_url
        if frontend is not None:
            code = await oauth.issue_login_code(self.shop, profile)
            return RedirectResponse(URL(frontend).include_query_params(code=code), 302, NO_STORE)
        login = await oauth.log_in_with_provider(self.shop, profile, request.headers.get("user-agent"))
        return self._tokens_response(login.tokens)

    def _tokens_response(self, tokens: SessionTokens) -> Response:
        payload = {
            "accessToken": tokens.access.text,
            "accessTokenExpiresAt": format_datetime(tokens.access.expires_at),
            "refreshToken": None if self.cookie_path else tokens.refresh,
            "refreshTokenExpiresAt": format_datetime(tokens.refresh_expires_at),
        }
        response = JSONResponse(payload, headers=NO_STORE)
        if self.cookie_path:
            cookies.set_refresh_cookie(
                response, RefreshCookie(None, is_changed=True, response_tokens=tokens), self.cookie_path
            )
        return response

    def _error_response(self, name: str, error: Exception) -> Response:
        code = error.code if isinstance(error, SignInError) else _get_error_code(error)
        status, message = SIGN_IN_ERRORS[code]
        self.shop.counters.failed_oauth_logins[name, code] += 1
        log.info("sign_in_failed", provider=name, code=code, reason=str(error))
        frontend = self.shop.policy.frontend_url
        if frontend is not None:
            return RedirectResponse(URL(frontend).include_query_params(error=code), 302, NO_STORE)
        return JSONResponse({"error": code, "message": message}, status, NO_STORE)


def _pop_authorization(request: Request, name: str) -> AuthorizationState | None:
    """Return the unexpired sign-in that this browser started, once."""
    try:
        authorization = AuthorizationState.model_validate(request.session.pop(name, None))
    except ValidationError:
        return None
    return authorization if time.time() - authorization.started_at <= STATE_LIFETIME else None


def _get_error_code(error: Exception) -> str:
    return next(code for kind, code in ERROR_CODES.items() if isinstance(error, kind))


def _provider_not_offered() -> Response:
    message = "Sign-in through this provider is not available."
    return JSONResponse({"error": "not_offered", "message": message}, 404, NO_STORE)
