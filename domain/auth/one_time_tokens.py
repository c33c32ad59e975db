"""One-time tokens: each is valid once, for a limited time and one purpose. Only hashes are stored."""

import datetime as dt
import uuid

from domain.auth.tokens import hash_token
from domain.errors import AccountDeactivated, InvalidToken
from domain.shop import Shop
from persistence import locks
from persistence import one_time_tokens as token_rows
from persistence.accounts import UserRow
from persistence.one_time_tokens import TokenPurpose
from persistence.postgres.database import Transaction
from persistence.postgres.read_session import ReadSession
from persistence.tables import new_id

LIFETIMES = {
    TokenPurpose.VERIFY_EMAIL: dt.timedelta(hours=24),
    TokenPurpose.RESET_PASSWORD: dt.timedelta(hours=1),
    TokenPurpose.OAUTH_LOGIN: dt.timedelta(seconds=60),
}
LOGIN_PURPOSES = (TokenPurpose.RESET_PASSWORD, TokenPurpose.OAUTH_LOGIN)
"""Purposes of tokens that open a session; a change of password invalidates these tokens."""


async def issue(shop: Shop, tx: Transaction, user_id: uuid.UUID, purpose: TokenPurpose) -> uuid.UUID:
    """Store a new token and return its id, from which `Tokens.derive_one_time_token` derives the token."""
    token_id = new_id()
    await token_rows.add_token(tx, token_id, user_id, purpose, _compute_hash(shop, token_id), _compute_expiry(purpose))
    return token_id


async def issue_for_email(
    shop: Shop, tx: Transaction, email: str, purpose: TokenPurpose
) -> tuple[uuid.UUID, uuid.UUID | None]:
    """Store a new token for the account with this email address, and return the ids of the token and its owner.

    Without such an account, no token is stored and the owner is `None`.
    """
    token_id = new_id()
    return token_id, await token_rows.add_token_for_email(
        tx, token_id, email, purpose, _compute_hash(shop, token_id), _compute_expiry(purpose)
    )


async def find_owner(db: ReadSession | Transaction, purpose: TokenPurpose, token: str) -> UserRow:
    """Return the owner of a valid token without redeeming it.

    Raises:
        InvalidToken: The token is unknown, used or expired.
    """
    owner = await token_rows.find_owner(db, purpose, hash_token(token))
    if owner is None:
        raise _invalid_token()
    return owner


async def redeem(tx: Transaction, purpose: TokenPurpose, token: str) -> UserRow:
    """Redeem the token, invalidate its owner's other tokens for this purpose, and return the locked owner.

    Raises:
        InvalidToken: The token is unknown, used or expired.
        AccountDeactivated: The owner is deactivated. The token stays valid when the transaction rolls back.
    """
    owner = await find_owner(tx, purpose, token)
    locked_owner = await locks.lock_user(tx, owner.id)
    if locked_owner is None or not await token_rows.consume_token(tx, purpose, hash_token(token)):
        raise _invalid_token()
    if not locked_owner.is_active:
        raise AccountDeactivated
    await token_rows.invalidate_tokens(tx, locked_owner.id, purpose)
    return locked_owner


def _compute_hash(shop: Shop, token_id: uuid.UUID) -> bytes:
    return hash_token(shop.tokens.derive_one_time_token(token_id))


def _compute_expiry(purpose: TokenPurpose) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + LIFETIMES[purpose]


def _invalid_token() -> InvalidToken:
    return InvalidToken("This link or code is invalid, used or expired. Request a new one.")
