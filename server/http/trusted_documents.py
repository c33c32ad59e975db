"""Trusted documents: the list of what frontends ask, as their build wrote it."""

from pathlib import Path

import orjson
from graphql import GraphQLError

from graph.execution.documents import DocumentRejected, Documents, ValidatedDocument, sha256
from graph.executor import Tracer
from server.runtime import ConfigurationError
from server.settings import Settings

HASH_PREFIX = "sha256:"
"""What may stand before an id that is a hash."""
APOLLO_MANIFEST_FORMAT = "apollo-persisted-query-manifest"


def build_documents(settings: Settings, tracer: Tracer | None = None) -> Documents:
    """Raises `Misconfigured` for a list that cannot be read, or that holds what this shop would not answer."""
    documents = Documents(
        introspection=settings.allows_introspection,
        compiled=settings.engine,
        trusted_only=settings.trusted_documents_only,
        tracer=tracer,
    )
    path = settings.trusted_documents
    for id_, text in read_manifest(path).items() if path else ():
        try:
            documents.register_trusted(text, id_)
        except DocumentRejected as rejection:
            location, message = format_errors(rejection)[0]
            location_prefix = f"line {location}: " if location else ""
            raise ConfigurationError(
                f"TRUSTED_DOCUMENTS: {path}: document {id_}: {location_prefix}{message}"
            ) from rejection
    return documents


def read_manifest(path: Path) -> dict[str, str]:
    """The documents of a list by their ids. An id of 64 hex digits has to be the SHA-256 of its text.

    Raises `Misconfigured` for what is neither `{"id": "text"}`, as written by `bookstore schema documents`, by Relay and
    by GraphQL Code Generator, nor a manifest of Apollo's.
    """
    try:
        payload = orjson.loads(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"TRUSTED_DOCUMENTS: {path} cannot be read: {error.strerror}.") from error
    except orjson.JSONDecodeError as error:
        raise ConfigurationError(f"TRUSTED_DOCUMENTS: {path} is no JSON: {error}.") from error
    try:
        if isinstance(payload, dict) and payload.get("format") == APOLLO_MANIFEST_FORMAT:
            payload = {operation["id"]: operation["body"] for operation in payload["operations"]}
        documents = {id_.removeprefix(HASH_PREFIX): text + "" for id_, text in payload.items()}
        mismatched_id = next((id_ for id_, text in documents.items() if _is_sha256(id_) and id_ != sha256(text)), None)
    except (AttributeError, KeyError, TypeError):
        raise ConfigurationError(f"TRUSTED_DOCUMENTS: {path} is no list of documents by their ids.") from None
    if mismatched_id:
        raise ConfigurationError(f"TRUSTED_DOCUMENTS: {path}: {mismatched_id} is not the SHA-256 of its document.")
    if not documents:
        raise ConfigurationError(f"TRUSTED_DOCUMENTS: {path} has no documents.")
    return documents


def _is_sha256(id_: str) -> bool:
    return len(id_) == 64 and set(id_) <= set("0123456789abcdef")


def find_document_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in (".graphql", ".gql") and path.is_file())


def validate_file(documents: Documents, path: Path) -> tuple[str, ValidatedDocument]:
    """The text of a file, to the byte, and what it was found to be. Raises `Refused`, `OSError` or `UnicodeDecodeError`."""
    text = path.read_bytes().decode("utf-8")
    return text, documents.register_trusted(text)


def format_errors(rejection: DocumentRejected) -> list[tuple[str, str]]:
    """Each problem with its line and column, where it has them."""
    return [(_format_location(error), error.message) for error in rejection.errors]


def _format_location(error: GraphQLError) -> str:
    return f"{error.locations[0].line}:{error.locations[0].column}" if error.locations else ""
