"""Keys of rows, as text."""

import uuid

from asyncpg.pgproto.pgproto import UUID


def parse_uuid(text: str) -> uuid.UUID:
    """Of the driver's own class, which is made and sent seven times as fast. Raises `ValueError` or `TypeError` for what is none."""
    value: uuid.UUID = UUID(text)
    return value
