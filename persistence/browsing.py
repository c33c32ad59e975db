"""Browsing: what visitors read, from standbys that may be a moment behind, and from the primary while none of them answers."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import asyncpg
import structlog
from sqlalchemy import literal_column, select

from persistence.connecting import connect
from persistence.faults import Unavailable
from persistence.lending import ConnectionLost, Lender, LentConnection
from persistence.lineage import Server, server_at
from persistence.query import Query
from persistence.reading import DRIVER_ERRORS, Reading

Connect = Callable[..., Awaitable[LentConnection]]

log = structlog.get_logger()

LOOK_AGAIN = 5.0  # seconds after which a standby is tried again when none has answered
AT_A_STANDBY = 300.0  # seconds for which a connection is kept: poolers may lead elsewhere meanwhile, and tell nobody
AT_THE_PRIMARY = 30.0  # seconds for one that has come to a primary, while there may be a standby again
UNSURE = 5.0  # seconds for one at what may be the shop's, while there is no primary to ask
NONE_ANSWERS = "no standby answers at DATABASE_READ_URL"
NOT_OURS = "DATABASE_READ_URL leads to another database"
STATEMENT_TIMEOUT = "57014"
_ALIVE = Query(select(literal_column("1")), int)


class NoStandby(Exception):
    """Nobody answers at the address, or somebody who is no standby of the shop's database."""


class Standbys:
    """Opens connections to the shop's primary or to standbys of it, and to nobody who was either once and goes its own way."""

    def __init__(
        self, url: str, primary: Callable[[], Awaitable[LentConnection]], *, prepared: bool, within: float
    ) -> None:
        self._connect: Connect = partial(connect, url, prepared=prepared, within=within, read_only=True)
        self._connect_to_primary, self._patience = primary, within / 2
        self._primary: Server | None = None
        self._ask_at = 0.0

    async def connect(self, **settings: str) -> LentConnection:
        """Raises `NoStandby`."""
        try:
            connection = await self._connect(**settings)
            try:
                there = await server_at(connection)
                seconds = await self._seconds_at(there)
            except BaseException:
                connection.terminate()
                raise
        except (*DRIVER_ERRORS, ValueError) as error:
            raise NoStandby(NONE_ANSWERS) from error
        if seconds is None:
            connection.terminate()
            raise NoStandby(NOT_OURS)
        connection.was_at_standby = there.is_standby
        connection.good_until = asyncio.get_running_loop().time() + seconds
        return connection

    async def asks_the_primary(self) -> bool:
        """Who it is, and who may stand for it therefore; whether it answered."""
        clock = asyncio.get_running_loop().time
        if clock() < self._ask_at:
            return False
        try:
            async with asyncio.timeout(self._patience):
                connection = await self._connect_to_primary()
                try:
                    self._primary = await server_at(connection)
                finally:
                    connection.terminate()
        except (*DRIVER_ERRORS, ValueError):
            self._ask_at = clock() + UNSURE
            return False
        return True

    async def _seconds_at(self, there: Server) -> float | None:
        """For which a connection may be kept; `None` where none may be."""
        answered = not self._stands(there) and await self.asks_the_primary()
        if self._stands(there):
            return AT_A_STANDBY if there.is_standby else AT_THE_PRIMARY
        return UNSURE if not answered and there.may_stand_for(self._primary) else None

    def _stands(self, there: Server) -> bool:
        return self._primary is not None and there.stands_for(self._primary)


class StandbyLender(Lender):
    """Looks again where a connection leads when that may have changed: PostgreSQL keeps it when a standby is promoted."""

    async def borrow(self) -> LentConnection:
        while self._idle and _is_past(self._idle[-1]):
            self._idle.pop().terminate()
            self._open -= 1
        return await super().borrow()

    def give_back(self, connection: LentConnection) -> None:
        if not connection.is_closed() and _is_past(connection):
            connection.terminate()
        super().give_back(connection)


def _is_past(connection: LentConnection) -> bool:
    is_late = asyncio.get_running_loop().time() > connection.good_until
    return is_late or (connection.was_at_standby and not _is_at_standby(connection))


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
