"""Browsing: what visitors read, from standbys that may be a moment behind, and from the primary while none of them answers."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import asyncpg
import structlog
from sqlalchemy import literal_column, select

from persistence.connecting import connect, identity_of
from persistence.faults import Unavailable
from persistence.lending import ConnectionLost, Lender, LentConnection
from persistence.query import Query
from persistence.reading import DRIVER_ERRORS, Reading

log = structlog.get_logger()

LOOK_AGAIN = 5.0  # seconds after which a standby is tried again when none has answered
AT_THE_PRIMARY = 30.0  # seconds for which a connection is kept that has come to a primary, or to what has become one
NONE_ANSWERS = "no standby answers at DATABASE_READ_URL"
NOT_OURS = "DATABASE_READ_URL leads to another database"
STATEMENT_TIMEOUT = "57014"
_ALIVE = Query(select(literal_column("1")), int)


class NoStandby(Exception):
    """Nobody answers at the address, or somebody who is no standby of the shop's database."""


class Standbys:
    """Opens connections to standbys of the shop's own database, and to no other."""

    def __init__(
        self, url: str, primary: Callable[[], Awaitable[LentConnection]], *, prepared: bool, within: float
    ) -> None:
        self._primary = primary
        self._connect: Callable[..., Awaitable[LentConnection]] = partial(
            connect, url, prepared=prepared, within=within, read_only=True
        )
        self._ours: tuple[int, str] | None = None

    async def connect(self, **settings: str) -> LentConnection:
        """Raises `NoStandby`."""
        try:
            connection = await self._connect(**settings)
            try:
                is_ours = await identity_of(connection) == await self._identity()
            except BaseException:
                connection.terminate()
                raise
        except (*DRIVER_ERRORS, ValueError) as error:
            raise NoStandby(NONE_ANSWERS) from error
        if not is_ours:
            connection.terminate()
            raise NoStandby(NOT_OURS)
        connection.opened_at = asyncio.get_running_loop().time()
        return connection

    async def _identity(self) -> tuple[int, str]:
        """Of the primary: asked once, for it outlives every failover."""
        if self._ours is None:
            connection = await self._primary()
            try:
                self._ours = await identity_of(connection)
            finally:
                connection.terminate()
        return self._ours


class StandbyLender(Lender):
    """Looks for a standby again when a connection leads to a primary: PostgreSQL keeps it when a standby is promoted."""

    def give_back(self, connection: LentConnection) -> None:
        if not connection.is_closed() and not _is_at_standby(connection) and _age(connection) > AT_THE_PRIMARY:
            connection.terminate()
        super().give_back(connection)


def _age(connection: LentConnection) -> float:
    return asyncio.get_running_loop().time() - connection.opened_at


def _is_at_standby(connection: LentConnection) -> bool:
    """As PostgreSQL tells by itself; poolers do not pass it on."""
    return getattr(connection.get_settings(), "in_hot_standby", "on") == "on"


class Browsing(Reading):
    """What fails at a standby is asked of the primary at once. When none answers, everything is, until one does.

    A standby that is only busy or slow is not relieved at the primary's cost.
    """

    __slots__ = ("_heard_at", "_look_at", "_looking", "_primary", "trouble")

    def __init__(self, lender: Lender, skewed: Lender, primary: Reading) -> None:
        super().__init__(lender, skewed)
        self._primary = primary
        self._heard_at = 0.0
        self._look_at = 0.0
        self._looking: asyncio.Task[None] | None = None
        self.trouble: str | None = None

    async def fetch(self, query: Query[Any], arguments: list[Any]) -> list[asyncpg.Record]:
        clock = asyncio.get_running_loop().time
        began = clock()
        if self.trouble is not None:
            self._look_again(began)
            return await self._primary.fetch(query, arguments)
        try:
            records = await self._fetch_once(query, arguments)
        except NoStandby as error:
            self._is_away(error, str(error), began)
        except TimeoutError as error:
            if self._heard_at > began:  # others have been answered meanwhile
                raise Unavailable from error
            self._is_away(error, NONE_ANSWERS, began)
        except (ConnectionLost, *DRIVER_ERRORS) as error:  # it may be behind a migration, too, or in the way of one
            if getattr(error, "sqlstate", None) == STATEMENT_TIMEOUT:
                raise Unavailable from error
            log.info("standby_passed_over", cause=repr(error.__cause__ or error))
        else:
            self._heard_at = clock()
            return records
        return await self._primary.fetch(query, arguments)

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    def _is_away(self, error: Exception, trouble: str, now: float) -> None:
        if self.trouble is None:
            log.warning("standby_away", trouble=trouble, cause=repr(error.__cause__ or error))
        self.trouble, self._look_at = trouble, now + LOOK_AGAIN

    def _look_again(self, now: float) -> None:
        """Beside what is asked: nobody waits for it."""
        if now >= self._look_at:
            self._look_at = now + LOOK_AGAIN
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        try:
            await self._fetch_once(_ALIVE, [])
        except NoStandby as error:
            self.trouble = str(error)
        except (ConnectionLost, *DRIVER_ERRORS):
            pass
        else:
            log.info("standby_back")
            self.trouble = None
