"""Holds what resolvers share during a request: the shop, the caller and the rows loaded so far."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import strawberry

from domain.accounts import is_owner_or_admin
from domain.auth.login_throttle import ThrottlePolicy
from domain.auth.sessions import SessionTokens
from domain.auth.tokens import AccessTokenClaims, ExpiredAccessToken, InvalidAccessToken
from domain.shop import Shop
from graph.kit.loader import Loader
from graph.loaders import Loaders
from graph.request_errors import Deactivated, RequestError, TokenExpired, Unauthenticated
from persistence import accounts
from persistence.accounts import Viewer
from persistence.postgres.read_session import ReadSession

T = TypeVar("T")


class OwnedRow(Protocol):
    """A row that belongs to a user."""

    user_id: uuid.UUID


R = TypeVar("R", bound=OwnedRow)


@dataclass(slots=True)
class RefreshCookie:
    """The refresh token in a cookie that scripts cannot read: the one the browser sent, and the one to set."""

    request_token: str | None = field(repr=False)
    is_changed: bool = False
    response_tokens: SessionTokens | None = None

    def replace(self, tokens: SessionTokens | None) -> None:
        """Set the cookie to the refresh token of these tokens; `None` deletes it."""
        self.is_changed, self.response_tokens = True, tokens


@dataclass(slots=True)
class Context:
    """What resolvers share during a request.

    Attributes:
        shop: What domain functions work with.
        request_id: Finds the request in the log.
        access_token: The bearer token of the `Authorization` header.
        user_agent: The `User-Agent` header.
        cookie: The refresh cookie, when refresh tokens travel in a cookie and not in response bodies.
        address: The caller's network address.
        wait_disconnected: Returns when the client has disconnected. A query is then cancelled, a mutation completes.
        catalog_version: The catalog's version when the request began. Cached counts are at least as recent.
        is_query: Whether the operation is a query. Set before its execution.
    """

    shop: Shop
    request_id: str
    access_token: str | None = field(default=None, repr=False)
    user_agent: str | None = None
    cookie: RefreshCookie | None = None
    address: str = ""
    wait_disconnected: Callable[[], Awaitable[None]] | None = None
    catalog_version: Hashable = None
    is_query: bool = False
    _loaders: Loaders | None = None
    _access_token_claims: AccessTokenClaims | InvalidAccessToken | None = None
    _viewer: asyncio.Task[Viewer | None] | None = field(default=None, repr=False)

    @property
    def read_session(self) -> ReadSession:
        """The session for reads: a replica's for anonymous queries, since a signed-in user must read their own writes."""
        may_use_replica = self.is_query and self.access_token is None
        return self.shop.database.replica_session if may_use_replica else self.shop.database.read_session

    @property
    def loaders(self) -> Loaders:
        """The loaders of the request, made on first use and after each `invalidate`."""
        if self._loaders is None:
            self._loaders = Loaders(self.read_session)
        return self._loaders

    async def cached(self, key: Hashable, count: Callable[[], Awaitable[T]]) -> T:
        """Return a count that may be a second old but not older than `catalog_version`; `count` computes it."""
        return await self.shop.count_cache.get((self.catalog_version, self.read_session, key), count)

    def peek_cached(self, key: Hashable) -> Any:
        """Return the count when it is cached, else `None`."""
        return self.shop.count_cache.peek((self.catalog_version, self.read_session, key))

    def throttle(self, policy: ThrottlePolicy, account: str = "") -> AbstractAsyncContextManager[None]:
        """Count an attempt of this caller; entering the block raises `RateLimited` after too many."""
        return self.shop.throttles.attempt(policy, account=account, address=self.address)

    @property
    def rate_limit_key(self) -> str:
        """The key of the budget that pays for the request: the user's of a valid token, else the address's."""
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
        """Cancel what is being loaded."""
        if self._loaders is not None:
            self._loaders.cancel()

    def invalidate(self) -> None:
        """Forget the loaded rows and the viewer, which a mutation may change."""
        self._loaders = None
        self._viewer = None

    def set_refresh_cookie(self, tokens: SessionTokens | None) -> None:
        """Set the refresh cookie, where the client uses one; `None` deletes it."""
        if self.cookie is not None:
            self.cookie.replace(tokens)

    async def get_viewer(self) -> Viewer | None:
        """Return the signed-in user with their session, `None` without a token. The database is read once per request.

        Raises:
            TokenExpired: The access token has expired.
            Deactivated: The account has been deactivated.
            Unauthenticated: The token is not valid, or its session has ended.
        """
        if self.access_token is None:
            return None
        if self._viewer is None:
            self._viewer = asyncio.ensure_future(self._authenticate(self.access_token))
        return await asyncio.shield(self._viewer)

    async def require_viewer(self) -> Viewer:
        """Return the signed-in user with their session.

        Raises:
            Unauthenticated: There is no access token. Errors of `get_viewer` are raised, too.
        """
        viewer = await self.get_viewer()
        if viewer is None:
            raise Unauthenticated
        return viewer

    async def load_owned(self, loader: Loader[uuid.UUID, R | None], key: uuid.UUID) -> R | None:
        """Load a row for its owner or an administrator; return `None` to other callers."""
        viewer = await self.get_viewer()
        row = await loader.load(key) if viewer else None
        return row if viewer and row and is_owner_or_admin(viewer.user, row.user_id) else None

    async def is_admin(self) -> bool:
        """Return whether the caller is an administrator. A caller with an invalid token is not."""
        try:
            viewer = await self.get_viewer()
        except RequestError:
            return False
        return viewer is not None and viewer.user.role == "ADMIN"

    def _decode_access_token(self, access_token: str) -> AccessTokenClaims:
        """Return what the token claims. The signature is verified once per request.

        Raises:
            InvalidAccessToken: The token is not valid or has expired.
        """
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
            raise Unauthenticated("This session has ended. Sign in again.")
        return viewer


Info = strawberry.Info[Context, None]
