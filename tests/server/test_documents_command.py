"""`bookstore schema documents`: a folder of documents becomes the list that TRUSTED_DOCUMENTS names, or nothing does."""

import json
from pathlib import Path

import pytest

from graph.documents import sha256
from tests.commands import Ended, refused, run

GENRES = "query Genres { genres { name } }\n"
BOOKS = "query Books { books { nodes { ...It } } }\r\nfragment It on Book { title }"
DEAR = "{ books(first: 100) { nodes { authors { books { nodes { id } } } } } }"
WRONG = {
    b"query {\n  boks { id }\n}": ":2:3: Cannot query field 'boks' on type 'Query'. Did you mean 'books' or 'book'?",
    b"{ books {": ":1:10: Syntax Error",
    b"": ":1:1: Syntax Error",
    b"{ books { nodes { ...Elsewhere } } }": ":1:22: Unknown fragment 'Elsewhere'.",
    b"fragment Alone on Book { id }": ":1:1: Fragment 'Alone' is never used.",
    b"type Book { id: ID }": ":1:1: The 'Book' definition is not executable.",
    b"{ __schema { types { name } } }": ":1:3: GraphQL introspection has been disabled",
    b"{ __typename }" + b" " * 10_000: ": The document has more than 10,000 characters.",
    b"{ a" + b" { a" * 20 + b" }" * 21: ": The document is more than 12 fields deep.",
    b"\xff": ": It is not in UTF-8.",
    DEAR.replace("books {", "books(first: 100) {").encode(): ": It costs more than 20,000.",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / "genres.graphql").write_text(GENRES)
    (tmp_path / "src" / "deep" / "books.gql").write_bytes(BOOKS.encode())
    (tmp_path / "src" / "notes.txt").write_text("{ not one }")
    return tmp_path


@pytest.mark.parametrize(("content", "complaint"), WRONG.items(), ids=range(len(WRONG)))
async def test_a_document_that_does_not_fit_and_nothing_is_written(
    folder: Path, content: bytes, complaint: str
) -> None:
    (folder / "src" / "wrong.graphql").write_bytes(content)
    ended = await run("schema", "documents", "src", "--out", "list.json", folder=folder)
    *problems, last = ended.err.splitlines()
    assert (ended.code, ended.out) == (1, "")
    assert any(line.startswith(f"src/wrong.graphql{complaint}") for line in problems)
    assert last == "bookstore: 1 of 3 documents do not fit. Nothing was written."
    assert not (folder / "list.json").exists()


async def test_a_folder_without_documents(folder: Path) -> None:
    (folder / "empty").mkdir()
    assert await refused(run("schema", "documents", "empty", folder=folder)) == (
        "empty has no documents. Nothing was written."
    )


async def test_a_folder_that_is_not_there_and_a_place_that_cannot_be_written(folder: Path) -> None:
    nowhere = await run("schema", "documents", "nowhere", folder=folder)
    assert (nowhere.code, nowhere.out) == (2, "")
    written = refused(run("schema", "documents", "src", "--out", "nowhere/list.json", folder=folder))
    assert await written == "nowhere/list.json cannot be written: No such file or directory."


async def test_a_list_is_made_of_the_texts_as_they_are(folder: Path) -> None:
    printed = await run("schema", "documents", "src", folder=folder)
    assert (printed.code, printed.err) == (0, "")
    assert json.loads(printed.out) == {sha256(text): text for text in (BOOKS, GENRES)}
    written = await run("schema", "documents", "src", "--out", "list.json", folder=folder)
    assert written == Ended(0, "2 documents in list.json.\n", "")
    assert (folder / "list.json").read_text() == printed.out


async def test_what_only_administrators_may_ask_is_told_and_listed(folder: Path) -> None:
    (folder / "src" / "dear.graphql").write_text(DEAR)
    ended = await run("schema", "documents", "src", folder=folder)
    assert ended.err == "src/dear.graphql: It costs more than 5,000: only administrators may ask it.\n"
    assert sha256(DEAR) in json.loads(ended.out)


async def test_a_list_that_does_not_fit_keeps_the_shop_closed_in_one_line(folder: Path) -> None:
    (folder / "list.json").write_text(json.dumps({"a": "{ boks { id } }"}))
    given = {"TRUSTED_DOCUMENTS": "list.json", "ENVIRONMENT": "development"}
    line = await refused(run("serve", "--port", "0", "--data", "data", folder=folder, **given))
    assert line.startswith("TRUSTED_DOCUMENTS: list.json: document a: line 1:3: Cannot query field 'boks'")
