"""The rows of a shop of any size, made by PostgreSQL from generation.sql: the same every time."""

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tools.bench.feed import FIRST_NAMES, WORDS

SCRIPT = Path(__file__).with_name("generation.sql")
HEADING = re.compile(r"^-- ── ([^:\n]+).*$", re.MULTILINE)
PLACEHOLDER = re.compile(r"(?<!:):([a-z_]+)")
SYLLABLES = "ba be bi do da fe fi go ha ke la le mi mo na ne ro sa ti vu".split()
SENTENCES = (
    "A book to read twice.",
    "The first chapters are slow, and then it does not let go.",
    "I gave it to my sister, who gave it to everybody.",
    "Well told, if a little long.",
    "The translation is better than the cover.",
    "It was not for me; the middle part loses its way.",
    "Read it on a train and missed my stop.",
    "The end is worth all that comes before it.",
    "Beautifully printed, and the maps are a joy.",
    "My reading circle talked of nothing else for a month.",
)
NEWEST = "timestamptz '2026-11-01 00:00:00+00'"
"""The time of the newest row."""
VOCABULARY = 5_000
"""Different words in titles."""
MAX_REVIEWS = 2_000_000


@dataclass(frozen=True, slots=True)
class Size:
    """How many rows the tables have."""

    books: int
    reviews: int
    users: int = 20_000
    genres: int = 50

    @classmethod
    def for_books(cls, books: int) -> Self:
        """Return a size with ten reviews for each book, and two million at most."""
        return cls(books, min(10 * books, MAX_REVIEWS))

    @property
    def authors(self) -> int:
        """Two authors for every five books."""
        return max(50, self.books * 2 // 5)

    @property
    def orders(self) -> int:
        """One order for every two books."""
        return min(max(self.books // 2, 2_000), 200_000)

    @property
    def hot(self) -> int:
        """Extra reviews of the most reviewed book."""
        return min(self.books // 5, self.users // 2)

    @property
    def stride(self) -> int:
        """A number coprime to the number of books: it scatters ranks over them."""
        return next(step for step in (7_919, 104_729, 1_299_709) if math.gcd(step, self.books) == 1)


def format_steps(size: Size) -> list[tuple[str, str]]:
    """Return the names and the SQL of the steps, in their order."""
    values = {
        "anchor": NEWEST,
        "vocabulary": f"{VOCABULARY}",
        "words": _format_array(WORDS),
        "syllables": _format_array(SYLLABLES),
        "sentences": _format_array(SENTENCES),
        "sentence_count": f"{len(SENTENCES)}",
        "first": _format_array(FIRST_NAMES),
        "firsts": f"{len(FIRST_NAMES)}",
    }
    counts = ("books", "reviews", "users", "genres", "authors", "orders", "hot", "stride")
    values |= {name: str(getattr(size, name)) for name in counts}
    _, *parts = HEADING.split(SCRIPT.read_text(encoding="utf-8"))
    return [
        (name.strip(), PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), sql))
        for name, sql in zip(parts[::2], parts[1::2], strict=True)
    ]


def digest(size: Size) -> str:
    """Return a hash of the steps: databases that differ get different names."""
    return hashlib.sha256(repr(format_steps(size)).encode()).hexdigest()[:10]


def _format_array(words: Iterable[str]) -> str:
    return "ARRAY[" + ", ".join(f"'{word}'" for word in words) + "]"
