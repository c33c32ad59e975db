"""Sessions: login, refresh, logout and revocation."""

import datetime as dt
import uuid
from dataclasses import dataclass, field

from domain.auth.passwords import MAX_PASSWORD_LENGTH
from domain.auth.tokens import AccessToken, hash_token
from domain.errors import AccountDeactivated, InvalidCredentials, InvalidToken, NotFound
from domain.shop import Shop
from domain.validation import is_printable, normalize_email
from persistence import accounts, locks
from persistence.accounts import RefreshTokenRow, UserRow, Viewer
from persistence.postgres.database import Transaction
from persistence.postgres.errors import retry_on_conflict
from persistence.tables import new_id

MAX_USER_AGENT_LENGTH = 300


@dataclass(frozen=True, slots=True)
class SessionTokens:
    """The access and refresh tokens of a session."""

    access: AccessToken
    refresh: str = field(repr=False)
    refresh_expires_at: dt.datetime


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that was just created, with its user."""

    user: UserRow
    tokens: SessionTokens


@retry_on_conflict
async def login(shop: Shop, email: str, password: str, user_agent: str | None) -> NewSession:
    """Log in with email address and password.

    An unknown address, a wrong password and an account without a password take the same time.

    Raises:
        InvalidCredentials: The email address or the password is wrong.
        AccountDeactivated: The password is right, but the account is deactivated.
    """
    normalized_email = normalize_email(email)
    user = await accounts.find_user_by_email(shop.database.read_session, normalized_email) if normalized_email else None
    stored_hash = user.password_hash if user else None
    if not await shop.passwords.verify(password[: MAX_PASSWORD_LENGTH + 1], stored_hash):
        raise InvalidCredentials
    assert user is not None
    assert stored_hash is not None
    is_outdated = shop.passwords.is_outdated(stored_hash)
    new_hash = await shop.passwords.hash(password) if is_outdated else stored_hash
    async with shop.database.transaction() as tx:
        locked_user = await locks.lock_user(tx, user.id)
        if locked_user is None or locked_user.password_hash != stored_hash:  # changed since it was read
            raise InvalidCredentials
        if not locked_user.is_active:
            raise AccountDeactivated
        if is_outdated:
            await accounts.update_user(tx, user.id, password_hash=new_hash)
        return await create_session(shop, tx, user.id, user_agent)


@retry_on_conflict
async def refresh_session(shop: Shop, refresh_token: str) -> SessionTokens:
    """Exchange a refresh token for new tokens.

    Reuse of a token revokes its session, except within `Policy.refresh_grace` while its successor is unused.

    Raises:
        InvalidToken: The token is unknown or used, or its session has ended.
        AccountDeactivated: The user's account is deactivated.
    """
    async with shop.database.transaction() as tx:
        spent_token = await accounts.consume_refresh_token(tx, hash_token(refresh_token))
        if spent_token is not None:
            return await _rotate_refresh_token(shop, tx, spent_token, refresh_token)
        stored_token = await accounts.find_refresh_token(tx, hash_token(refresh_token))
        reissued_tokens = await _reissue_successor(shop, tx, stored_token, refresh_token) if stored_token else None
        if reissued_tokens is None and stored_token is not None and stored_token.used_at is not None:
            await accounts.revoke_session(
                tx, stored_token.session_id
            )  # committed, because the error is raised after the block
    if reissued_tokens is not None:
        return reissued_tokens
    if stored_token is not None and not stored_token.user_is_active:
        raise AccountDeactivated
    raise InvalidToken


@retry_on_conflict
async def logout(shop: Shop, refresh_token: str, *, everywhere: bool) -> int:
    """Revoke the token's session, or with `everywhere` all of its user's, and return the number of sessions revoked."""
    async with shop.database.transaction() as tx:
        stored_token = await accounts.find_refresh_token(tx, hash_token(refresh_token))
        if stored_token is None:
            return 0
        if everywhere and _is_session_active(stored_token):
            return await accounts.revoke_sessions(tx, stored_token.user_id)
        return await accounts.revoke_session(tx, stored_token.session_id)


@retry_on_conflict
async def revoke_session(shop: Shop, viewer: Viewer, session_id: uuid.UUID) -> int:
    """Revoke one of the viewer's sessions and return the number of sessions revoked, 0 or 1.

    Raises:
        NotFound: The viewer has no session with this id.
    """
    async with shop.database.transaction() as tx:
        if await accounts.find_session_owner(tx, session_id) != viewer.user.id:
            raise NotFound("Session", session_id)
        return await accounts.revoke_session(tx, session_id)


async def create_session(shop: Shop, tx: Transaction, user_id: uuid.UUID, user_agent: str | None) -> NewSession:
    """Create a session for the user, with its first tokens."""
    now = dt.datetime.now(dt.UTC)
    session_expires_at = now + shop.policy.session_lifetime
    session_id = await accounts.add_session(tx, user_id, _sanitize_user_agent(user_agent), session_expires_at)
    token = shop.tokens.generate_refresh_token()
    token_expires_at = min(now + shop.policy.refresh_token_lifetime, session_expires_at)
    await accounts.add_refresh_token(tx, session_id=session_id, hash=hash_token(token), expires_at=token_expires_at)
    user = await accounts.find_user(tx, user_id)
    assert user is not None
    return NewSession(user, _build_tokens(shop, user.id, user.role, session_id, token, token_expires_at))


async def _rotate_refresh_token(
    shop: Shop, tx: Transaction, parent: RefreshTokenRow, parent_token: str
) -> SessionTokens:
    child_id = new_id()
    child_token = shop.tokens.derive_refresh_token(parent_token, child_id)
    expires_at = min(dt.datetime.now(dt.UTC) + shop.policy.refresh_token_lifetime, parent.session_expires_at)
    await accounts.add_refresh_token(
        tx,
        id=child_id,
        session_id=parent.session_id,
        parent_id=parent.id,
        hash=hash_token(child_token),
        expires_at=expires_at,
    )
    await accounts.touch_session(tx, parent.session_id)
    return await _build_tokens_for_owner(shop, tx, parent, child_token, expires_at)


async def _reissue_successor(
    shop: Shop, tx: Transaction, parent: RefreshTokenRow, parent_token: str
) -> SessionTokens | None:
    """Return the successor again while it is unused, for a client that lost the response; `None` after the grace."""
    if not _is_session_active(parent) or parent.used_at is None:
        return None
    if dt.datetime.now(dt.UTC) - parent.used_at > shop.policy.refresh_grace or not shop.policy.refresh_grace:
        return None
    successor = await accounts.find_unused_successor(tx, parent.id)
    if successor is None:
        return None
    child_id, child_hash, expires_at = successor
    child_token = shop.tokens.rederive_refresh_token(parent_token, child_id, child_hash)
    return None if child_token is None else await _build_tokens_for_owner(shop, tx, parent, child_token, expires_at)


async def _build_tokens_for_owner(
    shop: Shop, tx: Transaction, parent: RefreshTokenRow, refresh_token: str, expires_at: dt.datetime
) -> SessionTokens:
    user = await accounts.find_user(tx, parent.user_id)
    assert user is not None
    return _build_tokens(shop, user.id, user.role, parent.session_id, refresh_token, expires_at)


def _build_tokens(
    shop: Shop, user_id: uuid.UUID, role: str, session_id: uuid.UUID, refresh_token: str, expires_at: dt.datetime
) -> SessionTokens:
    access = shop.tokens.issue_access_token(user_id, role, session_id, shop.policy.access_token_lifetime)
    return SessionTokens(access, refresh_token, expires_at)


def _is_session_active(token: RefreshTokenRow) -> bool:
    return (
        token.session_revoked_at is None and token.session_expires_at > dt.datetime.now(dt.UTC) and token.user_is_active
    )


def _sanitize_user_agent(user_agent: str | None) -> str | None:
    return user_agent[:MAX_USER_AGENT_LENGTH] if user_agent and is_printable(user_agent) else None
