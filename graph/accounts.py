"""Accounts: signing in and out, the signed-in user, and who may come in."""

import datetime as dt
from typing import Annotated, Any

import strawberry
from strawberry import UNSET

from domain import accounts
from domain.accounts import SessionTokens, SignedIn
from graph.cart import Cart
from graph.context import Info
from graph.errors import (
    AccountDeactivated,
    EmailTaken,
    InvalidCredentials,
    InvalidInput,
    InvalidToken,
    NotFound,
    ProtectedAccount,
)
from graph.fields import column, field, input_shape, mutation, outcomes, query, shape
from graph.gates import UserRole, administrator, public, signed_in
from graph.ids import key_of, own_id
from graph.nodes import Node, refetched
from graph.orders import OrderConnection, StatusesArgument, orders_of
from graph.pagination import After, Before, Connection, First, Last, argument
from persistence import accounts as rows
from persistence.accounts import Session as SessionRow
from persistence.accounts import User as UserRow
from persistence.cart import Cart as CartRow
from persistence.orders import Order as OrderRow


@shape(of=SessionRow)
class Session:
    """One sign-in on one device, however often its tokens were refreshed since."""

    id: strawberry.ID = strawberry.field(resolver=own_id("Session"), description="The session's ID.")
    user_agent: str | None = column("The browser or app it was opened from, as it named itself.")
    created_at: dt.datetime = column("When it was opened.")
    last_used_at: dt.datetime = column("When its tokens were last refreshed.")

    @field()
    async def is_current(self: SessionRow, info: Info) -> bool:
        """Whether it is the one that asks."""
        viewer = await info.context.viewer()
        return viewer is not None and viewer.session_id == self.id


