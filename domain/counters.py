"""What has happened in this process, counted for whoever watches the shop."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Counters:
    """Since the process began."""

    user_errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By the mutation and the code of the refusal."""
    emails: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By kind, and by the status they came to or `POSTPONED`, which each may be several times."""
    failed_oauth_logins: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Through providers: by provider, and by why."""
