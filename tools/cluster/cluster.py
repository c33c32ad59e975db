"""What the parts of the cluster know of each other: ports, programs, and one password."""

import random
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from tools.bench.processes import HOST
from tools.cluster.processes import ClusterProcesses
from tools.cluster.programs import Programs

DATABASE = "bookstore"
NODES = 3
SERVERS = 2
PORT_RANGE = range(10_000, 30_000)
"""Below the ports that the kernel gives to clients: a port must still be free when a killed process comes back."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens. `primary`, `replicas` and `front` are HAProxy's."""

    etcd: list[int]
    etcd_peers: list[int]
    patroni: list[int]
    postgres: list[int]
    servers: list[int]
    pgbouncer: int
    primary: int
    replicas: int
    front: int


def find_free_ports() -> Ports:
    """Return random free ports of the range."""
    ports = _list_free_ports()

    def take(count: int) -> list[int]:
        return list(islice(ports, count))

    return Ports(take(NODES), take(NODES), take(NODES), take(NODES), take(SERVERS), *take(4))


def _list_free_ports() -> Iterator[int]:
    for port in random.sample(PORT_RANGE, len(PORT_RANGE)):
        with socket.socket() as candidate:
            try:
                candidate.bind((HOST, port))
            except OSError:
                continue
        yield port


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster. `password` is that of every role."""

    processes: ClusterProcesses
    programs: Programs
    ports: Ports = field(default_factory=find_free_ports)
    password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def database_url(self, port: int, role: str = DATABASE, database: str = DATABASE) -> str:
        """Return the address of a database behind one of the ports."""
        return f"postgresql://{role}:{self.password}@{HOST}:{port}/{database}"
