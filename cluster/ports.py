"""Where everything listens: free ports on loopback, chosen at the start."""

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

HOST = "127.0.0.1"
NODES = 3
REPLICAS = 2
RANGE = range(10_000, 30_000)
"""Below those that the kernel lends to callers: a port must still be free when a part that was killed comes back."""


@dataclass(frozen=True, slots=True)
class Ports:
    etcd: list[int]
    etcd_peers: list[int]
    patroni: list[int]
    postgres: list[int]
    shops: list[int]
    pgbouncer: int
    primary: int
    """HAProxy's, that leads to whichever node is the primary."""
    standbys: int
    """HAProxy's, that leads to the others."""
    front: int
    """HAProxy's, that leads to the replicas of the shop."""


def free_ports() -> Ports:
    found = _free()

    def some(count: int) -> list[int]:
        return list(islice(found, count))

    return Ports(some(NODES), some(NODES), some(NODES), some(NODES), some(REPLICAS), *some(4))


def _free() -> Iterator[int]:
    for port in random.sample(RANGE, len(RANGE)):
        with socket.socket() as tried:
            try:
                tried.bind((HOST, port))
            except OSError:
                continue
        yield port
