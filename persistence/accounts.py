"""Users, their sessions and their refresh tokens."""

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import String, Uuid, any_, bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence import models
from persistence.database import Reading, Transaction
from persistence.query import Command, Query


@dataclass(slots=True)
class User:
    id: uuid.UUID
    email: str
    display_name: str
    password_hash: str | None = field(repr=False)
    role: str
    is_active: bool
    created_at: dt.datetime
    email_verified_at: dt.datetime | None

    @property
    def is_email_verified(self) -> bool:
        return self.email_verified_at is not None

    @property
    def has_password(self) -> bool:
        return self.password_hash is not None


@dataclass(slots=True)
class Session:
    id: uuid.UUID
    user_id: uuid.UUID
    user_agent: str | None
    created_at: dt.datetime
    last_used_at: dt.datetime
    expires_at: dt.datetime
    revoked_at: dt.datetime | None


class Viewer(NamedTuple):
    """Who asks, and through which session."""

    user: User
    session_id: uuid.UUID
    session_alive: bool


@dataclass(slots=True)
class RefreshToken:
    """A refresh token with what is known of its session, its owner and its successor."""

    id: uuid.UUID
    session_id: uuid.UUID
    used_at: dt.datetime | None
    expires_at: dt.datetime
    session_expires_at: dt.datetime
    session_revoked_at: dt.datetime | None
    user_id: uuid.UUID
    user_is_active: bool


USER = tuple(getattr(models.User, name) for name in User.__slots__)
SESSION = tuple(getattr(models.Session, name) for name in Session.__slots__)

_id = bindparam("id", type_=Uuid())
_users = select(*USER)
_USERS_BY_ID = Query(_users.where(models.User.id == any_(bindparam("ids", type_=ARRAY(Uuid())))), User)
_USER_BY_ID = Query(_users.where(models.User.id == _id), User)
_LOCKED_USER = Query(_users.where(models.User.id == _id).with_for_update(key_share=True), User)
_USER_BY_EMAIL = Query(_users.where(models.User.email == bindparam("email", type_=String())), User)
_VIEWER: Query[Viewer] = Query(
    select(
        *USER,
        models.Session.id,
        (models.Session.revoked_at.is_(None) & (models.Session.expires_at > func.now())).label("alive"),
    )
    .join(models.User, models.User.id == models.Session.user_id)
    .where(models.Session.id == _id),
    lambda *columns: Viewer(User(*columns[:-2]), *columns[-2:]),
)
_LIVE = models.Session.revoked_at.is_(None), models.Session.expires_at > func.now()
_user = bindparam("user", type_=Uuid())
_ADD_USER = Command(upsert(models.User).on_conflict_do_nothing().returning(models.User.id))
_ADD_CART = Command(insert(models.Cart))
_SET_USER = Command(update(models.User).where(models.User.id == _user))
_SESSIONS = Query(
    select(*SESSION)
    .where(models.Session.user_id == _id, *_LIVE)
    .order_by(models.Session.last_used_at.desc(), models.Session.id.desc()),
    Session,
)


_session = bindparam("session", type_=Uuid())
_ADD_SESSION = Command(insert(models.Session).returning(models.Session.id))
_TOUCH = Command(update(models.Session).where(models.Session.id == _session).values(last_used_at=func.now()))
_revoke = update(models.Session).where(*_LIVE).values(revoked_at=func.now())
_REVOKE = Command(_revoke.where(models.Session.id == _session))
_REVOKE_ALL = Command(_revoke.where(models.Session.user_id == _user))
_REVOKE_OTHERS = Command(_revoke.where(models.Session.user_id == _user, models.Session.id != _session))
_SESSION_OWNER: Query[uuid.UUID] = Query(
    select(models.Session.user_id).where(models.Session.id == _id), lambda user_id: user_id
)


# ── Users ─────────────────────────────────────────────────────────────────────────────────


async def find_user(db: Reading | Transaction, user_id: uuid.UUID) -> User | None:
    return await db.first(_USER_BY_ID, id=user_id)


async def find_user_by_email(db: Reading | Transaction, email: str) -> User | None:
    return await db.first(_USER_BY_EMAIL, email=email)


async def list_users_by_id(reading: Reading, ids: list[uuid.UUID]) -> list[User]:
    return await reading.all(_USERS_BY_ID, ids=ids)


async def lock_user(tx: Transaction, user_id: uuid.UUID) -> User | None:
    return await tx.first(_LOCKED_USER, id=user_id)


