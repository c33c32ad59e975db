"""Global IDs: type and key in URL-safe base64 without padding. Opaque to clients, readable to whoever runs the shop."""

import binascii
import uuid
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from operator import attrgetter
from typing import Any

import strawberry
from strawberry import ID

from graph.engine import READS
from graph.faults import BadUserInput
from persistence.keys import key_from

LENGTH = 200


def global_id(kind: str, key: uuid.UUID) -> ID:
    id_: ID = _encoded(f"{kind}:".encode(), key)
    return id_


def _encoded(prefix: bytes, key: uuid.UUID) -> Any:
    """Letters, digits and a colon have no `+` or `/` in base64."""
    return b2a_base64(prefix + key.hex.encode(), newline=False).rstrip(b"=").decode()


def parse_id(text: str) -> tuple[str, uuid.UUID]:
    """Raises `BadUserInput` for what this server has never given out."""
    try:
        if len(text) > LENGTH:
            raise ValueError
        decoded = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)).decode("ascii")
        kind, _, key = decoded.partition(":")
        found = kind, key_from(key)
    except (ValueError, binascii.Error) as error:
        raise BadUserInput(f"{text[:LENGTH]!r} is not an ID.") from error
    if global_id(*found) != text:
        raise BadUserInput(f"{text[:LENGTH]!r} is not an ID.")
    return found


def key_of(kind: str, text: str) -> uuid.UUID:
    """The key in an ID that has to be of this type. Raises `BadUserInput`."""
    found, key = parse_id(text)
    if found != kind:
        raise BadUserInput(f"{text!r} is the ID of a {found}, not of a {kind}.")
    return key


def own_id(kind: str, description: str, attribute: str = "id") -> Any:
    """The field for the ID of a row."""

    key_of_row, prefix = attrgetter(attribute), f"{kind}:".encode()

    def resolve(self: Any) -> strawberry.ID:
        id_: ID = _encoded(prefix, key_of_row(self))
        return id_

    return strawberry.field(resolver=resolve, description=description, metadata={READS: frozenset({attribute})})
