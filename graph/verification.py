"""Verification: showing that an address is one's own."""

from typing import Annotated

from domain import verification
from domain.throttling import LETTER, TOKEN
from graph.accounts import User
from graph.context import Info
from graph.errors import InvalidToken
from graph.fields import column, input_shape, mutation, outcomes, shape
from graph.gates import public, signed_in
from graph.pagination import argument
from persistence.accounts import User as UserRow


@input_shape()
class VerifyEmailInput:
    """A verification link that was followed."""

    token: str = column("The token in the link.")


@shape()
class VerificationEmailSent:
    """A verification link is on its way."""

    email: str = column("The address it was sent to.")


@shape()
class EmailVerified:
    """The address is known to be the user's."""

    user: UserRow = column("The user.", User)


RequestEmailVerificationResult = Annotated[
    VerificationEmailSent | EmailVerified, outcomes("RequestEmailVerificationResult", "requestEmailVerification")
]
VerifyEmailResult = Annotated[EmailVerified | InvalidToken, outcomes("VerifyEmailResult", "verifyEmail")]


@mutation(signed_in)
async def request_email_verification(info: Info) -> RequestEmailVerificationResult | None:
    """Emails the caller a new verification link."""
    viewer = await info.context.signed_in()
    async with info.context.trying(LETTER, str(viewer.user.id)):
        user = await verification.request_email_verification(info.context.shop, viewer)
    return EmailVerified(user=user) if user.is_email_verified else VerificationEmailSent(email=user.email)


@mutation(public)
async def verify_email(
    info: Info, input: Annotated[VerifyEmailInput, argument("The token from the link.")]
) -> VerifyEmailResult | None:
    """Confirms an email address with the token from the verification link."""
    async with info.context.trying(TOKEN):
        return EmailVerified(user=await verification.verify_email(info.context.shop, input.token))
