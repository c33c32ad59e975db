"""Which servers may be read in the place of a primary, by what they say of themselves."""

import datetime as dt
from dataclasses import replace

import pytest

from persistence.lineage import Server

MORNING, NOON = dt.datetime(2026, 11, 27, 8, tzinfo=dt.UTC), dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)
PRIMARY = Server(7, "bookstore", is_standby=False, started=MORNING, timeline=2, receives=False)
STANDBY = replace(PRIMARY, is_standby=True, started=NOON)
PROMOTED = replace(PRIMARY, started=NOON, timeline=3)
SNAPSHOT = replace(PRIMARY, started=NOON)
BEHIND = replace(STANDBY, timeline=1)


@pytest.mark.parametrize("server", [PRIMARY, STANDBY, replace(BEHIND, receives=True)])
def test_the_primary_and_who_follows_it_stand_for_it(server: Server) -> None:
    assert server.stands_for(PRIMARY)


@pytest.mark.parametrize(
    "server", [PROMOTED, SNAPSHOT, BEHIND, replace(STANDBY, timeline=3), replace(STANDBY, system=8)]
)
def test_copies_that_go_their_own_way_do_not(server: Server) -> None:
    assert not server.stands_for(PRIMARY)


@pytest.mark.parametrize("server", [PROMOTED, STANDBY, BEHIND, replace(STANDBY, timeline=3)])
def test_while_the_primary_is_away_its_successor_may(server: Server) -> None:
    assert server.may_stand_for(PRIMARY)


@pytest.mark.parametrize("server", [SNAPSHOT, replace(STANDBY, system=8), replace(PROMOTED, database="other")])
def test_who_cannot_be_its_successor_may_not(server: Server) -> None:
    assert not server.may_stand_for(PRIMARY)


def test_of_an_unknown_primary_nothing_but_a_standby_is_believed() -> None:
    assert STANDBY.may_stand_for(None)
    assert not PROMOTED.may_stand_for(None)
