"""Read and validate the list of trusted documents that a frontend's build wrote."""

from pathlib import Path

import orjson
from graphql import GraphQLError

from graph.execution.documents import DocumentRejected, Documents, ValidatedDocument, sha256
from graph.executor import Tracer
from server.runtime import ConfigurationError
from server.settings import Settings

HASH_PREFIX = "sha256:"
"""An optional prefix of ids that are hashes."""
APOLLO_MANIFEST_FORMAT = "apollo-persisted-query-manifest"


def build_documents(settings: Settings, tracer: Tracer | None = None) -> Documents:
    """Return the document registry, with the trusted documents of the settings.

    Raises:
        ConfigurationError: the list cannot be read, or a document in it is not valid.
    """
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
    """Return the documents of a list by their ids. An id of 64 hex digits must be the SHA-256 of its text.

    The format is `{"id": "text"}`, as written by `bookstore schema documents`, Relay and GraphQL Code Generator, or
    Apollo's manifest.

    Raises:
        ConfigurationError: the file cannot be read, or has another format.
    """
    try:
        payload = orjson.loads(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"TRUSTED_DOCUMENTS: {path} cannot be read: {error.strerror}.") from error
    except orjson.JSONDecodeError as error:
        raise ConfigurationError(f"TRUSTED_DOCUMENTS: {path} is not valid JSON: {error}.") from error
    try:
        if isinstance(payload, dict) and payload.get("format") == APOLLO_MANIFEST_FORMAT:
            payload = {operation["id"]: operation["body"] for operation in payload["operations"]}
        documents = {id_.removeprefix(HASH_PREFIX): text + "" for id_, text in payload.items()}
        mismatched_id = next((id_ for id_, text in documents.items() if _is_sha256(id_) and id_ != sha256(text)), None)
    except (AttributeError, KeyError, TypeError):
        raise ConfigurationError(f"TRUSTED_DOCUMENTS: {path} is not an object of documents by their ids.") from None
    if mismatched_id:
        raise ConfigurationError(f"TRUSTED_DOCUMENTS: {path}: {mismatched_id} is not the SHA-256 of its document.")
    if not documents:
        raise ConfigurationError(f"TRUSTED_DOCUMENTS: {path} has no documents.")
    return documents


def _is_sha256(id_: str) -> bool:
    return len(id_) == 64 and set(id_) <= set("0123456789abcdef")


def find_document_files(folder: Path) -> list[Path]:
    """Return all *.graphql and *.gql files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix in (".graphql", ".gql") and path.is_file())


def validate_file(documents: Documents, path: Path) -> tuple[str, ValidatedDocument]:
    """Return the exact text of a file, and the validated document.

    Raises:
        DocumentRejected: the document is not valid.
        OSError: the file cannot be read.
        UnicodeDecodeError: the file is not in UTF-8.
    """
    text = path.read_bytes().decode("utf-8")
    return text, documents.register_trusted(text)


def format_errors(rejection: DocumentRejected) -> list[tuple[str, str]]:
    """Return the location (`line:column` or empty) and the message of each error."""
    return [(_format_location(error), error.message) for error in rejection.errors]


def _format_location(error: GraphQLError) -> str:
    return f"{error.locations[0].line}:{error.locations[0].column}" if error.locations else ""
