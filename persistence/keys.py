"""Keys of rows, as text."""

import uuid

from asyncpg.pgproto.pgproto import UUID


def key_from(text: str) -> uuid.UUID:
    """Of the driver's own class, which is made and sent seven times as fast. Raises `ValueError` or `TypeError` for what is none."""
    key: uuid.UUID = UUID(text)
    return key
