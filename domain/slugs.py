"""Slugs: readable, unique names in URLs, which never change."""

import secrets

from slugify import slugify

MAX_SLUG_LENGTH = 80
DEFAULT_SLUG = "untitled"


def make_slug(name: str) -> str:
    """Return the slug of a name, at most `MAX_SLUG_LENGTH` characters long. It may be in use."""
    return slugify(name, max_length=MAX_SLUG_LENGTH, word_boundary=True) or DEFAULT_SLUG


def slug_candidates(name: str) -> list[str]:
    """Return slugs to try in turn: the plain one, four numbered ones, and one with a random suffix."""
    slug = make_slug(name)
    return [slug, *(f"{slug}-{number}" for number in range(2, 6)), f"{slug}-{secrets.token_hex(4)}"]
