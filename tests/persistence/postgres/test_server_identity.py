"""A server's identity shows whether it is a valid replica of the primary."""

import datetime as dt
from dataclasses import replace

import pytest

from persistence.postgres.server_identity import ServerIdentity

MORNING, NOON = dt.datetime(2026, 11, 27, 8, tzinfo=dt.UTC), dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)
PRIMARY = ServerIdentity(7, "bookstore", is_replica=False, started_at=MORNING, timeline=2, has_wal_receiver=False)
REPLICA = replace(PRIMARY, is_replica=True, started_at=NOON)
PROMOTED = replace(PRIMARY, started_at=NOON, timeline=3)
SNAPSHOT = replace(PRIMARY, started_at=NOON)
OUTDATED = replace(REPLICA, timeline=1)


@pytest.mark.parametrize("server", [PRIMARY, REPLICA, replace(OUTDATED, has_wal_receiver=True)])
def test_primary_and_its_replicas_are_valid(server: ServerIdentity) -> None:
    assert server.is_valid_replica_of(PRIMARY)


@pytest.mark.parametrize(
    "server", [PROMOTED, SNAPSHOT, OUTDATED, replace(REPLICA, timeline=3), replace(REPLICA, system_identifier=8)]
)
def test_diverged_copies_are_invalid(server: ServerIdentity) -> None:
    assert not server.is_valid_replica_of(PRIMARY)


@pytest.mark.parametrize("server", [PROMOTED, REPLICA, OUTDATED, replace(REPLICA, timeline=3)])
def test_successor_is_valid_while_primary_is_unreachable(server: ServerIdentity) -> None:
    assert server.may_be_valid_replica_of(PRIMARY)


@pytest.mark.parametrize(
    "server", [SNAPSHOT, replace(REPLICA, system_identifier=8), replace(PROMOTED, database="other")]
)
def test_impossible_successor_is_invalid(server: ServerIdentity) -> None:
    assert not server.may_be_valid_replica_of(PRIMARY)


def test_only_a_replica_is_valid_for_an_unknown_primary() -> None:
    assert REPLICA.may_be_valid_replica_of(None)
    assert not PROMOTED.may_be_valid_replica_of(None)
