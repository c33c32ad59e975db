"""Password hashers that are fast, or that block until a test releases them."""

import threading
from typing import Literal

from argon2 import PasswordHasher


class FastHasher(PasswordHasher):
    """Hashes with the least work that Argon2 allows."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)


class BlockingHasher(FastHasher):
    """Verifies once `may_continue` is set, and counts how many verifications are in progress."""

    def __init__(self) -> None:
        super().__init__()
        self.may_continue = threading.Event()
        self.in_progress = self.max_in_progress = 0
        self._lock = threading.Lock()

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
        with self._lock:
            self.in_progress += 1
            self.max_in_progress = max(self.max_in_progress, self.in_progress)
        self.may_continue.wait(30)
        with self._lock:
            self.in_progress -= 1
        return super().verify(hash, password)
