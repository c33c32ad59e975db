"""What a request carries: who asks, what has been loaded for it, and the shop it asks."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import strawberry

from domain.auth.login_throttle import ThrottlePolicy
from domain.auth.sessions import SessionTokens
from domain.auth.tokens import AccessTokenClaims, ExpiredAccessToken, InvalidAccessToken
from domain.shop import Shop
from graph.loaders import Loaders
from graph.request_errors import Deactivated, RequestError, TokenExpired, Unauthenticated
from persistence import accounts
from persistence.accounts import Viewer
from persistence.postgres.database import ReadSession

T = TypeVar("T")


@dataclass(slots=True)
class RefreshCookie:
    """The refresh token where scripts cannot read it: what the browser sent, and what it is to keep from now on."""

    request_token: str | None = field(repr=False)
    is_changed: bool = False
    response_tokens: SessionTokens | None = None

    def replace(self, tokens: SessionTokens | None) -> None:
        """`None` makes the browser forget."""
        self.is_changed, self.response_tokens = True, tokens


@dataclass(slots=True)
class Context:
    """`address` is the caller's on the network. `cookie` is there when refresh tokens travel in a cookie and never in a body.

    When the client departs, a query ends, and a mutation goes on.

    With a `version` of the catalogue the answer will be said to be at least as new as that. Who `browses` may be told what
    was true a moment ago.
    """

    shop: Shop
    request_id: str
    access_token: str | None = field(default=None, repr=False)
    user_agent: str | None = None
    cookie: RefreshCookie | None = None
    address: str = ""
    wait_disconnected: Callable[[], Awaitable[None]] | None = None
    catalog_version: Hashable = None
    read_from_replica: bool = False
    _loaders: Loaders | None = None
    _access_token_claims: AccessTokenClaims | InvalidAccessToken | None = None
    _viewer: asyncio.Task[Viewer | None] | None = field(default=None, repr=False)

    @property
    def read_session(self) -> ReadSession:
        return self.shop.database.replica_session if self.read_from_replica else self.shop.database.read_session

    @property
    def loaders(self) -> Loaders:
        if self._loaders is None:
            self._loaders = Loaders(self.read_session)
        return self._loaders

    async def cached(self, key: Hashable, count: Callable[[], Awaitable[T]]) -> T:
        """A count that may be a second old, and no older than the version."""
        return await self.shop.count_cache.get((self.catalog_version, self.read_session, key), count)

    def peek_cached(self, key: Hashable) -> Any:
        """The same where it is known without asking, else `None`."""
        return self.shop.count_cache.peek((self.catalog_version, self.read_session, key))

    def throttle(self, policy: ThrottlePolicy, account: str = "") -> AbstractAsyncContextManager[None]:
        """Raises `TooOften` for what this caller has tried too often."""
        return self.shop.throttles.attempt(policy, account=account, address=self.address)

    @property
    def rate_limit_key(self) -> str:
        """Whose budget this request is paid from: the user's whose token it carries, or the address's."""
        try:
            return (
                f"user {self._decode_access_token(self.access_token).user_id}"
                if self.access_token
                else self._address_key
            )
        except InvalidAccessToken:
            return self._address_key

    @property
    def _address_key(self) -> str:
        return f"address {self.address}"

    def cancel(self) -> None:
        """Ends what is being loaded."""
        if self._loaders is not None:
            self._loaders.cancel()

    def invalidate(self) -> None:
        """Whatever was known may have changed, the caller's own rights included."""
        self._loaders = None
        self._viewer = None

    def set_refresh_cookie(self, tokens: SessionTokens | None) -> None:
        """In the cookie, where there is one; `None` empties it."""
        if self.cookie is not None:
            self.cookie.replace(tokens)

    async def get_viewer(self) -> Viewer | None:
        """`None` for a visitor.

        Raises `TokenExpired`, `Deactivated` or `Unauthenticated` for a token that is no good: that is never silently a
        visitor. Read from the database once in a request.
        """
        if self.access_token is None:
            return None
        if self._viewer is None:
            self._viewer = asyncio.ensure_future(self._authenticate(self.access_token))
        return await asyncio.shield(self._viewer)

    async def require_viewer(self) -> Viewer:
        """Raises `Unauthenticated` for a visitor, too."""
        viewer = await self.get_viewer()
        if viewer is None:
            raise Unauthenticated
        return viewer

    async def is_admin(self) -> bool:
        try:
            viewer = await self.get_viewer()
        except RequestError:
            return False
        return viewer is not None and viewer.user.role == "ADMIN"

    def _decode_access_token(self, access_token: str) -> AccessTokenClaims:
        """Raises `BadAccessToken`. Signatures are looked at once in a request."""
        if self._access_token_claims is None:
            try:
                self._access_token_claims = self.shop.tokens.decode_access_token(access_token)
            except InvalidAccessToken as error:
                self._access_token_claims = error
        if isinstance(self._access_token_claims, InvalidAccessToken):
            raise self._access_token_claims
        return self._access_token_claims

    async def _authenticate(self, access_token: str) -> Viewer | None:
        try:
            session_id = self._decode_access_token(access_token).session_id
        except ExpiredAccessToken as error:
            raise TokenExpired from error
        except InvalidAccessToken as error:
            raise Unauthenticated("The access token is not valid. Sign in again.") from error
        viewer = await accounts.find_viewer(self.read_session, session_id)
        if viewer is not None and not viewer.user.is_active:
            raise Deactivated
        if viewer is None or not viewer.is_session_active:
            raise Unauthenticated("This session is over. Sign in again.")
        return viewer


Info = strawberry.Info[Context, None]