@shape(of=UserRow)
class User(Node):
    """An account. Its owner and administrators can see it, no one else."""

    id: strawberry.ID = strawberry.field(resolver=own_id("User"), description="The user's global ID.")
    email: str = column("The address they sign in with and get mail at.")
    display_name: str = column("The name shown next to their reviews.")
    role: UserRole = column("What they may do.")
    is_active: bool = column("Whether they may sign in.")
    has_password: bool = column("Whether they can sign in with a password, or through a provider only.")
    created_at: dt.datetime = column("When the account was created.")

    @field(Cart)
    def cart(self: UserRow) -> CartRow:
        """Their cart. Everyone has one, if only an empty one."""
        return CartRow(self.id)

    @field(OrderConnection)
    async def orders(
        self: UserRow,
        info: Info,
        statuses: StatusesArgument = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[OrderRow]:
        """Their orders, the latest first."""
        return await orders_of(info, self.id, statuses, first, after, last, before)

    @field(list[Session])
    async def sessions(self: UserRow, info: Info) -> list[SessionRow]:
        """Where they are signed in, the latest used first."""
        return await rows.list_sessions(info.context.reading, self.id)


@refetched("User")
async def find_user(info: Info, key: Any) -> UserRow | None:
    viewer = await info.context.viewer()
    may_see = viewer is not None and (viewer.user.id == key or viewer.user.role == "ADMIN")
    return await info.context.loaders.user.load(key) if may_see else None


@refetched("Cart")
async def find_cart(info: Info, key: Any) -> CartRow | None:
    return CartRow(key) if await find_user(info, key) else None


@query(public, User | None)
async def me(info: Info) -> UserRow | None:
    """The signed-in user; `null` for a visitor."""
    viewer = await info.context.viewer()
    return viewer.user if viewer else None


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


@input_shape()
class ChangePasswordInput:
    """A new password."""

    current_password: str | None = strawberry.field(
        default=UNSET, description="The current password. Left out when the account has none."
    )
    new_password: str = column("The new password, 8 to 128 characters.")


@input_shape()
class UpdateProfileInput:
    """Changes to a profile. A field left out stays as it is."""

    display_name: str | None = strawberry.field(
        default=UNSET, description="The name to show next to reviews, 2 to 50 characters."
    )


@input_shape()
class DeactivateUserInput:
    """An account to lock out."""

    user_id: strawberry.ID = column("The ID of the user.")


@input_shape()
class ReactivateUserInput:
    """An account to let in again."""

    user_id: strawberry.ID = column("The ID of the user.")


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
    def refresh_token(self: SessionTokens) -> str | None:
        """Traded for fresh tokens by `refreshSession`.

        `null` when the server keeps it in a cookie that scripts cannot read.
        """
        return self.refresh


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


@shape()
class PasswordChanged:
    """The password has changed."""

    sessions_ended: int = column("How many other sessions ended with it.")


@shape()
class ProfileUpdated:
    """The profile has changed."""

    user: UserRow = column("The user.", User)


@shape()
class UserDeactivated:
    """The account is locked out."""

    user: UserRow = column("The user.", User)
    sessions_ended: int = column("How many sessions ended with it.")


@shape()
class UserReactivated:
    """The account may sign in again."""

    user: UserRow = column("The user.", User)


RegisterResult = Annotated[LoggedIn | EmailTaken | InvalidInput, outcomes("RegisterResult", "register")]
LoginResult = Annotated[LoggedIn | InvalidCredentials | AccountDeactivated, outcomes("LoginResult", "login")]
RefreshSessionResult = Annotated[
    SessionRefreshed | InvalidToken | AccountDeactivated, outcomes("RefreshSessionResult", "refreshSession")
]
LogoutResult = Annotated[LoggedOut, outcomes("LogoutResult", "logout")]
RevokeSessionResult = Annotated[LoggedOut | NotFound, outcomes("RevokeSessionResult", "revokeSession")]
ChangePasswordResult = Annotated[
    PasswordChanged | InvalidCredentials | InvalidInput, outcomes("ChangePasswordResult", "changePassword")
]
UpdateProfileResult = Annotated[ProfileUpdated | InvalidInput, outcomes("UpdateProfileResult", "updateProfile")]
DeactivateUserResult = Annotated[
    UserDeactivated | ProtectedAccount | NotFound, outcomes("DeactivateUserResult", "deactivateUser")
]
ReactivateUserResult = Annotated[UserReactivated | NotFound, outcomes("ReactivateUserResult", "reactivateUser")]


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


@mutation(public)
async def register(info: Info, input: Annotated[RegisterInput, argument("The new account.")]) -> RegisterResult | None:
    """Creates an account and signs its owner in."""
    context = info.context
    name = input.display_name if input.display_name is not UNSET else None
    return await accounts.register(context.shop, input.email, input.password, name, context.user_agent)  # type: ignore[return-value]  # a row in place of LoggedIn


@mutation(public)
async def login(info: Info, input: Annotated[LoginInput, argument("The credentials.")]) -> LoginResult | None:
    """Signs in with email and password. Takes as long for an unknown email as for a wrong password."""
    return await accounts.login(info.context.shop, input.email, input.password, info.context.user_agent)  # type: ignore[return-value]  # a row in place of LoggedIn


@mutation(public)
async def refresh_session(
    info: Info, input: Annotated[RefreshSessionInput, argument("The refresh token.")]
) -> RefreshSessionResult | None:
    """Trades a refresh token for fresh tokens.

    Each refresh token works once; presenting a spent one ends the session it belongs to, for whoever holds it.
    """
    return SessionRefreshed(tokens=await accounts.refresh_session(info.context.shop, input.refresh_token or ""))


@mutation(public)
async def logout(info: Info, input: Annotated[LogoutInput, argument("Which sessions to end.")]) -> LogoutResult | None:
    """Ends the session that the refresh token belongs to, or all of the user's sessions."""
    ended = await accounts.logout(info.context.shop, input.refresh_token or "", everywhere=input.everywhere)
    return LoggedOut(sessions_ended=ended)


@mutation(signed_in)
async def revoke_session(
    info: Info, input: Annotated[RevokeSessionInput, argument("The session to end.")]
) -> RevokeSessionResult | None:
    """Ends one of the caller's other sessions, such as one on a lost phone."""
    viewer = await info.context.signed_in()
    ended = await accounts.revoke_session(info.context.shop, viewer, key_of("Session", input.session_id))
    return LoggedOut(sessions_ended=ended)


@mutation(signed_in)
async def change_password(
    info: Info, input: Annotated[ChangePasswordInput, argument("The current and the new password.")]
) -> ChangePasswordResult | None:
    """Replaces the caller's password, or gives one to an account that only signs in through a provider.

    Ends the caller's other sessions.
    """
    viewer = await info.context.signed_in()
    ended = await accounts.change_password(
        info.context.shop, viewer, input.current_password or None, input.new_password
    )
    return PasswordChanged(sessions_ended=ended)


@mutation(signed_in)
async def update_profile(
    info: Info, input: Annotated[UpdateProfileInput, argument("The fields to change.")]
) -> UpdateProfileResult | None:
    """Changes what others see of the caller."""
    viewer = await info.context.signed_in()
    name = input.display_name if input.display_name is not UNSET else None
    return ProfileUpdated(user=await accounts.update_profile(info.context.shop, viewer, name))


@mutation(administrator)
async def deactivate_user(
    info: Info, input: Annotated[DeactivateUserInput, argument("The account.")]
) -> DeactivateUserResult | None:
    """Locks an account out at once and ends its sessions."""
    user, ended = await accounts.deactivate(info.context.shop, key_of("User", input.user_id))
    return UserDeactivated(user=user, sessions_ended=ended)


@mutation(administrator)
async def reactivate_user(
    info: Info, input: Annotated[ReactivateUserInput, argument("The account.")]
) -> ReactivateUserResult | None:
    """Lets a deactivated account sign in again."""
    return UserReactivated(user=await accounts.reactivate(info.context.shop, key_of("User", input.user_id)))
