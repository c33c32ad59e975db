"""OAuth login: finds, creates or links the user account of a provider account.

The provider's account id identifies the user, not the email address. An email address links an existing account only
when the provider has verified it; an account with an unverified address loses its credentials.
"""

import datetime as dt
import uuid
from dataclasses import dataclass

from domain.accounts import DEFAULT_DISPLAY_NAME, MAX_NAME_LENGTH
from domain.auth import one_time_tokens
from domain.auth.email_verification import mark_email_verified
from domain.auth.sessions import NewSession, create_session
from domain.email import emails
from domain.errors import AccountDeactivated
from domain.shop import Shop
from domain.text import is_blank, normalize_line, remove_invisible_characters, shorten
from domain.validation import normalize_email
from persistence import accounts, linked_accounts, locks
from persistence import one_time_tokens as token_rows
from persistence.accounts import UserRow
from persistence.emails import EmailKind
from persistence.linked_accounts import Provider
from persistence.one_time_tokens import TokenPurpose
from persistence.postgres.database import Transaction
from persistence.postgres.errors import Conflict, retry_on_conflict


class EmailMissing(Exception):
    """The provider reports no valid email address."""


class EmailUnverified(Exception):
    """The provider has not verified the email address."""


@dataclass(frozen=True, slots=True)
class ProviderProfile:
    """What a provider reports about an account that has just logged in there."""

    provider: Provider
    account_id: str
    email: str | None
    is_email_verified: bool
    name: str | None


@retry_on_conflict
async def log_in_with_provider(shop: Shop, profile: ProviderProfile, user_agent: str | None) -> NewSession:
    """Log in the user of the provider account, who is created or linked if necessary.

    Raises:
        EmailMissing: The provider reports no valid email address.
        EmailUnverified: The provider has not verified the email address.
        AccountDeactivated: The user's account is deactivated.
    """
    async with shop.database.transaction() as tx:
        user = await _get_or_create_user(tx, profile)
        return await create_session(shop, tx, user.id, user_agent)


@retry_on_conflict
async def issue_login_code(shop: Shop, profile: ProviderProfile) -> str:
    """Return a one-time code that the frontend exchanges for a session.

    Raises:
        EmailMissing: The provider reports no valid email address.
        EmailUnverified: The provider has not verified the email address.
        AccountDeactivated: The user's account is deactivated.
    """
    async with shop.database.transaction() as tx:
        user = await _get_or_create_user(tx, profile)
        return shop.tokens.derive_one_time_token(
            await one_time_tokens.issue(shop, tx, user.id, TokenPurpose.OAUTH_LOGIN)
        )


@retry_on_conflict
async def log_in_with_code(shop: Shop, code: str, user_agent: str | None) -> NewSession:
    """Exchange a one-time code for a session.

    Raises:
        InvalidToken: The code is unknown, used or expired.
        AccountDeactivated: The user's account is deactivated.
    """
    async with shop.database.transaction() as tx:
        user = await one_time_tokens.redeem(tx, TokenPurpose.OAUTH_LOGIN, code)
        return await create_session(shop, tx, user.id, user_agent)


async def _get_or_create_user(tx: Transaction, profile: ProviderProfile) -> UserRow:
    """Return the locked user of the provider account; link or create the user if necessary."""
    user_id = await linked_accounts.find_owner(tx, profile.provider, profile.account_id)
    if user_id is not None:
        return _require_active(await locks.lock_user(tx, user_id))
    email = _require_verified_email(profile)
    existing_user = await accounts.find_user_by_email(tx, email)
    if existing_user is None:
        return await _create_user(tx, profile, email)
    user = _require_active(await locks.lock_user(tx, existing_user.id))
    if not user.is_email_verified:
        await _revoke_credentials(tx, user)
    await emails.enqueue(tx, EmailKind.PROVIDER_LINKED, await _link_account(tx, user, profile), user.id)
    return user


def _require_verified_email(profile: ProviderProfile) -> str:
    email = normalize_email(profile.email) if profile.email else None
    if email is None:
        raise EmailMissing
    if not profile.is_email_verified:
        raise EmailUnverified
    return email


def _require_active(user: UserRow | None) -> UserRow:
    if user is None:
        raise Conflict
    if not user.is_active:
        raise AccountDeactivated
    return user


async def _create_user(tx: Transaction, profile: ProviderProfile, email: str) -> UserRow:
    verified_at = dt.datetime.now(dt.UTC)
    display_name = _sanitize_display_name(profile.name)
    user_id = await accounts.add_user(tx, email=email, display_name=display_name, email_verified_at=verified_at)
    if user_id is None:  # created concurrently; the retry finds it
        raise Conflict
    user = await locks.lock_user(tx, user_id)
    assert user is not None
    await _link_account(tx, user, profile)
    return user


async def _revoke_credentials(tx: Transaction, user: UserRow) -> None:
    """Revoke password, sessions and tokens of a registrant who never proved to own the address; mark it as verified."""
    await accounts.update_user(tx, user.id, password_hash=None)
    await accounts.revoke_sessions(tx, user.id)
    await token_rows.invalidate_tokens(tx, user.id, *TokenPurpose)
    await mark_email_verified(tx, user)


async def _link_account(tx: Transaction, user: UserRow, profile: ProviderProfile) -> uuid.UUID:
    linked_account_id = await linked_accounts.add_linked_account(tx, user.id, profile.provider, profile.account_id)
    if linked_account_id is None:  # linked concurrently; the retry finds it
        raise Conflict
    return linked_account_id


def _sanitize_display_name(name: str | None) -> str:
    """Return the provider's name without invisible characters, shortened if necessary, or the default name."""
    display_name = normalize_line(remove_invisible_characters(" ".join((name or "").split())))
    return DEFAULT_DISPLAY_NAME if is_blank(display_name) else shorten(display_name, MAX_NAME_LENGTH)
