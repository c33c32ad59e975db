"""Identities: who comes from a provider, and which account is theirs.

The provider's own id of the account is who someone is; an address is only a contact. It leads to an account that is
there only when both sides have verified it.
"""

import datetime as dt
import uuid
from dataclasses import dataclass

from domain import letters, one_time_tokens
from domain.accounts import ANONYMOUS, LONGEST_NAME, SHORTEST_NAME
from domain.errors import AccountDeactivated
from domain.sessions import SignedIn, sign_in
from domain.shop import Shop
from domain.validation import Checker, as_email
from domain.verification import mark_verified
from persistence import accounts, identities
from persistence import one_time_tokens as rows
from persistence.accounts import User
from persistence.database import Transaction
from persistence.faults import Conflict, retried
from persistence.identities import Provider
from persistence.letters import LetterKind
from persistence.one_time_tokens import Purpose


class EmailMissing(Exception):
    """The provider tells no address."""


class EmailUnverified(Exception):
    """The provider does not say that the address is theirs."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a provider says of someone who has just signed in there."""

    provider: Provider
    account: str
    email: str | None
    email_is_verified: bool
    name: str | None


@retried
async def sign_in_through(shop: Shop, profile: Profile, user_agent: str | None) -> SignedIn:
    """Raises `EmailMissing`, `EmailUnverified` or `AccountDeactivated`."""
    async with shop.database.transaction() as tx:
        user = await _owner_of(tx, profile)
        return await sign_in(shop, tx, user.id, user_agent)


@retried
async def code_for(shop: Shop, profile: Profile) -> str:
    """What the frontend trades for a session. Raises as `sign_in_through`."""
    async with shop.database.transaction() as tx:
        user = await _owner_of(tx, profile)
        return shop.tokens.one_time_token(await one_time_tokens.issue(shop, tx, user.id, Purpose.OAUTH_LOGIN))


@retried
async def log_in_with_code(shop: Shop, code: str, user_agent: str | None) -> SignedIn:
    """Raises `InvalidToken` or `AccountDeactivated`."""
    async with shop.database.transaction() as tx:
        user = await one_time_tokens.redeem(tx, Purpose.OAUTH_LOGIN, code)
        return await sign_in(shop, tx, user.id, user_agent)


async def _owner_of(tx: Transaction, profile: Profile) -> User:
    """The user, locked; a new one for an address that has no account yet."""
    known = await identities.find_owner(tx, profile.provider, profile.account)
    if known is not None:
        return _active(await accounts.lock_user(tx, known))
    address = _verified_address(profile)
    found = await accounts.find_user_by_email(tx, address)
    if found is None:
        return await _open_account(tx, profile, address)
    user = _active(await accounts.lock_user(tx, found.id))
    if not user.is_email_verified:
        await _take_away_keys(tx, user)
    await letters.write(tx, LetterKind.PROVIDER_LINKED, await _link(tx, user, profile), user.id)
    return user


def _verified_address(profile: Profile) -> str:
    address = as_email(profile.email) if profile.email else None
    if address is None:
        raise EmailMissing
    if not profile.email_is_verified:
        raise EmailUnverified
    return address


def _active(user: User | None) -> User:
    if user is None:
        raise Conflict
    if not user.is_active:
        raise AccountDeactivated
    return user


async def _open_account(tx: Transaction, profile: Profile, address: str) -> User:
    verified = dt.datetime.now(dt.UTC)
    name = _shown_name(profile.name)
    user_id = await accounts.add_user(tx, email=address, display_name=name, email_verified_at=verified)
    if user_id is None:  # somebody has opened it at this moment: look again
        raise Conflict
    user = await accounts.lock_user(tx, user_id)
    assert user is not None
    await _link(tx, user, profile)
    return user


async def _take_away_keys(tx: Transaction, user: User) -> None:
    """Whoever opened the account has never shown that the address is theirs: nothing they hold may open it again."""
    await accounts.set_user(tx, user.id, password_hash=None)
    await accounts.revoke_sessions(tx, user.id)
    await rows.spend_tokens(tx, user.id, *Purpose)
    await mark_verified(tx, user)


async def _link(tx: Transaction, user: User, profile: Profile) -> uuid.UUID:
    identity_id = await identities.add_identity(tx, user.id, profile.provider, profile.account)
    if identity_id is None:  # the same account has come in twice at this moment: look again
        raise Conflict
    return identity_id


def _shown_name(name: str | None) -> str:
    checker = Checker()
    shown = checker.text(("displayName",), name or "", LONGEST_NAME, shortest=SHORTEST_NAME)
    return ANONYMOUS if checker.issues else shown
