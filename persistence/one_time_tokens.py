"""One-time tokens: what a link in a letter, or the way back from a provider, proves."""

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import DateTime, String, Uuid, any_, bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA

from persistence import accounts, models
from persistence.accounts import User
from persistence.database import Reading, Transaction
from persistence.query import Command, Query


class Purpose(StrEnum):
    VERIFY_EMAIL = "VERIFY_EMAIL"
    RESET_PASSWORD = "RESET_PASSWORD"  # noqa: S105  # no password
    OAUTH_LOGIN = "OAUTH_LOGIN"


@dataclass(slots=True)
class OneTimeToken:
    id: uuid.UUID
    user_id: uuid.UUID
    purpose: str
    hash: bytes
    expires_at: dt.datetime
    used_at: dt.datetime | None


_token = models.OneTimeToken
_hash = bindparam("token_hash", type_=BYTEA())
_purpose = bindparam("for_purpose", type_=String())
_PROVES = _token.hash == _hash, _token.purpose == _purpose, _token.used_at.is_(None), _token.expires_at > func.now()
_OWNER = Query(
    select(*accounts.USER).join(_token, _token.user_id == models.User.id).where(*_PROVES),
    User,
)
_BY_ID = Query(
    select(*(getattr(_token, name) for name in OneTimeToken.__slots__)).where(
        _token.id == bindparam("id", type_=Uuid())
    ),
    OneTimeToken,
)
_ADD = Command(insert(_token))
_SPEND = Command(update(_token).where(*_PROVES).values(used_at=func.now()).returning(_token.user_id))
_SPEND_ALL = Command(
    update(_token)
    .where(
        _token.user_id == bindparam("user", type_=Uuid()),
        _token.purpose == any_(bindparam("purposes", type_=ARRAY(String()))),
        _token.used_at.is_(None),
    )
    .values(used_at=func.now())
)
_ADD_FOR_ADDRESS = Command(
    insert(_token)
    .from_select(
        ["id", "user_id", "purpose", "hash", "expires_at"],
        select(
            bindparam("token_id", type_=Uuid()),
            models.User.id,
            _purpose,
            _hash,
            bindparam("ends", type_=DateTime(timezone=True)),
        ).where(models.User.email == bindparam("email", type_=String())),
    )
    .returning(_token.user_id)
)


async def find_token(db: Reading | Transaction, token_id: uuid.UUID) -> OneTimeToken | None:
    return await db.first(_BY_ID, id=token_id)


async def find_owner(db: Reading | Transaction, purpose: Purpose, token_hash: bytes) -> User | None:
    """Whose it is, as long as it would still work."""
    return await db.first(_OWNER, for_purpose=purpose, token_hash=token_hash)


async def add_token(
    tx: Transaction, token_id: uuid.UUID, user_id: uuid.UUID, purpose: Purpose, token_hash: bytes, ends: dt.datetime
) -> None:
    await tx.run(_ADD, id=token_id, user_id=user_id, purpose=purpose, hash=token_hash, expires_at=ends)


async def add_token_for_address(
    tx: Transaction, token_id: uuid.UUID, email: str, purpose: Purpose, token_hash: bytes, ends: dt.datetime
) -> uuid.UUID | None:
    """Whose it is; `None`, by the same statement, when nobody has the address."""
    values = {"token_id": token_id, "email": email, "for_purpose": purpose, "token_hash": token_hash, "ends": ends}
    owner: uuid.UUID | None = await tx.scalar(_ADD_FOR_ADDRESS, **values)
    return owner


async def spend_token(tx: Transaction, purpose: Purpose, token_hash: bytes) -> bool:
    """Of any number of callers with one token, one spends it; the others, and whoever comes late, do not."""
    return await tx.scalar(_SPEND, for_purpose=purpose, token_hash=token_hash) is not None


async def spend_tokens(tx: Transaction, user_id: uuid.UUID, *purposes: Purpose) -> None:
    """All that a user has left for these purposes."""
    await tx.run(_SPEND_ALL, user=user_id, purposes=list(purposes))
