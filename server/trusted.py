"""Trusted documents: the list of what frontends ask, as their build wrote it."""

from pathlib import Path

import orjson
from graphql import GraphQLError

from graph.documents import Checked, Documents, Refused, sha256
from graph.engine import Watch
from server.place import Misconfigured
from server.settings import Settings

HASHED = "sha256:"
"""What may stand before an id that is a hash."""
APOLLO = "apollo-persisted-query-manifest"


def documents_of(settings: Settings, watch: Watch | None = None) -> Documents:
    """Raises `Misconfigured` for a list that cannot be read, or that holds what this shop would not answer."""
    documents = Documents(
        introspection=settings.allows_introspection,
        compiled=settings.engine,
        trusted_only=settings.trusted_documents_only,
        watch=watch,
    )
    path = settings.trusted_documents
    for id_, text in listed(path).items() if path else ():
        try:
            documents.trust(text, id_)
        except Refused as refused:
            place, message = told(refused)[0]
            where = f"line {place}: " if place else ""
            raise Misconfigured(f"TRUSTED_DOCUMENTS: {path}: document {id_}: {where}{message}") from refused
    return documents


def listed(path: Path) -> dict[str, str]:
    """The documents of a list by their ids. An id of 64 hex digits has to be the SHA-256 of its text.

    Raises `Misconfigured` for what is neither `{"id": "text"}`, as written by `bookstore schema documents`, by Relay and
    by GraphQL Code Generator, nor a manifest of Apollo's.
    """
    try:
        found = orjson.loads(path.read_bytes())
    except OSError as error:
        raise Misconfigured(f"TRUSTED_DOCUMENTS: {path} cannot be read: {error.strerror}.") from error
    except orjson.JSONDecodeError as error:
        raise Misconfigured(f"TRUSTED_DOCUMENTS: {path} is no JSON: {error}.") from error
    try:
        if isinstance(found, dict) and found.get("format") == APOLLO:
            found = {operation["id"]: operation["body"] for operation in found["operations"]}
        documents = {id_.removeprefix(HASHED): text + "" for id_, text in found.items()}
        wrong = next((id_ for id_, text in documents.items() if _looks_hashed(id_) and id_ != sha256(text)), None)
    except (AttributeError, KeyError, TypeError):
        raise Misconfigured(f"TRUSTED_DOCUMENTS: {path} is no list of documents by their ids.") from None
    if wrong:
        raise Misconfigured(f"TRUSTED_DOCUMENTS: {path}: {wrong} is not the SHA-256 of its document.")
    if not documents:
        raise Misconfigured(f"TRUSTED_DOCUMENTS: {path} has no documents.")
    return documents


def _looks_hashed(id_: str) -> bool:
    return len(id_) == 64 and set(id_) <= set("0123456789abcdef")


def found_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in (".graphql", ".gql") and path.is_file())


def checked(documents: Documents, path: Path) -> tuple[str, Checked]:
    """The text of a file, to the byte, and what it was found to be. Raises `Refused`, `OSError` or `UnicodeDecodeError`."""
    text = path.read_bytes().decode("utf-8")
    return text, documents.trust(text)


def told(refused: Refused) -> list[tuple[str, str]]:
    """Each problem with its line and column, where it has them."""
    return [(_place(error), error.message) for error in refused.errors]


def _place(error: GraphQLError) -> str:
    return f"{error.locations[0].line}:{error.locations[0].column}" if error.locations else ""
