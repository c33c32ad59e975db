"""Declares the mutations that change and reset passwords."""

from typing import Annotated

from domain import accounts
from domain.auth import password_reset
from domain.auth.login_throttle import EMAIL_REQUEST_POLICY, PASSWORD_CHANGE_POLICY, TOKEN_POLICY
from domain.auth.sessions import NewSession
from domain.errors import AccountDeactivated, InvalidCredentials, InvalidInput, InvalidToken
from graph.context import Info
from graph.kit.declare import argument, attribute, input_type, object_type, optional
from graph.kit.mutations import mutation
from graph.kit.permissions import public, signed_in
from graph.sessions import LoggedIn, complete_login


@input_type()
class ChangePasswordInput:
    """A new password."""

    current_password: str | None = optional("The current password. Left out when the account has none.")
    new_password: str = attribute("The new password, 8 to 128 characters.")


@input_type()
class RequestPasswordResetInput:
    """A forgotten password."""

    email: str = attribute("The email address of the account.")


@input_type()
class ResetPasswordInput:
    """A password reset link that was followed."""

    token: str = attribute("The token in the link.")
    new_password: str = attribute("The new password, 8 to 128 characters.")


@object_type()
class PasswordChanged:
    """The password has changed."""

    sessions_ended: int = attribute("How many other sessions were ended.")


@object_type()
class PasswordResetRequested:
    """A reset link will be sent, if the email address has an account."""

    email: str = attribute("The email address of the input.")


@mutation(public, PasswordResetRequested, errors=(InvalidInput,), exclusive=True)
async def request_password_reset(
    info: Info, input: Annotated[RequestPasswordResetInput, argument("The email address.")]
) -> PasswordResetRequested:
    """Emails a password reset link, if the email address has an account. The result is the same if it has none."""
    async with info.context.throttle(EMAIL_REQUEST_POLICY, input.email):
        await password_reset.request_password_reset(info.context.shop, input.email)
    return PasswordResetRequested(email=input.email)


@mutation(public, LoggedIn, errors=(InvalidToken, InvalidInput, AccountDeactivated), exclusive=True)
async def reset_password(
    info: Info, input: Annotated[ResetPasswordInput, argument("The token and the new password.")]
) -> NewSession:
    """Sets a new password with the token from the reset link, ends every other session and signs in."""
    context = info.context
    async with context.throttle(TOKEN_POLICY):
        return complete_login(
            info, await password_reset.reset_password(context.shop, input.token, input.new_password, context.user_agent)
        )


@mutation(signed_in, PasswordChanged, errors=(InvalidCredentials, InvalidInput), exclusive=True)
async def change_password(
    info: Info, input: Annotated[ChangePasswordInput, argument("The current and the new password.")]
) -> PasswordChanged:
    """Replaces the caller's password, or gives one to an account that only signs in through a provider.

    Ends the caller's other sessions.
    """
    viewer = await info.context.require_viewer()
    async with info.context.throttle(PASSWORD_CHANGE_POLICY, str(viewer.user.id)):
        sessions_ended = await accounts.change_password(
            info.context.shop, viewer, input.current_password or None, input.new_password
        )
    return PasswordChanged(sessions_ended=sessions_ended)
