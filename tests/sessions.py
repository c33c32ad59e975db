"""Signing in and staying signed in, as a frontend does it: the documents, and what is held afterwards."""

from dataclasses import dataclass
from typing import Any

from tests.client import Visitor
from tests.factories import PASSWORD

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
ME = "{ me { id email } }"


@dataclass(frozen=True, slots=True)
class Held:
    """What a signed-in client keeps."""

    access: str
    refresh: str

    @classmethod
    def of(cls, outcome: dict[str, Any]) -> "Held":
        return cls(outcome["tokens"]["accessToken"], outcome["tokens"]["refreshToken"])


async def try_to_log_in(visitor: Visitor, email: str, password: str = PASSWORD) -> dict[str, Any]:
    outcome: dict[str, Any] = (await visitor.ask(LOGIN, email=email, password=password))["login"]
    return outcome


async def log_in(visitor: Visitor, email: str, password: str = PASSWORD) -> Held:
    outcome = await try_to_log_in(visitor, email, password)
    assert outcome["__typename"] == "LoggedIn", outcome
    return Held.of(outcome)


async def try_to_refresh(visitor: Visitor, refresh_token: str) -> dict[str, Any]:
    outcome: dict[str, Any] = (await visitor.ask(REFRESH, token=refresh_token))["refreshSession"]
    return outcome


async def refreshed(visitor: Visitor, held: Held) -> Held:
    outcome = await try_to_refresh(visitor, held.refresh)
    assert outcome["__typename"] == "SessionRefreshed", outcome
    return Held.of(outcome)


async def logged_out(visitor: Visitor, refresh_token: str, *, everywhere: bool = False) -> int:
    """How many sessions ended."""
    ended: int = (await visitor.ask(LOGOUT, token=refresh_token, everywhere=everywhere))["logout"]["sessionsEnded"]
    return ended


async def is_let_in(visitor: Visitor, access_token: str) -> bool:
    """Whether the access token still opens a door; where it does not, it says why."""
    reply = await visitor.signed_in(access_token).ask(ME)
    assert reply.data is not None
    if reply.data["me"] is None:
        assert reply.codes == ["UNAUTHENTICATED"]
        return False
    return True
