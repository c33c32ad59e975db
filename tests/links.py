"""What stands in letters: the token of each link, made from its row as the poster makes it; and where it is taken."""

from typing import Any

import asyncpg

from domain.shop import Shop
from tests.client import Visitor

_WRITTEN = """
SELECT token.id, token.hash FROM letters JOIN users ON users.id = user_id
JOIN one_time_tokens token ON token.id = subject_id AND token.user_id = letters.user_id
WHERE email = $1 AND kind = $2 AND purpose = $2 AND status = 'QUEUED' ORDER BY token.id
"""
_USER = "user { id email isEmailVerified hasPassword }"
REQUEST_VERIFICATION = f"""mutation {{ requestEmailVerification {{ __typename
    ... on VerificationEmailSent {{ email }} ... on EmailVerified {{ {_USER} }} }} }}"""
VERIFY = f"""mutation ($token: String!) {{ verifyEmail(input: {{token: $token}}) {{ __typename
    ... on EmailVerified {{ {_USER} }} ... on UserError {{ code message }} }} }}"""
REQUEST_RESET = """mutation ($email: String!) { requestPasswordReset(input: {email: $email}) { __typename
    ... on PasswordResetRequested { email } ... on InvalidInput { issues { path rule } }
    ... on UserError { code message } } }"""
RESET = f"""mutation ($token: String!, $password: String!) {{
    resetPassword(input: {{token: $token, newPassword: $password}}) {{ __typename
    ... on LoggedIn {{ {_USER} tokens {{ accessToken refreshToken }} }} ... on InvalidInput {{ issues {{ path rule }} }}
    ... on UserError {{ code message }} }} }}"""
TRADE = f"""mutation ($code: String!) {{ loginWithOAuth(input: {{code: $code}}) {{ __typename
    ... on LoggedIn {{ {_USER} tokens {{ accessToken refreshToken }} }} ... on UserError {{ code message }} }} }}"""


async def links_to(shop: Shop, postgres: asyncpg.Connection, email: str, kind: str) -> list[str]:
    """The tokens in the letters of this kind that wait to be posted to the address, the oldest first."""
    tokens = [
        shop.tokens.repeat_one_time_token(row["id"], row["hash"]) for row in await postgres.fetch(_WRITTEN, email, kind)
    ]
    return [token for token in tokens if token is not None]


async def ask_for_reset(visitor: Visitor, email: str) -> dict[str, Any]:
    outcome: dict[str, Any] = (await visitor.ask(REQUEST_RESET, email=email))["requestPasswordReset"]
    return outcome


async def reset_link(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, email: str) -> str:
    """The token in the letter that was just asked for."""
    assert (await ask_for_reset(visitor, email))["__typename"] == "PasswordResetRequested"
    return (await links_to(shop, postgres, email, "RESET_PASSWORD"))[-1]


async def reset(visitor: Visitor, token: str, password: str) -> dict[str, Any]:
    outcome: dict[str, Any] = (await visitor.ask(RESET, token=token, password=password))["resetPassword"]
    return outcome


async def verify(visitor: Visitor, token: str) -> dict[str, Any]:
    outcome: dict[str, Any] = (await visitor.ask(VERIFY, token=token))["verifyEmail"]
    return outcome


async def trade(visitor: Visitor, code: str) -> dict[str, Any]:
    outcome: dict[str, Any] = (await visitor.ask(TRADE, code=code))["loginWithOAuth"]
    return outcome
