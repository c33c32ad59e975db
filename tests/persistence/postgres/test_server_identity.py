"""Which servers may be read in the place of a primary, by what they say of themselves."""

import datetime as dt
from dataclasses import replace

import pytest

from persistence.postgres.server_identity import ServerIdentity

MORNING, NOON = dt.datetime(2026, 11, 27, 8, tzinfo=dt.UTC), dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)
PRIMARY = ServerIdentity(7, "bookstore", is_replica=False, started_at=MORNING, timeline=2, has_wal_receiver=False)
STANDBY = replace(PRIMARY, is_replica=True, started_at=NOON)
PROMOTED = replace(PRIMARY, started_at=NOON, timeline=3)
SNAPSHOT = replace(PRIMARY, started_at=NOON)
BEHIND = replace(STANDBY, timeline=1)


@pytest.mark.parametrize("server", [PRIMARY, STANDBY, replace(BEHIND, has_wal_receiver=True)])
def test_primary_and_its_replicas_are_valid(server: ServerIdentity) -> None:
    assert server.is_valid_replica_of(PRIMARY)


@pytest.mark.parametrize(
    "server", [PROMOTED, SNAPSHOT, BEHIND, replace(STANDBY, timeline=3), replace(STANDBY, system_identifier=8)]
)
def test_diverged_copies_are_invalid(server: ServerIdentity) -> None:
    assert not server.is_valid_replica_of(PRIMARY)


@pytest.mark.parametrize("server", [PROMOTED, STANDBY, BEHIND, replace(STANDBY, timeline=3)])
def test_successor_is_valid_while_primary_is_unreachable(server: ServerIdentity) -> None:
    assert server.may_be_valid_replica_of(PRIMARY)


@pytest.mark.parametrize(
    "server", [SNAPSHOT, replace(STANDBY, system_identifier=8), replace(PROMOTED, database="other")]
)
def test_impossible_successor_is_invalid(server: ServerIdentity) -> None:
    assert not server.may_be_valid_replica_of(PRIMARY)


def test_only_a_replica_is_valid_for_an_unknown_primary() -> None:
    assert STANDBY.may_be_valid_replica_of(None)
    assert not PROMOTED.may_be_valid_replica_of(None)
