"""Accounts: opening one, what its owner may change, and who may come in."""

import datetime as dt
import uuid
from typing import Any

from domain.errors import EmailTaken, InvalidCredentials, NotFound, ProtectedAccount
from domain.one_time_tokens import OPENS_A_SESSION
from domain.passwords import MAX_LENGTH, check_password
from domain.sessions import SignedIn, sign_in
from domain.shop import Shop
from domain.validation import Checker, as_email, checking
from domain.verification import send_link
from persistence import accounts
from persistence.accounts import User, Viewer
from persistence.faults import Conflict, retried
from persistence.one_time_tokens import spend_tokens

SHORTEST_NAME, LONGEST_NAME = 2, 50
ANONYMOUS = "Reader"


@retried
async def register(shop: Shop, email: str, password: str, display_name: str | None, user_agent: str | None) -> SignedIn:
    """Raises `InvalidInput` or `EmailTaken`."""
    with checking() as check:
        address = check.email(("email",), email)
        name = ANONYMOUS if display_name is None else _display_name(check, display_name)
        check_password(check, ("password",), password, shop.policy.password_min_length, email, display_name or "")
    if await accounts.find_user_by_email(shop.database.reading, address) is not None:
        raise EmailTaken
    password_hash = await shop.passwords.hash(password)
    async with shop.database.transaction() as tx:
        user_id = await accounts.add_user(tx, email=address, display_name=name, password_hash=password_hash)
        if user_id is None:
            raise EmailTaken
        await send_link(shop, tx, user_id)
        return await sign_in(shop, tx, user_id, user_agent)


# ── Profile and password ──────────────────────────────────────────────────────────────────


@retried
async def update_profile(shop: Shop, viewer: Viewer, display_name: str | None) -> User:
    """`None` leaves the name as it is. Raises `InvalidInput`."""
    async with shop.database.transaction() as tx:
        if display_name is not None:
            with checking() as check:
                name = _display_name(check, display_name)
            await accounts.set_user(tx, viewer.user.id, display_name=name)
        user = await accounts.find_user(tx, viewer.user.id)
        assert user is not None
        return user


@retried
async def change_password(shop: Shop, viewer: Viewer, current: str | None, new: str) -> int:
    """How many other sessions ended. Raises `InvalidInput` or `InvalidCredentials`."""
    user = viewer.user
    with checking() as check:
        check_password(check, ("newPassword",), new, shop.policy.password_min_length, user.email, user.display_name)
    if user.password_hash is not None and not await shop.passwords.verify(
        (current or "")[: MAX_LENGTH + 1], user.password_hash
    ):
        raise InvalidCredentials("The current password is wrong.")
    new_hash = await shop.passwords.hash(new)
    async with shop.database.transaction() as tx:
        locked = await accounts.lock_user(tx, user.id)
        if locked is None or locked.password_hash != user.password_hash:  # changed while this one was being checked
            raise InvalidCredentials("The current password is wrong.")
        await accounts.set_user(tx, user.id, password_hash=new_hash)
        await spend_tokens(tx, user.id, *OPENS_A_SESSION)
        return await accounts.revoke_sessions(tx, user.id, keep=viewer.session_id)


def _display_name(check: Checker, name: str) -> str:
    return check.text(("displayName",), name, LONGEST_NAME, shortest=SHORTEST_NAME)


# ── Administrators ────────────────────────────────────────────────────────────────────────


@retried
async def deactivate(shop: Shop, user_id: uuid.UUID) -> tuple[User, int]:
    """The user, and how many sessions ended. Raises `NotFound` or `ProtectedAccount`."""
    async with shop.database.transaction() as tx:
        user = await accounts.lock_user(tx, user_id)
        if user is None:
            raise NotFound("User", user_id)
        if user.role == "ADMIN":
            raise ProtectedAccount(user)
        await accounts.set_user(tx, user_id, is_active=False)
        user.is_active = False
        return user, await accounts.revoke_sessions(tx, user_id)


@retried
async def reactivate(shop: Shop, user_id: uuid.UUID) -> User:
    """Raises `NotFound`."""
    async with shop.database.transaction() as tx:
        user = await accounts.lock_user(tx, user_id)
        if user is None:
            raise NotFound("User", user_id)
        await accounts.set_user(tx, user_id, is_active=True)
        user.is_active = True
        return user


@retried
async def make_administrator(shop: Shop, email: str, password: str | None) -> tuple[User, bool]:
    """The administrator, and whether the account is new.

    An account that exists becomes an administrator's, is let in again, and with a password given loses its old one
    and every session: whoever registered the address first is out. Raises `InvalidInput`; `InvalidCredentials` when
    there is no such account and no password to make it with.
    """
    with checking() as check:
        address = check.email(("email",), email)
        if password is not None:
            check_password(check, ("password",), password, shop.policy.password_min_length, address)
    password_hash = None if password is None else await shop.passwords.hash(password)
    details: dict[str, Any] = {"role": "ADMIN", "is_active": True}
    if password_hash is not None:  # whoever gives it vouches for the address
        details |= {"password_hash": password_hash, "email_verified_at": dt.datetime.now(dt.UTC)}
    async with shop.database.transaction() as tx:
        user = await accounts.find_user_by_email(tx, address)
        if user is None and password_hash is None:
            raise InvalidCredentials("There is no such account, and a new one needs a password.")
        user_id = (
            user.id if user else await accounts.add_user(tx, email=address, display_name="Administrator", **details)
        )
        if user is not None:
            await accounts.set_user(tx, user.id, **details)
            if password_hash is not None:
                await accounts.revoke_sessions(tx, user.id)
                await spend_tokens(tx, user.id, *OPENS_A_SESSION)
        if user_id is None:
            raise Conflict  # somebody registered the address a moment ago
        made = await accounts.find_user(tx, user_id)
        assert made is not None
        return made, user is None


@retried
async def unmake_administrator(shop: Shop, email: str) -> User | None:
    """The user they are again; `None` when there is no such administrator."""
    address = as_email(email)
    async with shop.database.transaction() as tx:
        user = await accounts.find_user_by_email(tx, address) if address else None
        if user is None or user.role != "ADMIN":
            return None
        await accounts.set_user(tx, user.id, role="USER")
        user.role = "USER"
        return user