async def add_user(tx: Transaction, **details: Any) -> uuid.UUID | None:
    """With an empty cart. `None` when the address is taken."""
    user_id: uuid.UUID | None = await tx.scalar(_ADD_USER, **details)
    if user_id is not None:
        await tx.run(_ADD_CART, user_id=user_id)
    return user_id


async def set_user(tx: Transaction, user_id: uuid.UUID, **details: Any) -> None:
    await tx.run(_SET_USER, user=user_id, **details)


# ── Sessions ──────────────────────────────────────────────────────────────────────────────


async def find_viewer(reading: Reading, session_id: uuid.UUID) -> Viewer | None:
    return await reading.first(_VIEWER, id=session_id)


async def list_sessions(reading: Reading, user_id: uuid.UUID) -> list[Session]:
    """Those that are alive, the latest used first."""
    return await reading.all(_SESSIONS, id=user_id)


async def add_session(
    tx: Transaction, user_id: uuid.UUID, user_agent: str | None, expires_at: dt.datetime
) -> uuid.UUID:
    session_id: uuid.UUID = await tx.scalar(_ADD_SESSION, user_id=user_id, user_agent=user_agent, expires_at=expires_at)
    return session_id


async def touch_session(tx: Transaction, session_id: uuid.UUID) -> None:
    await tx.run(_TOUCH, session=session_id)


async def revoke_session(tx: Transaction, session_id: uuid.UUID) -> int:
    """How many ended: none when it had ended before."""
    return await tx.run(_REVOKE, session=session_id)


async def revoke_sessions(tx: Transaction, user_id: uuid.UUID, keep: uuid.UUID | None = None) -> int:
    """All of a user's sessions, or all but one; how many ended."""
    if keep is None:
        return await tx.run(_REVOKE_ALL, user=user_id)
    return await tx.run(_REVOKE_OTHERS, user=user_id, session=keep)


async def find_session_owner(tx: Transaction, session_id: uuid.UUID) -> uuid.UUID | None:
    return await tx.first(_SESSION_OWNER, id=session_id)


# ── Refresh tokens ────────────────────────────────────────────────────────────────────────

_token_columns = (
    models.RefreshToken.id,
    models.RefreshToken.session_id,
    models.RefreshToken.used_at,
    models.RefreshToken.expires_at,
    models.Session.expires_at,
    models.Session.revoked_at,
    models.User.id,
    models.User.is_active,
)
_hash = bindparam("token_hash", type_=BYTEA())
_TOKEN = Query(
    select(*_token_columns)
    .join(models.Session, models.Session.id == models.RefreshToken.session_id)
    .join(models.User, models.User.id == models.Session.user_id)
    .where(models.RefreshToken.hash == _hash),
    RefreshToken,
)
_SPEND = Command(
    update(models.RefreshToken)
    .where(
        models.RefreshToken.hash == _hash,
        models.RefreshToken.used_at.is_(None),
        models.RefreshToken.expires_at > func.now(),
        models.Session.id == models.RefreshToken.session_id,
        *_LIVE,
        models.User.id == models.Session.user_id,
        models.User.is_active,
    )
    .values(used_at=func.now())
    .returning(*_token_columns)
)
_ADD_TOKEN = Command(insert(models.RefreshToken))
_SUCCESSOR: Query[tuple[uuid.UUID, bytes, dt.datetime]] = Query(
    select(models.RefreshToken.id, models.RefreshToken.hash, models.RefreshToken.expires_at).where(
        models.RefreshToken.parent_id == _id, models.RefreshToken.used_at.is_(None)
    ),
    lambda id_, hash_, expires_at: (id_, hash_, expires_at),
)


async def spend_refresh_token(tx: Transaction, token_hash: bytes) -> RefreshToken | None:
    """Of any number of callers with one token, one gets it; the others, and whoever comes late, get `None`."""
    rows = await tx.rows(_SPEND, token_hash=token_hash)
    return RefreshToken(*rows[0]) if rows else None


async def find_refresh_token(tx: Transaction, token_hash: bytes) -> RefreshToken | None:
    return await tx.first(_TOKEN, token_hash=token_hash)


async def find_unused_successor(tx: Transaction, parent_id: uuid.UUID) -> tuple[uuid.UUID, bytes, dt.datetime] | None:
    """The token that was given for this one, while it has not been used: id, hash and end."""
    return await tx.first(_SUCCESSOR, id=parent_id)


async def add_refresh_token(tx: Transaction, **details: Any) -> None:
    await tx.run(_ADD_TOKEN, **details)
