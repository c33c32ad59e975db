"""Users, their sessions and their refresh tokens."""

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import NamedTuple, NotRequired, TypedDict, Unpack

from sqlalchemy import String, Uuid, any_, bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence import tables
from persistence.postgres.database import Transaction
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Command, Query


@dataclass(slots=True)
class UserRow:
    """An account."""

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
        """Whether the user has proved that the e-mail address is theirs."""
        return self.email_verified_at is not None

    @property
    def has_password(self) -> bool:
        """Whether the user can log in with a password."""
        return self.password_hash is not None


@dataclass(slots=True)
class SessionRow:
    """A login on one device."""

    id: uuid.UUID
    user_id: uuid.UUID
    user_agent: str | None
    created_at: dt.datetime
    last_used_at: dt.datetime
    expires_at: dt.datetime
    revoked_at: dt.datetime | None


class Viewer(NamedTuple):
    """The user who sends a request, and the session that the access token belongs to."""

    user: UserRow
    session_id: uuid.UUID
    is_session_active: bool


@dataclass(slots=True)
class RefreshTokenRow:
    """A refresh token with the state of its session and of its user."""

    id: uuid.UUID
    session_id: uuid.UUID
    used_at: dt.datetime | None
    expires_at: dt.datetime
    session_expires_at: dt.datetime
    session_revoked_at: dt.datetime | None
    user_id: uuid.UUID
    user_is_active: bool


class OptionalUserColumns(TypedDict, total=False):
    """The columns of a user that have a default."""

    password_hash: str | None
    role: str
    is_active: bool
    email_verified_at: dt.datetime | None


class UserChanges(OptionalUserColumns, total=False):
    """The columns of a user that can change."""

    display_name: str


class NewRefreshToken(TypedDict):
    """The columns of a refresh token that is added; the first of a session has no parent."""

    id: NotRequired[uuid.UUID]
    session_id: uuid.UUID
    parent_id: NotRequired[uuid.UUID]
    hash: bytes
    expires_at: dt.datetime


USER_COLUMNS = tuple(getattr(tables.User, name) for name in UserRow.__slots__)
SESSION_COLUMNS = tuple(getattr(tables.Session, name) for name in SessionRow.__slots__)

_id = bindparam("id", type_=Uuid())
_users = select(*USER_COLUMNS)
_USERS_BY_ID = Query(_users.where(tables.User.id == any_(bindparam("ids", type_=ARRAY(Uuid())))), UserRow)
_USER_BY_ID = Query(_users.where(tables.User.id == _id), UserRow)
_USER_BY_EMAIL = Query(_users.where(tables.User.email == bindparam("email", type_=String())), UserRow)
_VIEWER: Query[Viewer] = Query(
    select(
        *USER_COLUMNS,
        tables.Session.id,
        (tables.Session.revoked_at.is_(None) & (tables.Session.expires_at > func.now())).label("is_session_active"),
    )
    .join(tables.User, tables.User.id == tables.Session.user_id)
    .where(tables.Session.id == _id),
    lambda *columns: Viewer(UserRow(*columns[:-2]), *columns[-2:]),
)
_IS_ACTIVE = tables.Session.revoked_at.is_(None), tables.Session.expires_at > func.now()
_user = bindparam("user", type_=Uuid())
_ADD_USER = Command(upsert(tables.User).on_conflict_do_nothing().returning(tables.User.id))
_ADD_CART = Command(insert(tables.Cart))
_UPDATE_USER = Command(update(tables.User).where(tables.User.id == _user))
_SESSIONS = Query(
    select(*SESSION_COLUMNS)
    .where(tables.Session.user_id == _id, *_IS_ACTIVE)
    .order_by(tables.Session.last_used_at.desc(), tables.Session.id.desc()),
    SessionRow,
)
_session = bindparam("session", type_=Uuid())
_ADD_SESSION = Command(insert(tables.Session).returning(tables.Session.id))
_TOUCH_SESSION = Command(update(tables.Session).where(tables.Session.id == _session).values(last_used_at=func.now()))
_revoke_active = update(tables.Session).where(*_IS_ACTIVE).values(revoked_at=func.now())
_REVOKE = Command(_revoke_active.where(tables.Session.id == _session))
_REVOKE_ALL = Command(_revoke_active.where(tables.Session.user_id == _user))
_REVOKE_OTHERS = Command(_revoke_active.where(tables.Session.user_id == _user, tables.Session.id != _session))
_SESSION_OWNER: Query[uuid.UUID] = Query(
    select(tables.Session.user_id).where(tables.Session.id == _id), lambda user_id: user_id
)


# ── Users ─────────────────────────────────────────────────────────────────────────────────


async def find_user(db: ReadSession | Transaction, user_id: uuid.UUID) -> UserRow | None:
    """Return the user, or `None` when there is no such user."""
    return await db.first(_USER_BY_ID, id=user_id)


async def find_user_by_email(db: ReadSession | Transaction, email: str) -> UserRow | None:
    """Return the user with this normalized e-mail address, or `None`."""
    return await db.first(_USER_BY_EMAIL, email=email)


async def list_users_by_id(db: ReadSession, ids: list[uuid.UUID]) -> list[UserRow]:
    """Return the users in no particular order; missing ones are left out."""
    return await db.all(_USERS_BY_ID, ids=ids)


