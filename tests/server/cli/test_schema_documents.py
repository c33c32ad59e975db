"""The command `schema documents`: it writes the list for TRUSTED_DOCUMENTS, or nothing if a document is not valid."""

import json
from pathlib import Path

import pytest

from graph.execution.documents import sha256
from tests.support.processes.cli import CompletedCommand, get_error_line, run_command, run_in_process

GENRES = "query Genres { genres { name } }\n"
BOOKS = "query Books { books { nodes { ...BookFields } } }\r\nfragment BookFields on Book { title }"
EXPENSIVE_DOCUMENT = "{ books(first: 100) { nodes { authors { books { nodes { id } } } } } }"
INVALID_DOCUMENTS = {
    b"query {\n  boks { id }\n}": ":2:3: Cannot query field 'boks' on type 'Query'. Did you mean 'books' or 'book'?",
    b"{ books {": ":1:10: Syntax Error",
    b"": ":1:1: Syntax Error",
    b"{ books { nodes { ...Elsewhere } } }": ":1:22: Unknown fragment 'Elsewhere'.",
    b"fragment Alone on Book { id }": ":1:1: Fragment 'Alone' is never used.",
    b"type Book { id: ID }": ":1:1: The 'Book' definition is not executable.",
    b"{ __schema { types { name } } }": ":1:3: GraphQL introspection has been disabled",
    b"{ __typename }" + b" " * 10_000: ": The document has more than 10,000 characters.",
    b"{ a" + b" { a" * 20 + b" }" * 21: ": The document is more than 12 fields deep.",
    b"\xff": ": The file is not in UTF-8.",
    EXPENSIVE_DOCUMENT.replace("books {", "books(first: 100) {").encode(): ": It costs more than 20,000.",
}


@pytest.fixture
def documents_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / "genres.graphql").write_text(GENRES)
    (tmp_path / "src" / "deep" / "books.gql").write_bytes(BOOKS.encode())
    (tmp_path / "src" / "notes.txt").write_text("{ not a document }")
    return tmp_path


@pytest.mark.parametrize(("content", "error_message"), INVALID_DOCUMENTS.items(), ids=range(len(INVALID_DOCUMENTS)))
async def test_invalid_document_writes_nothing(documents_directory: Path, content: bytes, error_message: str) -> None:
    (documents_directory / "src" / "wrong.graphql").write_bytes(content)
    result = await run_in_process("schema", "documents", "src", "--out", "list.json")
    *error_lines, summary = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (1, "")
    assert any(line.startswith(f"src/wrong.graphql{error_message}") for line in error_lines)
    assert summary == "bookstore: 1 of 3 documents are not valid. Nothing was written."
    assert not (documents_directory / "list.json").exists()


async def test_directory_without_documents_is_rejected(documents_directory: Path) -> None:
    (documents_directory / "empty").mkdir()
    assert await get_error_line(run_in_process("schema", "documents", "empty")) == (
        "empty has no documents. Nothing was written."
    )


async def test_missing_directory_and_unwritable_output_are_rejected(documents_directory: Path) -> None:
    missing_directory = await run_in_process("schema", "documents", "nowhere")
    assert (missing_directory.exit_code, missing_directory.stdout) == (2, "")
    error_line = get_error_line(run_in_process("schema", "documents", "src", "--out", "nowhere/list.json"))
    assert await error_line == "nowhere/list.json cannot be written: No such file or directory."


async def test_list_contains_documents_verbatim(documents_directory: Path) -> None:
    output = await run_command("schema", "documents", "src", directory=documents_directory)
    assert (output.exit_code, output.stderr) == (0, "")
    assert json.loads(output.stdout) == {sha256(text): text for text in (BOOKS, GENRES)}
    result = await run_in_process("schema", "documents", "src", "--out", "list.json")
    assert result == CompletedCommand(0, "2 documents in list.json.\n", "")
    assert (documents_directory / "list.json").read_text() == output.stdout


async def test_admin_only_documents_are_reported_and_listed(documents_directory: Path) -> None:
    (documents_directory / "src" / "expensive.graphql").write_text(EXPENSIVE_DOCUMENT)
    result = await run_in_process("schema", "documents", "src")
    assert result.stderr == "src/expensive.graphql: It costs more than 5,000: only administrators can execute it.\n"
    assert sha256(EXPENSIVE_DOCUMENT) in json.loads(result.stdout)


async def test_invalid_list_prevents_startup_with_one_line(documents_directory: Path) -> None:
    (documents_directory / "list.json").write_text(json.dumps({"a": "{ boks { id } }"}))
    environment = {"TRUSTED_DOCUMENTS": "list.json", "ENVIRONMENT": "development"}
    line = await get_error_line(
        run_command("serve", "--port", "0", "--data", "data", directory=documents_directory, **environment)
    )
    assert line.startswith("TRUSTED_DOCUMENTS: list.json: document a: line 1:3: Cannot query field 'boks'")
