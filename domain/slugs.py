"""Names in URLs: readable, unique, and never changed once given."""

import secrets

from slugify import slugify

MAX_SLUG_LENGTH = 80
DEFAULT_SLUG = "untitled"


def make_slug(name: str) -> str:
    return slugify(name, max_length=MAX_SLUG_LENGTH, word_boundary=True) or DEFAULT_SLUG


def slug_candidates(name: str) -> list[str]:
    """The plain slug, a few numbered ones, and one that is as good as free."""
    slug = make_slug(name)
    return [slug, *(f"{slug}-{number}" for number in range(2, 6)), f"{slug}-{secrets.token_hex(4)}"]
