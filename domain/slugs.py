"""Names in URLs: readable, unique, and never changed once given."""

import secrets

from slugify import slugify

LENGTH = 80
FALLBACK = "untitled"


def slug_of(name: str) -> str:
    return slugify(name, max_length=LENGTH, word_boundary=True) or FALLBACK


def candidates(name: str) -> list[str]:
    """The plain slug, a few numbered ones, and one that is as good as free."""
    slug = slug_of(name)
    return [slug, *(f"{slug}-{number}" for number in range(2, 6)), f"{slug}-{secrets.token_hex(4)}"]
