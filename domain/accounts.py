"""Accounts: registration, profile, password, deactivation and administrators."""

import datetime as dt
import uuid

from domain.auth.email_verification import send_verification_email
from domain.auth.one_time_tokens import LOGIN_PURPOSES
from domain.auth.passwords import MAX_PASSWORD_LENGTH, validate_password
from domain.auth.sessions import NewSession, create_session
from domain.errors import EmailTaken, InvalidCredentials, NotFound, ProtectedAccount
from domain.shop import Shop
from domain.validation import Validator, normalize_email, validating
from persistence import accounts, locks
from persistence.accounts import OptionalUserColumns, UserRow, Viewer
from persistence.one_time_tokens import invalidate_tokens
from persistence.postgres.errors import Conflict, retry_on_conflict

MAX_NAME_LENGTH = 50
DEFAULT_DISPLAY_NAME = "Reader"


@retry_on_conflict
async def register(
    shop: Shop, email: str, password: str, display_name: str | None, user_agent: str | None
) -> NewSession:
    """Create an account, enqueue its verification email and log the user in.

    Raises:
        InvalidInput: The email address, password or display name is invalid.
        EmailTaken: An account with this email address exists.
    """
    with validating() as validator:
        normalized_email = validator.email(("email",), email)
        name = DEFAULT_DISPLAY_NAME if display_name is None else _validate_display_name(validator, display_name)
        validate_password(
            validator, ("password",), password, shop.policy.password_min_length, email, display_name or ""
        )
    if await accounts.find_user_by_email(shop.database.read_session, normalized_email) is not None:
        raise EmailTaken
    password_hash = await shop.passwords.hash(password)
    async with shop.database.transaction() as tx:
        user_id = await accounts.add_user(tx, email=normalized_email, display_name=name, password_hash=password_hash)
        if user_id is None:
            raise EmailTaken
        await send_verification_email(shop, tx, user_id)
        return await create_session(shop, tx, user_id, user_agent)


# ── Profile and password ──────────────────────────────────────────────────────────────────


@retry_on_conflict
async def update_profile(shop: Shop, viewer: Viewer, display_name: str | None) -> UserRow:
    """Set the viewer's display name, or leave it unchanged when it is `None`, and return the user.

    Raises:
        InvalidInput: The display name is invalid.
    """
    async with shop.database.transaction() as tx:
        if display_name is not None:
            with validating() as validator:
                name = _validate_display_name(validator, display_name)
            await accounts.update_user(tx, viewer.user.id, display_name=name)
        user = await accounts.find_user(tx, viewer.user.id)
        assert user is not None
        return user


@retry_on_conflict
async def change_password(shop: Shop, viewer: Viewer, current_password: str | None, new_password: str) -> int:
    """Change the viewer's password, revoke all other sessions and return their number.

    An account without a password needs no `current_password`.

    Raises:
        InvalidInput: The new password is invalid.
        InvalidCredentials: The current password is wrong.
    """
    user = viewer.user
    with validating() as validator:
        validate_password(
            validator, ("newPassword",), new_password, shop.policy.password_min_length, user.email, user.display_name
        )
    if user.password_hash is not None and not await shop.passwords.verify(
        (current_password or "")[: MAX_PASSWORD_LENGTH + 1], user.password_hash
    ):
        raise InvalidCredentials("The current password is wrong.")
    new_password_hash = await shop.passwords.hash(new_password)
    async with shop.database.transaction() as tx:
        locked_user = await locks.lock_user(tx, user.id)
        if locked_user is None or locked_user.password_hash != user.password_hash:  # changed concurrently
            raise InvalidCredentials("The current password is wrong.")
        await accounts.update_user(tx, user.id, password_hash=new_password_hash)
        await invalidate_tokens(tx, user.id, *LOGIN_PURPOSES)
        return await accounts.revoke_sessions(tx, user.id, except_session_id=viewer.session_id)


def _validate_display_name(validator: Validator, name: str) -> str:
    return validator.text(("displayName",), name, MAX_NAME_LENGTH)


def is_owner_or_admin(viewer: UserRow, owner_id: uuid.UUID) -> bool:
    """Return whether the viewer may see what belongs to this user."""
    return viewer.id == owner_id or viewer.role == "ADMIN"


# ── Administrators ────────────────────────────────────────────────────────────────────────


@retry_on_conflict
async def deactivate(shop: Shop, user_id: uuid.UUID) -> tuple[UserRow, int]:
    """Deactivate the account, revoke its sessions, and return the user and the number of sessions.

    Raises:
        NotFound: No account has this id.
        ProtectedAccount: The account belongs to an administrator.
    """
    async with shop.database.transaction() as tx:
        user = await locks.lock_user(tx, user_id)
        if user is None:
            raise NotFound("User", user_id)
        if user.role == "ADMIN":
            raise ProtectedAccount(user)
        await accounts.update_user(tx, user_id, is_active=False)
        user.is_active = False
        return user, await accounts.revoke_sessions(tx, user_id)


@retry_on_conflict
async def reactivate(shop: Shop, user_id: uuid.UUID) -> UserRow:
    """Reactivate the account and return the user.

    Raises:
        NotFound: No account has this id.
    """
    async with shop.database.transaction() as tx:
        user = await locks.lock_user(tx, user_id)
        if user is None:
            raise NotFound("User", user_id)
        await accounts.update_user(tx, user_id, is_active=True)
        user.is_active = True
        return user


@retry_on_conflict
async def grant_admin(shop: Shop, email: str, password: str | None) -> tuple[UserRow, bool]:
    """Make the account an administrator, and return the administrator and whether the account is new.

    An existing account is reactivated. A given password replaces the old one, revokes every session and marks the
    email address as verified, so that an earlier registrant of the address loses access.

    Raises:
        InvalidInput: The email address or the password is invalid.
        InvalidCredentials: The account does not exist, and no password was given to create it.
    """
    with validating() as validator:
        normalized_email = validator.email(("email",), email)
        if password is not None:
            validate_password(validator, ("password",), password, shop.policy.password_min_length, normalized_email)
    password_hash = None if password is None else await shop.passwords.hash(password)
    columns: OptionalUserColumns = {"role": "ADMIN", "is_active": True}
    if password_hash is not None:  # the operator vouches for the address
        columns |= {"password_hash": password_hash, "email_verified_at": dt.datetime.now(dt.UTC)}
    async with shop.database.transaction() as tx:
        user = await accounts.find_user_by_email(tx, normalized_email)
        if user is None and password_hash is None:
            raise InvalidCredentials("This account does not exist. Set a password to create it.")
        user_id = (
            user.id
            if user
            else await accounts.add_user(tx, email=normalized_email, display_name="Administrator", **columns)
        )
        if user is not None:
            await accounts.update_user(tx, user.id, **columns)
            if password_hash is not None:
                await accounts.revoke_sessions(tx, user.id)
                await invalidate_tokens(tx, user.id, *LOGIN_PURPOSES)
        if user_id is None:
            raise Conflict  # the address was registered concurrently
        administrator = await accounts.find_user(tx, user_id)
        assert administrator is not None
        return administrator, user is None


@retry_on_conflict
async def revoke_admin(shop: Shop, email: str) -> UserRow | None:
    """Make the administrator a regular user and return the user, or `None` when there is no such administrator."""
    normalized_email = normalize_email(email)
    async with shop.database.transaction() as tx:
        user = await accounts.find_user_by_email(tx, normalized_email) if normalized_email else None
        if user is None or user.role != "ADMIN":
            return None
        await accounts.update_user(tx, user.id, role="USER")
        user.role = "USER"
        return user
