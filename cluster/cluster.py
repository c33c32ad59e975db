"""What the parts know of each other."""

import secrets
from dataclasses import dataclass, field

from cluster.ports import HOST, Ports, free_ports
from cluster.processes import Processes
from cluster.programs import Programs

DATABASE = "bookstore"


@dataclass(frozen=True, slots=True)
class Cluster:
    processes: Processes
    programs: Programs
    ports: Ports = field(default_factory=free_ports)
    password: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    """Of every role in it, for as long as it lives."""

    def address(self, port: int, role: str = DATABASE, database: str = DATABASE) -> str:
        return f"postgresql://{role}:{self.password}@{HOST}:{port}/{database}"
