"""Hashers that take no time, or as long as a test wants them to."""

import threading
from typing import Literal

from argon2 import PasswordHasher


class Quick(PasswordHasher):
    """Hashes with next to no work."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)


class Gated(Quick):
    """Verifies only once the gate is open, and counts how many stand before it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.inside = self.most = 0
        self._lock = threading.Lock()

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.gate.wait(30)
        with self._lock:
            self.inside -= 1
        return super().verify(hash, password)
