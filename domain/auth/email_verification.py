"""Email verification: proves with an emailed link that an address belongs to its user."""

import datetime as dt
import uuid

from domain.auth import one_time_tokens
from domain.email import emails
from domain.errors import AccountDeactivated, InvalidToken
from domain.shop import Shop
from persistence import accounts, locks
from persistence.accounts import UserRow, Viewer
from persistence.emails import EmailKind
from persistence.one_time_tokens import TokenPurpose
from persistence.postgres.database import Transaction
from persistence.postgres.errors import retry_on_conflict


@retry_on_conflict
async def request_email_verification(shop: Shop, viewer: Viewer) -> UserRow:
    """Email the viewer a new verification link, unless the address is already verified, and return the user."""
    async with shop.database.transaction() as tx:
        user = await locks.lock_user(tx, viewer.user.id)
        assert user is not None
        if not user.is_email_verified:
            await send_verification_email(shop, tx, user.id)
        return user


@retry_on_conflict
async def verify_email(shop: Shop, token: str) -> UserRow:
    """Redeem a verification token and return its owner.

    Raises:
        InvalidToken: The token is unknown, used or expired, or its owner is deactivated.
    """
    try:
        async with shop.database.transaction() as tx:
            user = await one_time_tokens.redeem(tx, TokenPurpose.VERIFY_EMAIL, token)
            await mark_email_verified(tx, user)
            return user
    except AccountDeactivated as error:
        raise InvalidToken(error.message) from error


async def send_verification_email(shop: Shop, tx: Transaction, user_id: uuid.UUID) -> None:
    """Issue a verification token and enqueue the email with its link."""
    token_id = await one_time_tokens.issue(shop, tx, user_id, TokenPurpose.VERIFY_EMAIL)
    await emails.enqueue(tx, EmailKind.VERIFY_EMAIL, token_id, user_id)


async def mark_email_verified(tx: Transaction, user: UserRow) -> None:
    """Mark the user's address as verified; an earlier date of verification is kept."""
    if user.email_verified_at is None:
        user.email_verified_at = dt.datetime.now(dt.UTC)
        await accounts.update_user(tx, user.id, email_verified_at=user.email_verified_at)
