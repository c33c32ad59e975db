"""Sessions: signing in, staying signed in, and ending it."""

import datetime as dt
import uuid
from dataclasses import dataclass, field

from domain.errors import AccountDeactivated, InvalidCredentials, InvalidToken, NotFound
from domain.passwords import MAX_LENGTH
from domain.shop import Shop
from domain.tokens import AccessToken, hash_of
from domain.validation import as_email, is_clean
from persistence import accounts
from persistence.accounts import RefreshToken, User, Viewer
from persistence.database import Transaction
from persistence.faults import retried
from persistence.models import new_id

USER_AGENT_LENGTH = 300


@dataclass(frozen=True, slots=True)
class SessionTokens:
    access: AccessToken
    refresh: str = field(repr=False)
    refresh_expires_at: dt.datetime


@dataclass(frozen=True, slots=True)
class SignedIn:
    user: User
    tokens: SessionTokens


@retried
async def login(shop: Shop, email: str, password: str, user_agent: str | None) -> SignedIn:
    """Raises `InvalidCredentials`, or `AccountDeactivated` once the password has proved right.

    The same work is done for an unknown address, a wrong password and an account without a password.
    """
    address = as_email(email)
    user = await accounts.find_user_by_email(shop.database.reading, address) if address else None
    known_hash = user.password_hash if user else None
    if not await shop.passwords.verify(password[: MAX_LENGTH + 1], known_hash):
        raise InvalidCredentials
    assert user is not None
    assert known_hash is not None
    outdated = shop.passwords.is_outdated(known_hash)
    fresh_hash = await shop.passwords.hash(password) if outdated else known_hash
    async with shop.database.transaction() as tx:
        locked = await accounts.lock_user(tx, user.id)
        if locked is None or locked.password_hash != known_hash:  # changed since it was read
            raise InvalidCredentials
        if not locked.is_active:
            raise AccountDeactivated
        if outdated:
            await accounts.set_user(tx, user.id, password_hash=fresh_hash)
        return await sign_in(shop, tx, user.id, user_agent)


@retried
async def refresh_session(shop: Shop, refresh_token: str) -> SessionTokens:
    """Raises `InvalidToken` or `AccountDeactivated`. A token presented twice ends its session, for whoever holds it."""
    async with shop.database.transaction() as tx:
        spent = await accounts.spend_refresh_token(tx, hash_of(refresh_token))
        if spent is not None:
            return await _hand_on(shop, tx, spent, refresh_token)
        known = await accounts.find_refresh_token(tx, hash_of(refresh_token))
        again = await _hand_on_again(shop, tx, known, refresh_token) if known else None
        if again is None and known is not None and known.used_at is not None:
            await accounts.revoke_session(tx, known.session_id)  # committed, though the answer is a refusal
    if again is not None:
        return again
    if known is not None and not known.user_is_active:
        raise AccountDeactivated
    raise InvalidToken


@retried
async def logout(shop: Shop, refresh_token: str, *, everywhere: bool) -> int:
    """How many sessions ended; none for a token that is unknown or whose session was over."""
    async with shop.database.transaction() as tx:
        known = await accounts.find_refresh_token(tx, hash_of(refresh_token))
        if known is None:
            return 0
        if everywhere and _is_alive(known):
            return await accounts.revoke_sessions(tx, known.user_id)
        return await accounts.revoke_session(tx, known.session_id)


@retried
async def revoke_session(shop: Shop, viewer: Viewer, session_id: uuid.UUID) -> int:
    """Raises `NotFound` for somebody else's."""
    async with shop.database.transaction() as tx:
        if await accounts.find_session_owner(tx, session_id) != viewer.user.id:
            raise NotFound("Session", session_id)
        return await accounts.revoke_session(tx, session_id)


async def sign_in(shop: Shop, tx: Transaction, user_id: uuid.UUID, user_agent: str | None) -> SignedIn:
    now = dt.datetime.now(dt.UTC)
    session_ends = now + shop.policy.session_lifetime
    session_id = await accounts.add_session(tx, user_id, _shown(user_agent), session_ends)
    token = shop.tokens.first_refresh_token()
    ends = min(now + shop.policy.refresh_token_lifetime, session_ends)
    await accounts.add_refresh_token(tx, session_id=session_id, hash=hash_of(token), expires_at=ends)
    user = await accounts.find_user(tx, user_id)
    assert user is not None
    return SignedIn(user, _tokens(shop, user.id, user.role, session_id, token, ends))


async def _hand_on(shop: Shop, tx: Transaction, parent: RefreshToken, parent_token: str) -> SessionTokens:
    child_id = new_id()
    child = shop.tokens.next_refresh_token(parent_token, child_id)
    ends = min(dt.datetime.now(dt.UTC) + shop.policy.refresh_token_lifetime, parent.session_expires_at)
    await accounts.add_refresh_token(
        tx, id=child_id, session_id=parent.session_id, parent_id=parent.id, hash=hash_of(child), expires_at=ends
    )
    await accounts.touch_session(tx, parent.session_id)
    return await _tokens_of_owner(shop, tx, parent, child, ends)


async def _hand_on_again(shop: Shop, tx: Transaction, parent: RefreshToken, parent_token: str) -> SessionTokens | None:
    """Within the grace, whoever lost the answer gets the same successor, as long as nobody has used it."""
    if not _is_alive(parent) or parent.used_at is None:
        return None
    if dt.datetime.now(dt.UTC) - parent.used_at > shop.policy.refresh_grace or not shop.policy.refresh_grace:
        return None
    successor = await accounts.find_unused_successor(tx, parent.id)
    if successor is None:
        return None
    child_id, child_hash, ends = successor
    child = shop.tokens.repeat_refresh_token(parent_token, child_id, child_hash)
    return None if child is None else await _tokens_of_owner(shop, tx, parent, child, ends)


async def _tokens_of_owner(
    shop: Shop, tx: Transaction, parent: RefreshToken, child: str, ends: dt.datetime
) -> SessionTokens:
    user = await accounts.find_user(tx, parent.user_id)
    assert user is not None
    return _tokens(shop, user.id, user.role, parent.session_id, child, ends)


def _tokens(
    shop: Shop, user_id: uuid.UUID, role: str, session_id: uuid.UUID, refresh: str, ends: dt.datetime
) -> SessionTokens:
    access = shop.tokens.access_token(user_id, role, session_id, shop.policy.access_token_lifetime)
    return SessionTokens(access, refresh, ends)


def _is_alive(token: RefreshToken) -> bool:
    return (
        token.session_revoked_at is None and token.session_expires_at > dt.datetime.now(dt.UTC) and token.user_is_active
    )


def _shown(user_agent: str | None) -> str | None:
    return user_agent[:USER_AGENT_LENGTH] if user_agent and is_clean(user_agent) else None
