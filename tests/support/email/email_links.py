"""The tokens of links in queued emails, and the mutations that accept them."""

from typing import Any

import asyncpg

from domain.shop import Shop
from tests.support.http.client import ApiClient

_QUEUED_TOKENS = """
SELECT token.id, token.hash FROM letters JOIN users ON users.id = user_id
JOIN one_time_tokens token ON token.id = subject_id AND token.user_id = letters.user_id
WHERE email = $1 AND kind = $2 AND purpose = $2 AND status = 'QUEUED' ORDER BY token.id
"""
_USER = "user { id email isEmailVerified hasPassword }"
REQUEST_VERIFICATION = f"""mutation {{ requestEmailVerification {{ __typename
    ... on VerificationEmailSent {{ email }} ... on EmailVerified {{ {_USER} }} }} }}"""
VERIFY_EMAIL = f"""mutation ($token: String!) {{ verifyEmail(input: {{token: $token}}) {{ __typename
    ... on EmailVerified {{ {_USER} }} ... on UserError {{ code message }} }} }}"""
REQUEST_PASSWORD_RESET = """mutation ($email: String!) { requestPasswordReset(input: {email: $email}) { __typename
    ... on PasswordResetRequested { email } ... on InvalidInput { issues { path rule } }
    ... on UserError { code message } } }"""
RESET_PASSWORD = f"""mutation ($token: String!, $password: String!) {{
    resetPassword(input: {{token: $token, newPassword: $password}}) {{ __typename
    ... on LoggedIn {{ {_USER} tokens {{ accessToken refreshToken }} }} ... on InvalidInput {{ issues {{ path rule }} }}
    ... on UserError {{ code message }} }} }}"""
LOGIN_WITH_OAUTH = f"""mutation ($code: String!) {{ loginWithOAuth(input: {{code: $code}}) {{ __typename
    ... on LoggedIn {{ {_USER} tokens {{ accessToken refreshToken }} }} ... on UserError {{ code message }} }} }}"""


async def list_link_tokens(shop: Shop, postgres: asyncpg.Connection, email: str, kind: str) -> list[str]:
    """Return the tokens in the queued emails of this kind to this address, oldest first."""
    tokens = [
        shop.tokens.rederive_one_time_token(row["id"], row["hash"])
        for row in await postgres.fetch(_QUEUED_TOKENS, email, kind)
    ]
    return [token for token in tokens if token is not None]


async def request_password_reset(client: ApiClient, email: str) -> dict[str, Any]:
    """Return the result of `requestPasswordReset`, any member of its union."""
    result: dict[str, Any] = (await client.execute(REQUEST_PASSWORD_RESET, email=email))["requestPasswordReset"]
    return result


async def request_reset_token(client: ApiClient, shop: Shop, postgres: asyncpg.Connection, email: str) -> str:
    """Request a password reset and return the token in its email."""
    assert (await request_password_reset(client, email))["__typename"] == "PasswordResetRequested"
    return (await list_link_tokens(shop, postgres, email, "RESET_PASSWORD"))[-1]


async def reset_password(client: ApiClient, token: str, password: str) -> dict[str, Any]:
    """Return the result of `resetPassword`, any member of its union."""
    result: dict[str, Any] = (await client.execute(RESET_PASSWORD, token=token, password=password))["resetPassword"]
    return result


async def verify_email(client: ApiClient, token: str) -> dict[str, Any]:
    """Return the result of `verifyEmail`, any member of its union."""
    result: dict[str, Any] = (await client.execute(VERIFY_EMAIL, token=token))["verifyEmail"]
    return result


async def login_with_oauth(client: ApiClient, code: str) -> dict[str, Any]:
    """Return the result of `loginWithOAuth`, any member of its union."""
    result: dict[str, Any] = (await client.execute(LOGIN_WITH_OAUTH, code=code))["loginWithOAuth"]
    return result
