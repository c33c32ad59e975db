"""Resets: a forgotten password, and the link that gives a new one."""

from domain import letters, one_time_tokens
from domain.errors import AccountDeactivated
from domain.passwords import check_password
from domain.sessions import SignedIn, sign_in
from domain.shop import Shop
from domain.validation import checking
from domain.verification import mark_verified
from persistence import accounts
from persistence import one_time_tokens as rows
from persistence.faults import retried
from persistence.letters import LetterKind
from persistence.one_time_tokens import Purpose


@retried
async def request_password_reset(shop: Shop, email: str) -> None:
    """Raises `InvalidInput` for what is no address.

    The same statements are sent whether the address has an account or not.
    """
    with checking() as check:
        address = check.email(("email",), email)
    async with shop.database.transaction() as tx:
        token_id, owner = await one_time_tokens.issue_for_address(shop, tx, address, Purpose.RESET_PASSWORD)
        await letters.write_or_pretend(tx, LetterKind.RESET_PASSWORD, token_id, owner)


@retried
async def reset_password(shop: Shop, token: str, new_password: str, user_agent: str | None) -> SignedIn:
    """Ends every session, verifies the address, to which the link went, and signs in.

    Raises `InvalidToken`, `AccountDeactivated` or `InvalidInput`: then nothing has changed and the token still works.
    """
    owner = await one_time_tokens.owner_of(shop.database.reading, Purpose.RESET_PASSWORD, token)
    if not owner.is_active:
        raise AccountDeactivated
    with checking() as check:
        check_password(
            check, ("newPassword",), new_password, shop.policy.password_min_length, owner.email, owner.display_name
        )
    password_hash = await shop.passwords.hash(new_password)
    async with shop.database.transaction() as tx:
        user = await one_time_tokens.redeem(tx, Purpose.RESET_PASSWORD, token)
        await rows.spend_tokens(tx, user.id, *one_time_tokens.OPENS_A_SESSION)
        await accounts.set_user(tx, user.id, password_hash=password_hash)
        await mark_verified(tx, user)
        await accounts.revoke_sessions(tx, user.id)
        return await sign_in(shop, tx, user.id, user_agent)
