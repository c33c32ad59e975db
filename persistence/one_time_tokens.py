"""One-time tokens: proof that a user followed a link in an e-mail or came back from an OAuth provider."""

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import DateTime, String, Uuid, any_, bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA

from persistence import accounts, tables
from persistence.accounts import UserRow
from persistence.postgres.database import Transaction
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Command, Query


class TokenPurpose(StrEnum):
    """What a token can be redeemed for."""

    VERIFY_EMAIL = "VERIFY_EMAIL"
    RESET_PASSWORD = "RESET_PASSWORD"
    OAUTH_LOGIN = "OAUTH_LOGIN"


@dataclass(slots=True)
class OneTimeTokenRow:
    """A one-time token; only its hash is stored."""

    id: uuid.UUID
    user_id: uuid.UUID
    purpose: str
    hash: bytes
    expires_at: dt.datetime
    used_at: dt.datetime | None


_token = tables.OneTimeToken
_hash = bindparam("token_hash", type_=BYTEA())
_purpose = bindparam("for_purpose", type_=String())
_IS_VALID = _token.hash == _hash, _token.purpose == _purpose, _token.used_at.is_(None), _token.expires_at > func.now()
_OWNER = Query(
    select(*accounts.USER_COLUMNS).join(_token, _token.user_id == tables.User.id).where(*_IS_VALID),
    UserRow,
)
_BY_ID = Query(
    select(*(getattr(_token, name) for name in OneTimeTokenRow.__slots__)).where(
        _token.id == bindparam("id", type_=Uuid())
    ),
    OneTimeTokenRow,
)
_ADD = Command(insert(_token))
_CONSUME = Command(update(_token).where(*_IS_VALID).values(used_at=func.now()).returning(_token.user_id))
_INVALIDATE_ALL = Command(
    update(_token)
    .where(
        _token.user_id == bindparam("user", type_=Uuid()),
        _token.purpose == any_(bindparam("purposes", type_=ARRAY(String()))),
        _token.used_at.is_(None),
    )
    .values(used_at=func.now())
)
_ADD_FOR_EMAIL = Command(
    insert(_token)
    .from_select(
        ["id", "user_id", "purpose", "hash", "expires_at"],
        select(
            bindparam("token_id", type_=Uuid()),
            tables.User.id,
            _purpose,
            _hash,
            bindparam("token_expires_at", type_=DateTime(timezone=True)),
        ).where(tables.User.email == bindparam("email", type_=String())),
    )
    .returning(_token.user_id)
)


async def find_token(db: ReadSession | Transaction, token_id: uuid.UUID) -> OneTimeTokenRow | None:
    """Return the token in whatever state it is, or `None` when there is no such token."""
    return await db.first(_BY_ID, id=token_id)


async def find_owner(db: ReadSession | Transaction, purpose: TokenPurpose, token_hash: bytes) -> UserRow | None:
    """Return the user that a token belongs to, or `None` when it is unknown, used or expired."""
    return await db.first(_OWNER, for_purpose=purpose, token_hash=token_hash)


async def add_token(
    tx: Transaction,
    token_id: uuid.UUID,
    user_id: uuid.UUID,
    purpose: TokenPurpose,
    token_hash: bytes,
    expires_at: dt.datetime,
) -> None:
    """Add a token for a user."""
    await tx.execute(_ADD, id=token_id, user_id=user_id, purpose=purpose, hash=token_hash, expires_at=expires_at)


async def add_token_for_email(
    tx: Transaction, token_id: uuid.UUID, email: str, purpose: TokenPurpose, token_hash: bytes, expires_at: dt.datetime
) -> uuid.UUID | None:
    """Add a token for the user with this e-mail address and return the user's id, or `None` when there is none.

    Both cases run the same statement, so the timing does not reveal which one it was.
    """
    user_id: uuid.UUID | None = await tx.scalar(
        _ADD_FOR_EMAIL,
        token_id=token_id,
        email=email,
        for_purpose=purpose,
        token_hash=token_hash,
        token_expires_at=expires_at,
    )
    return user_id


async def consume_token(tx: Transaction, purpose: TokenPurpose, token_hash: bytes) -> bool:
    """Mark a valid token as used; of concurrent callers with the same token, exactly one gets true."""
    return await tx.scalar(_CONSUME, for_purpose=purpose, token_hash=token_hash) is not None


async def invalidate_tokens(tx: Transaction, user_id: uuid.UUID, *purposes: TokenPurpose) -> None:
    """Invalidate all unused tokens of a user for these purposes."""
    await tx.execute(_INVALIDATE_ALL, user=user_id, purposes=list(purposes))
