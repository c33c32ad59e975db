"""Registering, logging in, refreshing and logging out, as a frontend does."""

from dataclasses import dataclass
from typing import Any

from tests.support.http.client import ApiClient
from tests.support.shop.factories import PASSWORD

_TOKENS = "tokens { accessToken refreshToken accessTokenExpiresAt refreshTokenExpiresAt }"
REGISTER = f"""mutation ($input: RegisterInput!) {{ register(input: $input) {{ __typename
    ... on LoggedIn {{ user {{ id email displayName role }} {_TOKENS} }}
    ... on InvalidInput {{ issues {{ path rule message }} }}
    ... on UserError {{ code message }} }} }}"""
LOGIN = f"""mutation ($email: String!, $password: String!) {{ login(input: {{email: $email, password: $password}}) {{
    __typename ... on LoggedIn {{ user {{ id email }} {_TOKENS} }} ... on UserError {{ code message }} }} }}"""
REFRESH = f"""mutation ($token: String) {{ refreshSession(input: {{refreshToken: $token}}) {{
    __typename ... on SessionRefreshed {{ {_TOKENS} }} ... on UserError {{ code message }} }} }}"""
LOGOUT = """mutation ($token: String, $everywhere: Boolean! = false) {
    logout(input: {refreshToken: $token, everywhere: $everywhere}) { ... on LoggedOut { sessionsEnded } } }"""
ME_QUERY = "{ me { id email } }"


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The tokens that a signed-in client stores."""

    access_token: str
    refresh_token: str

    @classmethod
    def from_result(cls, result: dict[str, Any]) -> "TokenPair":
        """Return the tokens of a `LoggedIn` or `SessionRefreshed`."""
        return cls(result["tokens"]["accessToken"], result["tokens"]["refreshToken"])


async def try_login(client: ApiClient, email: str, password: str = PASSWORD) -> dict[str, Any]:
    """Return the result of `login`, any member of its union."""
    result: dict[str, Any] = (await client.execute(LOGIN, email=email, password=password))["login"]
    return result


async def log_in(client: ApiClient, email: str, password: str = PASSWORD) -> TokenPair:
    """Log in, which must succeed, and return the tokens."""
    result = await try_login(client, email, password)
    assert result["__typename"] == "LoggedIn", result
    return TokenPair.from_result(result)


async def try_refresh(client: ApiClient, refresh_token: str) -> dict[str, Any]:
    """Return the result of `refreshSession`, any member of its union."""
    result: dict[str, Any] = (await client.execute(REFRESH, token=refresh_token))["refreshSession"]
    return result


async def refresh_session(client: ApiClient, tokens: TokenPair) -> TokenPair:
    """Refresh the session, which must succeed, and return the new tokens."""
    result = await try_refresh(client, tokens.refresh_token)
    assert result["__typename"] == "SessionRefreshed", result
    return TokenPair.from_result(result)


async def log_out(client: ApiClient, refresh_token: str, *, everywhere: bool = False) -> int:
    """Log out and return the number of sessions that ended."""
    result = (await client.execute(LOGOUT, token=refresh_token, everywhere=everywhere))["logout"]
    session_count: int = result["sessionsEnded"]
    return session_count


async def is_authenticated(client: ApiClient, access_token: str) -> bool:
    """Return whether the access token is accepted; if not, the error must be `UNAUTHENTICATED`."""
    response = await client.with_token(access_token).execute(ME_QUERY)
    assert response.data is not None
    if response.data["me"] is None:
        assert response.codes == ["UNAUTHENTICATED"]
        return False
    return True
