"""Declares the mutations that verify an email address."""

from typing import Annotated

from domain.auth import email_verification
from domain.auth.login_throttle import EMAIL_REQUEST_POLICY, TOKEN_POLICY
from domain.errors import InvalidToken
from graph.accounts import User
from graph.context import Info
from graph.kit.declare import argument, attribute, input_type, object_type
from graph.kit.mutations import mutation
from graph.kit.permissions import public, signed_in
from persistence.accounts import UserRow


@input_type()
class VerifyEmailInput:
    """A verification link that was followed."""

    token: str = attribute("The token in the link.")


@object_type()
class VerificationEmailSent:
    """A verification link will be sent."""

    email: str = attribute("The email address it was sent to.")


@object_type()
class EmailVerified:
    """The email address is verified."""

    user: UserRow = attribute("The user.", User)


@mutation(signed_in, VerificationEmailSent, EmailVerified)
async def request_email_verification(info: Info) -> VerificationEmailSent | EmailVerified:
    """Emails the caller a new verification link."""
    viewer = await info.context.require_viewer()
    async with info.context.throttle(EMAIL_REQUEST_POLICY, str(viewer.user.id)):
        user = await email_verification.request_email_verification(info.context.shop, viewer)
    return EmailVerified(user=user) if user.is_email_verified else VerificationEmailSent(email=user.email)


@mutation(public, EmailVerified, errors=(InvalidToken,))
async def verify_email(
    info: Info, input: Annotated[VerifyEmailInput, argument("The token from the link.")]
) -> EmailVerified:
    """Confirms an email address with the token from the verification link."""
    async with info.context.throttle(TOKEN_POLICY):
        return EmailVerified(user=await email_verification.verify_email(info.context.shop, input.token))
