"""Encodes and decodes global IDs: a type and a key in URL-safe base64 without padding, opaque to clients."""

import binascii
import uuid
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from operator import attrgetter
from typing import Any

import strawberry
from strawberry import ID

from graph.executor import REQUIRES_KEY
from graph.request_errors import BadUserInput
from persistence.postgres.uuids import parse_uuid

MAX_ID_LENGTH = 200


def to_global_id(type_name: str, key: uuid.UUID) -> ID:
    """Return the global ID of the object of this type with this key."""
    id_: ID = _encode(f"{type_name}:".encode(), key)
    return id_


def _encode(prefix: bytes, key: uuid.UUID) -> Any:
    # Letters, digits and colons never become `+` or `/` in base64, so it is URL-safe as it is.
    return b2a_base64(prefix + key.hex.encode(), newline=False).rstrip(b"=").decode()


def from_global_id(text: str) -> tuple[str, uuid.UUID]:
    """Return the type and the key in a global ID.

    Raises:
        BadUserInput: It is not an ID that this server gives out.
    """
    try:
        if len(text) > MAX_ID_LENGTH:
            raise ValueError
        decoded = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)).decode("ascii")
        type_name, _, key = decoded.partition(":")
        parts = type_name, parse_uuid(key)
    except (ValueError, binascii.Error) as error:
        raise BadUserInput(f"{text[:MAX_ID_LENGTH]!r} is not an ID.") from error
    if to_global_id(*parts) != text:
        raise BadUserInput(f"{text[:MAX_ID_LENGTH]!r} is not an ID.")
    return parts


def parse_key(type_name: str, text: str) -> uuid.UUID:
    """Return the key in a global ID of this type.

    Raises:
        BadUserInput: It is not an ID, or one of another type.
    """
    actual_type, key = from_global_id(text)
    if actual_type != type_name:
        raise BadUserInput(f"{text!r} is the ID of a {actual_type}, not of a {type_name}.")
    return key


def global_id_field(type_name: str, description: str, attribute: str = "id") -> Any:
    """Declare a field for the global ID of a row, made of the attribute with its key."""
    get_key, prefix = attrgetter(attribute), f"{type_name}:".encode()

    def resolve(self: Any) -> strawberry.ID:
        id_: ID = _encode(prefix, get_key(self))
        return id_

    return strawberry.field(resolver=resolve, description=description, metadata={REQUIRES_KEY: frozenset({attribute})})
