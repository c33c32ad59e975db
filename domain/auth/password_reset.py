"""Resets: a forgotten password, and the link that gives a new one."""

from domain.auth import one_time_tokens
from domain.auth.email_verification import mark_email_verified
from domain.auth.passwords import validate_password
from domain.auth.sessions import NewSession, create_session
from domain.email import emails
from domain.errors import AccountDeactivated
from domain.shop import Shop
from domain.validation import validating
from persistence import accounts
from persistence import one_time_tokens as token_rows
from persistence.emails import EmailKind
from persistence.one_time_tokens import TokenPurpose
from persistence.postgres.errors import retry_on_conflict


@retry_on_conflict
async def request_password_reset(shop: Shop, email: str) -> None:
    """Raises `InvalidInput` for what is no address.

    The same statements are sent whether the address has an account or not.
    """
    with validating() as validator:
        normalized_email = validator.email(("email",), email)
    async with shop.database.transaction() as tx:
        token_id, user_id = await one_time_tokens.issue_for_email(
            shop, tx, normalized_email, TokenPurpose.RESET_PASSWORD
        )
        await emails.enqueue_or_decoy(tx, EmailKind.RESET_PASSWORD, token_id, user_id)


@retry_on_conflict
async def reset_password(shop: Shop, token: str, new_password: str, user_agent: str | None) -> NewSession:
    """Ends every session, verifies the address, to which the link went, and signs in.

    Raises `InvalidToken`, `AccountDeactivated` or `InvalidInput`: then nothing has changed and the token still works.
    """
    owner = await one_time_tokens.find_owner(shop.database.read_session, TokenPurpose.RESET_PASSWORD, token)
    if not owner.is_active:
        raise AccountDeactivated
    with validating() as validator:
        validate_password(
            validator, ("newPassword",), new_password, shop.policy.password_min_length, owner.email, owner.display_name
        )
    password_hash = await shop.passwords.hash(new_password)
    async with shop.database.transaction() as tx:
        user = await one_time_tokens.redeem(tx, TokenPurpose.RESET_PASSWORD, token)
        await token_rows.invalidate_tokens(tx, user.id, *one_time_tokens.LOGIN_PURPOSES)
        await accounts.update_user(tx, user.id, password_hash=password_hash)
        await mark_email_verified(tx, user)
        await accounts.revoke_sessions(tx, user.id)
        return await create_session(shop, tx, user.id, user_agent)
