"""Verification: showing that an address is one's own, with the link that was sent there."""

import datetime as dt
import uuid

from domain import letters, one_time_tokens
from domain.errors import AccountDeactivated, InvalidToken
from domain.shop import Shop
from persistence import accounts
from persistence.accounts import User, Viewer
from persistence.database import Transaction
from persistence.faults import retried
from persistence.letters import LetterKind
from persistence.one_time_tokens import Purpose


@retried
async def request_email_verification(shop: Shop, viewer: Viewer) -> User:
    """Sends the viewer a new link, unless the address is verified already."""
    async with shop.database.transaction() as tx:
        user = await accounts.lock_user(tx, viewer.user.id)
        assert user is not None
        if not user.is_email_verified:
            await send_link(shop, tx, user.id)
        return user


@retried
async def verify_email(shop: Shop, token: str) -> User:
    """Raises `InvalidToken`; a deactivated account has no good token either."""
    try:
        async with shop.database.transaction() as tx:
            user = await one_time_tokens.redeem(tx, Purpose.VERIFY_EMAIL, token)
            await mark_verified(tx, user)
            return user
    except AccountDeactivated as refusal:
        raise InvalidToken(refusal.message) from refusal


async def send_link(shop: Shop, tx: Transaction, user_id: uuid.UUID) -> None:
    token_id = await one_time_tokens.issue(shop, tx, user_id, Purpose.VERIFY_EMAIL)
    await letters.write(tx, LetterKind.VERIFY_EMAIL, token_id, user_id)


async def mark_verified(tx: Transaction, user: User) -> None:
    """Keeps the day on which it was first verified."""
    if user.email_verified_at is None:
        user.email_verified_at = dt.datetime.now(dt.UTC)
        await accounts.set_user(tx, user.id, email_verified_at=user.email_verified_at)
