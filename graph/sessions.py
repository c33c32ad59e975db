"""Declares registration, signing in, and the refresh and end of sessions."""

import datetime as dt
from typing import Annotated

import strawberry

from domain import accounts
from domain.auth import oauth, sessions
from domain.auth.login_throttle import LOGIN_POLICY, REGISTRATION_POLICY, TOKEN_POLICY
from domain.auth.sessions import NewSession, SessionTokens
from domain.errors import (
    AccountDeactivated,
    EmailTaken,
    InvalidCredentials,
    InvalidInput,
    InvalidToken,
    NotFound,
    UserError,
)
from graph.accounts import User
from graph.context import Info
from graph.kit.declare import argument, attribute, field, input_type, none_if_unset, object_type, optional, query
from graph.kit.ids import parse_key
from graph.kit.mutations import mutation
from graph.kit.permissions import public, signed_in
from persistence.accounts import UserRow
from persistence.linked_accounts import Provider

# ── Queries ───────────────────────────────────────────────────────────────────────────────


@object_type(name="OAuthLogin")
class OAuthLogin:
    """A provider to sign in through."""

    provider: Provider = attribute("The provider.")
    url: str = attribute("The URL to send the browser to. It returns to the frontend with a code for `loginWithOAuth`.")


@query(public)
async def oauth_logins(info: Info) -> list[OAuthLogin]:
    """The providers to offer beside email and password."""
    policy = info.context.shop.policy
    return [OAuthLogin(provider=provider, url=policy.build_login_url(provider)) for provider in policy.providers]


# ── Inputs ────────────────────────────────────────────────────────────────────────────────


@input_type()
class RegisterInput:
    """A new account."""

    email: str = attribute("The email address to sign in with; letter case does not matter.")
    password: str = attribute("The password, 8 to 128 characters.")
    display_name: str | None = optional("The name to show next to reviews, 1 to 50 characters. `Reader` when left out.")


@input_type()
class LoginInput:
    """Credentials."""

    email: str = attribute("The email address of the account.")
    password: str = attribute("The password.")


@input_type()
class LoginWithOAuthInput:
    """The end of a sign-in through a provider."""

    code: str = attribute("The one-time code that the callback added to the frontend's URL; it works for a minute.")


@input_type()
class RefreshSessionInput:
    """A session to refresh."""

    refresh_token: str | None = optional("The refresh token. Left out when the server keeps it in a cookie.")


@input_type()
class LogoutInput:
    """Sessions to end."""

    refresh_token: str | None = optional("The refresh token. Left out when the server keeps it in a cookie.")
    everywhere: bool = strawberry.field(default=False, description="Whether to end all of the user's sessions.")


@input_type()
class RevokeSessionInput:
    """A session to end."""

    session_id: strawberry.ID = attribute("The ID of the session.")


# ── Results ───────────────────────────────────────────────────────────────────────────────


@object_type(source_type=SessionTokens)
class AuthTokens:
    """The tokens of a session."""

    refresh_token_expires_at: dt.datetime = strawberry.field(
        resolver=lambda root: root.refresh_expires_at, description="When the refresh token stops working."
    )

    @field()
    def access_token(self: SessionTokens) -> str:
        """Send it with each request as `Authorization: Bearer …`."""
        return self.access.text

    @field()
    def access_token_expires_at(self: SessionTokens) -> dt.datetime:
        """When the access token stops working."""
        return self.access.expires_at

    @field()
    def refresh_token(self: SessionTokens, info: Info) -> str | None:
        """The token for `refreshSession`.

        `null` when the server keeps it in a cookie that scripts cannot read.
        """
        return None if info.context.cookie else self.refresh


@object_type(source_type=NewSession)
class LoggedIn:
    """The user is signed in."""

    user: UserRow = attribute("The user.", User)
    tokens: SessionTokens = attribute("The tokens to use from now on.", AuthTokens)


