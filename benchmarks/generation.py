"""The rows of a bookshop of any size, made by PostgreSQL from generation.sql: the same every time."""

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.feed import FIRST, WORDS

SCRIPT = Path(__file__).with_name("generation.sql")
HEADING = re.compile(r"^-- ── ([^:\n]+).*$", re.MULTILINE)
NAME = re.compile(r"(?<!:):([a-z_]+)")
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
ANCHOR = "timestamptz '2026-11-01 00:00:00+00'"
"""The day by which all of it has happened."""
VOCABULARY = 5_000
MOST_REVIEWS = 2_000_000
"""However many books there are."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is of everything."""

    books: int
    reviews: int
    users: int = 20_000
    genres: int = 50

    @classmethod
    def of(cls, books: int) -> Self:
        return cls(books, min(10 * books, MOST_REVIEWS))

    @property
    def authors(self) -> int:
        return max(50, self.books * 2 // 5)

    @property
    def orders(self) -> int:
        return min(max(self.books // 2, 2_000), 200_000)

    @property
    def hot(self) -> int:
        """Reviews that one book has beside its share."""
        return min(self.books // 5, self.users // 2)

    @property
    def stride(self) -> int:
        """Scatters ranks over the books: prime to how many there are."""
        return next(step for step in (7_919, 104_729, 1_299_709) if math.gcd(step, self.books) == 1)


def steps(size: Size) -> list[tuple[str, str]]:
    """What is made, and by which SQL, in their order."""
    values = {
        "anchor": ANCHOR,
        "books": f"{size.books}",
        "reviews": f"{size.reviews}",
        "users": f"{size.users}",
        "genres": f"{size.genres}",
        "authors": f"{size.authors}",
        "orders": f"{size.orders}",
        "hot": f"{size.hot}",
        "stride": f"{size.stride}",
        "vocabulary": f"{VOCABULARY}",
        "words": _array(WORDS),
        "syllables": _array(SYLLABLES),
        "sentences": _array(SENTENCES),
        "sentence_count": f"{len(SENTENCES)}",
        "first": _array(FIRST),
        "firsts": f"{len(FIRST)}",
    }
    _, *parts = HEADING.split(SCRIPT.read_text(encoding="utf-8"))
    return [
        (name.strip(), NAME.sub(lambda found: values.get(found[1], found[0]), sql))
        for name, sql in zip(parts[::2], parts[1::2], strict=True)
    ]


def digest(size: Size) -> str:
    """Tells databases apart that were made otherwise."""
    return hashlib.sha256(repr(steps(size)).encode()).hexdigest()[:10]


def _array(words: Iterable[str]) -> str:
    return "ARRAY[" + ", ".join(f"'{word}'" for word in words) + "]"
