"""Sessions: signing in, staying signed in, and ending it."""

import datetime as dt
from typing import Annotated

import strawberry
from strawberry import UNSET

from domain import accounts, identities, sessions
from domain.errors import Refusal
from domain.sessions import SessionTokens, SignedIn
from domain.throttling import REGISTRATION, SIGN_IN, TOKEN
from graph.accounts import User
from graph.context import Info
from graph.errors import AccountDeactivated, EmailTaken, InvalidCredentials, InvalidInput, InvalidToken, NotFound
from graph.fields import column, field, input_shape, mutation, outcomes, shape
from graph.gates import public, signed_in
from graph.ids import key_of
from graph.pagination import argument
from persistence.accounts import User as UserRow

# ── Inputs ────────────────────────────────────────────────────────────────────────────────


@input_shape()
class RegisterInput:
    """A new account."""

    email: str = column("The address to sign in with; letter case does not matter.")
    password: str = column("The password, 8 to 128 characters.")
    display_name: str | None = strawberry.field(
        default=UNSET, description="The name to show next to reviews, 2 to 50 characters. `Reader` when left out."
    )


@input_shape()
class LoginInput:
    """Credentials."""

    email: str = column("The address of the account.")
    password: str = column("The password.")


@input_shape()
class LoginWithOAuthInput:
    """The end of a sign-in through a provider."""

    code: str = column("The one-time code that the callback added to the frontend's URL; it works for a minute.")


@input_shape()
class RefreshSessionInput:
    """A session to prolong."""

    refresh_token: str | None = strawberry.field(
        default=UNSET, description="The refresh token. Left out when the server keeps it in a cookie."
    )


@input_shape()
class LogoutInput:
    """Sessions to end."""

    refresh_token: str | None = strawberry.field(
        default=UNSET, description="The refresh token. Left out when the server keeps it in a cookie."
    )
    everywhere: bool = strawberry.field(default=False, description="Whether to end all of the user's sessions.")


@input_shape()
class RevokeSessionInput:
    """A session to end."""

    session_id: strawberry.ID = column("The ID of the session.")


# ── Outcomes ──────────────────────────────────────────────────────────────────────────────


@shape(of=SessionTokens)
class AuthTokens:
    """What a signed-in client holds."""

    refresh_token_expires_at: dt.datetime = strawberry.field(
        resolver=lambda root: root.refresh_expires_at, description="When the refresh token stops working."
    )

    @field()
    def access_token(self: SessionTokens) -> str:
        """Sent with every request as `Authorization: Bearer …`."""
        return self.access.text

    @field()
    def access_token_expires_at(self: SessionTokens) -> dt.datetime:
        """When the access token stops working."""
        return self.access.expires_at

    @field()
    def refresh_token(self: SessionTokens, info: Info) -> str | None:
        """Traded for fresh tokens by `refreshSession`.

        `null` when the server keeps it in a cookie that scripts cannot read.
        """
        return None if info.context.cookie else self.refresh


@shape(of=SignedIn)
class LoggedIn:
    """The user is signed in."""

    user: UserRow = column("Who.", User)
    tokens: SessionTokens = column("What to call the API with from now on.", AuthTokens)


@shape()
class SessionRefreshed:
    """The session goes on with fresh tokens; the old refresh token is spent."""

    tokens: SessionTokens = column("What to call the API with from now on.", AuthTokens)


@shape()
class LoggedOut:
    """Sessions have ended."""

    sessions_ended: int = column("How many; zero when they had ended before.")


RegisterResult = Annotated[LoggedIn | EmailTaken | InvalidInput, outcomes("RegisterResult", "register")]
LoginResult = Annotated[LoggedIn | InvalidCredentials | AccountDeactivated, outcomes("LoginResult", "login")]
LoginWithOAuthResult = Annotated[
    LoggedIn | InvalidToken | AccountDeactivated, outcomes("LoginWithOAuthResult", "loginWithOAuth")
]
RefreshSessionResult = Annotated[
    SessionRefreshed | InvalidToken | AccountDeactivated, outcomes("RefreshSessionResult", "refreshSession")
]
LogoutResult = Annotated[LoggedOut, outcomes("LogoutResult", "logout")]
RevokeSessionResult = Annotated[LoggedOut | NotFound, outcomes("RevokeSessionResult", "revokeSession")]


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


def kept(info: Info, signed_in: SignedIn) -> LoggedIn:
    """Who has signed in, with the refresh token in the cookie where there is one."""
    info.context.keep(signed_in.tokens)
    return signed_in  # type: ignore[return-value]  # a row in place of LoggedIn


def _presented(info: Info, given: str | None) -> str:
    """The refresh token of the input, or the cookie's when the input has none."""
    cookie = info.context.cookie
    return (given or "") if isinstance(given, str) or cookie is None else (cookie.sent or "")


@mutation(public, alone=True)
async def register(info: Info, input: Annotated[RegisterInput, argument("The new account.")]) -> RegisterResult | None:
    """Creates an account, signs its owner in and emails them a verification link."""
    context = info.context
    name = input.display_name if input.display_name is not UNSET else None
    async with context.trying(REGISTRATION):
        return kept(info, await accounts.register(context.shop, input.email, input.password, name, context.user_agent))


@mutation(public, alone=True)
async def login(info: Info, input: Annotated[LoginInput, argument("The credentials.")]) -> LoginResult | None:
    """Signs in with email and password. Takes as long for an unknown email as for a wrong password."""
    context = info.context
    async with context.trying(SIGN_IN, input.email):
        return kept(info, await sessions.login(context.shop, input.email, input.password, context.user_agent))


@mutation(public, name="loginWithOAuth", alone=True)
async def login_with_oauth(
    info: Info, input: Annotated[LoginWithOAuthInput, argument("The code from the callback.")]
) -> LoginWithOAuthResult | None:
    """Finishes a sign-in that began at one of the `oauthLogins`.

    Trades the one-time code that the callback handed to the frontend for a session.
    """
    async with info.context.trying(TOKEN):
        return kept(info, await identities.log_in_with_code(info.context.shop, input.code, info.context.user_agent))


@mutation(public)
async def refresh_session(
    info: Info, input: Annotated[RefreshSessionInput, argument("The refresh token.")]
) -> RefreshSessionResult | None:
    """Trades a refresh token for fresh tokens.

    Each refresh token works once; presenting a spent one ends the session it belongs to, for whoever holds it.
    """
    try:
        tokens = await sessions.refresh_session(info.context.shop, _presented(info, input.refresh_token))
    except Refusal:
        info.context.keep(None)
        raise
    info.context.keep(tokens)
    return SessionRefreshed(tokens=tokens)


@mutation(public)
async def logout(info: Info, input: Annotated[LogoutInput, argument("Which sessions to end.")]) -> LogoutResult | None:
    """Ends the session that the refresh token belongs to, or all of the user's sessions."""
    token = _presented(info, input.refresh_token)
    ended = await sessions.logout(info.context.shop, token, everywhere=input.everywhere)
    info.context.keep(None)
    return LoggedOut(sessions_ended=ended)


@mutation(signed_in)
async def revoke_session(
    info: Info, input: Annotated[RevokeSessionInput, argument("The session to end.")]
) -> RevokeSessionResult | None:
    """Ends one of the caller's other sessions, such as one on a lost phone."""
    viewer = await info.context.signed_in()
    ended = await sessions.revoke_session(info.context.shop, viewer, key_of("Session", input.session_id))
    return LoggedOut(sessions_ended=ended)
