"""Password reset: a new password through an emailed link."""

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
    """Email a reset link, if the address has an account.

    The same statements run with and without an account, so that timing does not reveal which addresses have one.

    Raises:
        InvalidInput: The email address is invalid.
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
    """Set a new password, revoke every session, mark the email address as verified and log the user in.

    When it raises, nothing changes and the token stays valid.

    Raises:
        InvalidToken: The token is unknown, used or expired.
        AccountDeactivated: The account is deactivated.
        InvalidInput: The new password is invalid.
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
