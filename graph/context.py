"""What a request carries: who asks, what has been loaded for it, and the shop it asks."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import strawberry

from domain.sessions import SessionTokens
from domain.shop import Shop
from domain.throttling import Kind
from domain.tokens import BadAccessToken, ExpiredAccessToken, Speaker
from graph.faults import Deactivated, TokenExpired, Unauthenticated, WrongCall
from graph.loaders import Loaders
from graph.patience import Departure
from persistence import accounts
from persistence.accounts import Viewer
from persistence.database import Reading

T = TypeVar("T")


@dataclass(slots=True)
class RefreshCookie:
    """The refresh token where scripts cannot read it: what the browser sent, and what it is to keep from now on."""

    sent: str | None = field(repr=False)
    changed: bool = False
    kept: SessionTokens | None = None

    def keep(self, tokens: SessionTokens | None) -> None:
        """`None` makes the browser forget."""
        self.changed, self.kept = True, tokens


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
    departure: Departure | None = None
    version: Hashable = None
    browses: bool = False
    _loaders: Loaders | None = None
    _speaker: Speaker | BadAccessToken | None = None
    _viewer: asyncio.Task[Viewer | None] | None = field(default=None, repr=False)

    @property
    def reading(self) -> Reading:
        return self.shop.database.browsing if self.browses else self.shop.database.reading

    @property
    def loaders(self) -> Loaders:
        if self._loaders is None:
            self._loaders = Loaders(self.reading)
        return self._loaders

    async def recent(self, key: Hashable, count: Callable[[], Awaitable[T]]) -> T:
        """A count that may be a second old, and no older than the version."""
        return await self.shop.counts.get((self.version, self.reading, key), count)

    def known(self, key: Hashable) -> Any:
        """The same where it is known without asking, else `None`."""
        return self.shop.counts.known((self.version, self.reading, key))

    def trying(self, kind: Kind, account: str = "") -> AbstractAsyncContextManager[None]:
        """Raises `TooOften` for what this caller has tried too often."""
        return self.shop.throttles.trying(kind, account=account, address=self.address)

    @property
    def caller(self) -> str:
        """Whose budget this request is paid from: the user's whose token it carries, or the address's."""
        try:
            return f"user {self._signed_by(self.access_token).user_id}" if self.access_token else self._place
        except BadAccessToken:
            return self._place

    @property
    def _place(self) -> str:
        return f"address {self.address}"

    def cancel(self) -> None:
        """Ends what is being loaded."""
        if self._loaders is not None:
            self._loaders.cancel()

    def forget(self) -> None:
        """Whatever was known may have changed, the caller's own rights included."""
        self._loaders = None
        self._viewer = None

    def keep(self, tokens: SessionTokens | None) -> None:
        """In the cookie, where there is one; `None` empties it."""
        if self.cookie is not None:
            self.cookie.keep(tokens)

    async def viewer(self) -> Viewer | None:
        """`None` for a visitor.

        Raises `TokenExpired`, `Deactivated` or `Unauthenticated` for a token that is no good: that is never silently a
        visitor. Read from the database once in a request.
        """
        if self.access_token is None:
            return None
        if self._viewer is None:
            self._viewer = asyncio.ensure_future(self._recognise(self.access_token))
        return await asyncio.shield(self._viewer)

    async def signed_in(self) -> Viewer:
        """Raises `Unauthenticated` for a visitor, too."""
        viewer = await self.viewer()
        if viewer is None:
            raise Unauthenticated
        return viewer

    async def is_administrator(self) -> bool:
        try:
            viewer = await self.viewer()
        except WrongCall:
            return False
        return viewer is not None and viewer.user.role == "ADMIN"

    def _signed_by(self, access_token: str) -> Speaker:
        """Raises `BadAccessToken`. Signatures are looked at once in a request."""
        if self._speaker is None:
            try:
                self._speaker = self.shop.tokens.speaker_of(access_token)
            except BadAccessToken as error:
                self._speaker = error
        if isinstance(self._speaker, BadAccessToken):
            raise self._speaker
        return self._speaker

    async def _recognise(self, access_token: str) -> Viewer | None:
        try:
            session_id = self._signed_by(access_token).session_id
        except ExpiredAccessToken as error:
            raise TokenExpired from error
        except BadAccessToken as error:
            raise Unauthenticated("The access token is not valid. Sign in again.") from error
        viewer = await accounts.find_viewer(self.reading, session_id)
        if viewer is not None and not viewer.user.is_active:
            raise Deactivated
        if viewer is None or not viewer.session_alive:
            raise Unauthenticated("This session is over. Sign in again.")
        return viewer


Info = strawberry.Info[Context, None]