async def add_user(
    tx: Transaction, *, email: str, display_name: str, **optional: Unpack[OptionalUserColumns]
) -> uuid.UUID | None:
    """Add a user with an empty cart and return the id, or `None` when the e-mail address is taken."""
    user_id: uuid.UUID | None = await tx.scalar(_ADD_USER, email=email, display_name=display_name, **optional)
    if user_id is not None:
        await tx.execute(_ADD_CART, user_id=user_id)
    return user_id


async def update_user(tx: Transaction, user_id: uuid.UUID, **changes: Unpack[UserChanges]) -> None:
    """Change some columns of a user."""
    await tx.execute(_UPDATE_USER, user=user_id, **changes)


# ── Sessions ──────────────────────────────────────────────────────────────────────────────


async def find_viewer(db: ReadSession, session_id: uuid.UUID) -> Viewer | None:
    """Return the session with its user, or `None` when there is no such session."""
    return await db.first(_VIEWER, id=session_id)


async def list_sessions(db: ReadSession, user_id: uuid.UUID) -> list[SessionRow]:
    """Return a user's active sessions, the last used first."""
    return await db.all(_SESSIONS, id=user_id)


async def add_session(
    tx: Transaction, user_id: uuid.UUID, user_agent: str | None, expires_at: dt.datetime
) -> uuid.UUID:
    """Start a session and return its id."""
    session_id: uuid.UUID = await tx.scalar(_ADD_SESSION, user_id=user_id, user_agent=user_agent, expires_at=expires_at)
    return session_id


async def touch_session(tx: Transaction, session_id: uuid.UUID) -> None:
    """Note that a session has just been used."""
    await tx.execute(_TOUCH_SESSION, session=session_id)


async def revoke_session(tx: Transaction, session_id: uuid.UUID) -> int:
    """End a session and return 1, or 0 when it had ended before."""
    return await tx.execute(_REVOKE, session=session_id)


async def revoke_sessions(tx: Transaction, user_id: uuid.UUID, except_session_id: uuid.UUID | None = None) -> int:
    """End all of a user's sessions, or all but one, and return how many ended."""
    if except_session_id is None:
        return await tx.execute(_REVOKE_ALL, user=user_id)
    return await tx.execute(_REVOKE_OTHERS, user=user_id, session=except_session_id)


async def find_session_owner(tx: Transaction, session_id: uuid.UUID) -> uuid.UUID | None:
    """Return the id of the session's user, or `None` when there is no such session."""
    return await tx.first(_SESSION_OWNER, id=session_id)


# ── Refresh tokens ────────────────────────────────────────────────────────────────────────

_token_columns = (
    tables.RefreshToken.id,
    tables.RefreshToken.session_id,
    tables.RefreshToken.used_at,
    tables.RefreshToken.expires_at,
    tables.Session.expires_at,
    tables.Session.revoked_at,
    tables.User.id,
    tables.User.is_active,
)
_hash = bindparam("token_hash", type_=BYTEA())
_TOKEN = Query(
    select(*_token_columns)
    .join(tables.Session, tables.Session.id == tables.RefreshToken.session_id)
    .join(tables.User, tables.User.id == tables.Session.user_id)
    .where(tables.RefreshToken.hash == _hash),
    RefreshTokenRow,
)
_CONSUME_TOKEN = Command(
    update(tables.RefreshToken)
    .where(
        tables.RefreshToken.hash == _hash,
        tables.RefreshToken.used_at.is_(None),
        tables.RefreshToken.expires_at > func.now(),
        tables.Session.id == tables.RefreshToken.session_id,
        *_IS_ACTIVE,
        tables.User.id == tables.Session.user_id,
        tables.User.is_active,
    )
    .values(used_at=func.now())
    .returning(*_token_columns)
)
_ADD_TOKEN = Command(insert(tables.RefreshToken))
_UNUSED_SUCCESSOR: Query[tuple[uuid.UUID, bytes, dt.datetime]] = Query(
    select(tables.RefreshToken.id, tables.RefreshToken.hash, tables.RefreshToken.expires_at).where(
        tables.RefreshToken.parent_id == _id, tables.RefreshToken.used_at.is_(None)
    ),
    lambda id_, hash_, expires_at: (id_, hash_, expires_at),
)


async def consume_refresh_token(tx: Transaction, token_hash: bytes) -> RefreshTokenRow | None:
    """Mark a token as used and return it, or `None` when it is unknown, used or expired.

    Of concurrent callers with the same token, exactly one gets it.
    """
    rows = await tx.fetch_records(_CONSUME_TOKEN, token_hash=token_hash)
    return RefreshTokenRow(*rows[0]) if rows else None


async def find_refresh_token(tx: Transaction, token_hash: bytes) -> RefreshTokenRow | None:
    """Return a refresh token in whatever state it is, or `None` when it is unknown."""
    return await tx.first(_TOKEN, token_hash=token_hash)


async def find_unused_successor(tx: Transaction, parent_id: uuid.UUID) -> tuple[uuid.UUID, bytes, dt.datetime] | None:
    """Return (id, hash, expiry) of the token that replaced this one, or `None` once that has been used."""
    return await tx.first(_UNUSED_SUCCESSOR, id=parent_id)


async def add_refresh_token(tx: Transaction, **token: Unpack[NewRefreshToken]) -> None:
    """Add a refresh token to a session."""
    await tx.execute(_ADD_TOKEN, **token)
