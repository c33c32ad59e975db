"""One-time tokens: each works once, for a while, for one purpose; only its hash is kept."""

import datetime as dt
import uuid

from domain.errors import AccountDeactivated, InvalidToken
from domain.shop import Shop
from domain.tokens import hash_of
from persistence import accounts
from persistence import one_time_tokens as rows
from persistence.accounts import User
from persistence.database import Reading, Transaction
from persistence.models import new_id
from persistence.one_time_tokens import Purpose

LIFETIME = {
    Purpose.VERIFY_EMAIL: dt.timedelta(hours=24),
    Purpose.RESET_PASSWORD: dt.timedelta(hours=1),
    Purpose.OAUTH_LOGIN: dt.timedelta(seconds=60),
}
OPENS_A_SESSION = (Purpose.RESET_PASSWORD, Purpose.OAUTH_LOGIN)
"""What must not outlive the password or the sessions that somebody wants to be rid of."""


async def issue(shop: Shop, tx: Transaction, user_id: uuid.UUID, purpose: Purpose) -> uuid.UUID:
    """The id of the token; `shop.tokens.one_time_token` makes the token of it."""
    token_id = new_id()
    await rows.add_token(tx, token_id, user_id, purpose, _hash(shop, token_id), _end(purpose))
    return token_id


async def issue_for_address(
    shop: Shop, tx: Transaction, email: str, purpose: Purpose
) -> tuple[uuid.UUID, uuid.UUID | None]:
    """The id of the token and its owner, `None` where there is no such account: then there is no such token either."""
    token_id = new_id()
    return token_id, await rows.add_token_for_address(
        tx, token_id, email, purpose, _hash(shop, token_id), _end(purpose)
    )


async def owner_of(db: Reading | Transaction, purpose: Purpose, token: str) -> User:
    """Raises `InvalidToken` for one that would not work."""
    owner = await rows.find_owner(db, purpose, hash_of(token))
    if owner is None:
        raise _refused()
    return owner


async def redeem(tx: Transaction, purpose: Purpose, token: str) -> User:
    """Spends it, with all that its owner has left for this purpose, and locks the owner.

    Raises `InvalidToken`, or `AccountDeactivated`: then it is not spent.
    """
    owner = await owner_of(tx, purpose, token)
    locked = await accounts.lock_user(tx, owner.id)
    if locked is None or not await rows.spend_token(tx, purpose, hash_of(token)):
        raise _refused()
    if not locked.is_active:
        raise AccountDeactivated
    await rows.spend_tokens(tx, locked.id, purpose)
    return locked


def _hash(shop: Shop, token_id: uuid.UUID) -> bytes:
    return hash_of(shop.tokens.one_time_token(token_id))


def _end(purpose: Purpose) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + LIFETIME[purpose]


def _refused() -> InvalidToken:
    return InvalidToken("This link or code is unknown, used or too old. Ask for a new one.")