@object_type()
class SessionRefreshed:
    """The session has new tokens; the old refresh token does not work any more."""

    tokens: SessionTokens = attribute("The tokens to use from now on.", AuthTokens)


@object_type()
class LoggedOut:
    """Sessions have ended."""

    sessions_ended: int = attribute("The number of sessions that were ended; zero when they had ended before.")


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


def complete_login(info: Info, new_session: NewSession) -> NewSession:
    """Set the refresh cookie, where the client uses one, and return the session."""
    info.context.set_refresh_cookie(new_session.tokens)
    return new_session


def _get_refresh_token(info: Info, input_token: str | None) -> str:
    """Return the refresh token of the input, or the cookie's when the input has none."""
    cookie = info.context.cookie
    return (input_token or "") if isinstance(input_token, str) or cookie is None else (cookie.request_token or "")


@mutation(public, LoggedIn, errors=(EmailTaken, InvalidInput), exclusive=True)
async def register(info: Info, input: Annotated[RegisterInput, argument("The new account.")]) -> NewSession:
    """Creates an account, signs its owner in and emails them a verification link."""
    context = info.context
    display_name = none_if_unset(input.display_name)
    async with context.throttle(REGISTRATION_POLICY):
        return complete_login(
            info, await accounts.register(context.shop, input.email, input.password, display_name, context.user_agent)
        )


@mutation(public, LoggedIn, errors=(InvalidCredentials, AccountDeactivated), exclusive=True)
async def login(info: Info, input: Annotated[LoginInput, argument("The credentials.")]) -> NewSession:
    """Signs in with email and password. An unknown email takes as long as a wrong password."""
    context = info.context
    async with context.throttle(LOGIN_POLICY, input.email):
        return complete_login(info, await sessions.login(context.shop, input.email, input.password, context.user_agent))


@mutation(public, LoggedIn, errors=(InvalidToken, AccountDeactivated), name="loginWithOAuth", exclusive=True)
async def login_with_oauth(
    info: Info, input: Annotated[LoginWithOAuthInput, argument("The code from the callback.")]
) -> NewSession:
    """Completes a sign-in that began at one of the `oauthLogins`.

    Exchanges the one-time code that the callback gave to the frontend for a session.
    """
    async with info.context.throttle(TOKEN_POLICY):
        return complete_login(
            info, await oauth.log_in_with_code(info.context.shop, input.code, info.context.user_agent)
        )


@mutation(public, SessionRefreshed, errors=(InvalidToken, AccountDeactivated))
async def refresh_session(
    info: Info, input: Annotated[RefreshSessionInput, argument("The refresh token.")]
) -> SessionRefreshed:
    """Exchanges a refresh token for new tokens.

    Each refresh token works once. Using it again ends its session, since it may have been stolen.
    """
    try:
        tokens = await sessions.refresh_session(info.context.shop, _get_refresh_token(info, input.refresh_token))
    except UserError:
        info.context.set_refresh_cookie(None)
        raise
    info.context.set_refresh_cookie(tokens)
    return SessionRefreshed(tokens=tokens)


@mutation(public, LoggedOut)
async def logout(info: Info, input: Annotated[LogoutInput, argument("Which sessions to end.")]) -> LoggedOut:
    """Ends the session that the refresh token belongs to, or all of the user's sessions."""
    token = _get_refresh_token(info, input.refresh_token)
    sessions_ended = await sessions.logout(info.context.shop, token, everywhere=input.everywhere)
    info.context.set_refresh_cookie(None)
    return LoggedOut(sessions_ended=sessions_ended)


@mutation(signed_in, LoggedOut, errors=(NotFound,))
async def revoke_session(
    info: Info, input: Annotated[RevokeSessionInput, argument("The session to end.")]
) -> LoggedOut:
    """Ends one of the caller's other sessions, such as one on a lost phone."""
    viewer = await info.context.require_viewer()
    sessions_ended = await sessions.revoke_session(info.context.shop, viewer, parse_key("Session", input.session_id))
    return LoggedOut(sessions_ended=sessions_ended)
