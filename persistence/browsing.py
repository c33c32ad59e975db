"""Browsing: what visitors read, from standbys that may be a moment behind, and from the primary while none of them answers."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import asyncpg
import structlog

from persistence.connecting import connect
from persistence.faults import Unavailable
from persistence.lending import ConnectionLost, Lender, LentConnection, NoneFree
from persistence.lineage import Server, server_at
from persistence.query import Query
from persistence.reading import DRIVER_ERRORS, Reading

Connect = Callable[..., Awaitable[LentConnection]]

log = structlog.get_logger()

LOOK_AGAIN = 5.0  # seconds after which a standby is tried again when none has answered
LOOK_TIMEOUT = 2.0  # seconds
AT_A_STANDBY = 300.0  # seconds for which a connection is kept: poolers may lead elsewhere meanwhile, and tell nobody
AT_THE_PRIMARY = 30.0  # seconds for one that has come to a primary, while there may be a standby again
KNOWN = 30.0  # seconds after which the primary is asked again who it is: another may have taken its place
UNSURE = 5.0  # seconds for one at what may be the shop's, while there is no primary to ask
NONE_ANSWERS = "no standby answers at DATABASE_READ_URL"
NOT_OURS = "DATABASE_READ_URL leads to another database, or to a copy that goes its own way"
FAILS_THERE = "what is asked at DATABASE_READ_URL fails there"
OFTEN = 10  # statements that fail in a row: one that is cut off, or behind a migration, fails a few
STATEMENT_TIMEOUT = "57014"


class NoStandby(Exception):
    """Nobody answers at the address, or somebody who does not stand for the shop's primary."""


class Standbys:
    """Opens connections to the shop's primary or to standbys of it, and to nobody who was either once and goes its own way."""

    def __init__(
        self, url: str, primary: Callable[[], Awaitable[LentConnection]], *, prepared: bool, within: float
    ) -> None:
        self._connect: Connect = partial(connect, url, prepared=prepared, within=within, read_only=True)
        self._connect_to_primary, self._patience = primary, within / 2
        self._primary: Server | None = None
        self._ask_at = self._known_until = 0.0

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
        self._known_until = clock() + KNOWN
        return True

    async def _seconds_at(self, there: Server) -> float | None:
        """For which a connection may be kept; `None` where none may be."""
        is_known = there.is_standby and asyncio.get_running_loop().time() < self._known_until
        if (is_known and self._stands(there)) or await self.asks_the_primary():
            lasting = AT_A_STANDBY if there.is_standby else AT_THE_PRIMARY
            return lasting if self._stands(there) else None
        return UNSURE if self._stands(there) or there.may_stand_for(self._primary) else None

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

    __slots__ = ("_failed", "_look_at", "_looking", "_primary", "_standbys", "_trouble")

    def __init__(self, lender: Lender, skewed: Lender, primary: Reading, standbys: Standbys) -> None:
        super().__init__(lender, skewed)
        self._primary, self._standbys = primary, standbys
        self._look_at = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._trouble: str | None = None
        self._failed = 0  # statements in a row

    @property
    def trouble(self) -> str | None:
        """Why the primary is asked what standbys should be."""
        return self._trouble or (FAILS_THERE if self._failed >= OFTEN else None)

    async def fetch(self, query: Query[Any], arguments: list[Any]) -> list[asyncpg.Record]:
        if self._trouble is not None:
            self._look_again()
            return await self._primary.fetch(query, arguments)
        try:
            records = await self._fetch_once(query, arguments)
        except NoStandby as error:
            self._is_away(error, str(error))
        except NoneFree as error:  # because statements are slow, or because nobody answers them
            await self._look_beside()
            if self._trouble is None:
                raise Unavailable from error
        except TimeoutError as error:
            self._is_away(error, NONE_ANSWERS)
        except (ConnectionLost, *DRIVER_ERRORS) as error:  # it may be behind a migration, too, or in the way of one
            if getattr(error, "sqlstate", None) == STATEMENT_TIMEOUT:
                raise Unavailable from error
            self._failed += 1
            log.info("standby_passed_over", cause=repr(error.__cause__ or error))
        else:
            self._failed = 0
            return records
        return await self._primary.fetch(query, arguments)

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    def _is_away(self, error: Exception, trouble: str) -> None:
        if self._trouble is None:
            log.warning("standby_away", trouble=trouble, cause=repr(error.__cause__ or error))
        self._trouble, self._look_at = trouble, asyncio.get_running_loop().time() + LOOK_AGAIN

    def _look_again(self) -> None:
        """Beside what is asked: nobody waits for it."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._look_at:
            self._look_at = loop.time() + LOOK_AGAIN
            self._looking = loop.create_task(self._look())

    async def _look_beside(self) -> None:
        """Past the pool, whose connections all wait; one looks for everybody."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(LOOK_TIMEOUT):
                (await self._standbys.connect()).terminate()
        except NoStandby as error:
            self._is_away(error, str(error))
        except TimeoutError as error:
            self._is_away(error, NONE_ANSWERS)
        else:
            if self._trouble is not None:
                log.info("standby_back")
            self._trouble = None
