"""Verification: showing that an address is one's own."""

from typing import Annotated

from domain.auth import email_verification
from domain.auth.login_throttle import EMAIL_REQUEST_POLICY, TOKEN_POLICY
from graph.accounts import User
from graph.context import Info
from graph.kit.declare import attribute, input_type, mutation, object_type, result_union
from graph.kit.pagination import argument
from graph.kit.permissions import public, signed_in
from graph.user_errors import InvalidToken
from persistence.accounts import UserRow


@input_type()
class VerifyEmailInput:
    """A verification link that was followed."""

    token: str = attribute("The token in the link.")


@object_type()
class VerificationEmailSent:
    """A verification link is on its way."""

    email: str = attribute("The address it was sent to.")


@object_type()
class EmailVerified:
    """The address is known to be the user's."""

    user: UserRow = attribute("The user.", User)


RequestEmailVerificationResult = Annotated[
    VerificationEmailSent | EmailVerified, result_union("RequestEmailVerificationResult", "requestEmailVerification")
]
VerifyEmailResult = Annotated[EmailVerified | InvalidToken, result_union("VerifyEmailResult", "verifyEmail")]


@mutation(signed_in)
async def request_email_verification(info: Info) -> RequestEmailVerificationResult | None:
    """Emails the caller a new verification link."""
    viewer = await info.context.require_viewer()
    async with info.context.throttle(EMAIL_REQUEST_POLICY, str(viewer.user.id)):
        user = await email_verification.request_email_verification(info.context.shop, viewer)
    return EmailVerified(user=user) if user.is_email_verified else VerificationEmailSent(email=user.email)


@mutation(public)
async def verify_email(
    info: Info, input: Annotated[VerifyEmailInput, argument("The token from the link.")]
) -> VerifyEmailResult | None:
    """Confirms an email address with the token from the verification link."""
    async with info.context.throttle(TOKEN_POLICY):
        return EmailVerified(user=await email_verification.verify_email(info.context.shop, input.token))
