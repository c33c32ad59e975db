"""CSV files: which are refused and why, and that the others are read as they were written."""

import csv
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.cli.book_columns import count_known_columns
from server.cli.csv_file import CsvFile, open_csv
from server.runtime import ConfigurationError


def count_columns(header: Sequence[str]) -> int:
    return count_known_columns(header, {})


def open_content(folder: Path, content: bytes) -> CsvFile:
    (folder / "feed.csv").write_bytes(content)
    return open_csv(folder / "feed.csv", count_columns)


def read_content(folder: Path, content: bytes | str) -> list[tuple[int, list[str]]]:
    return list(open_content(folder, content.encode() if isinstance(content, str) else content).read_rows())


def get_error_message(folder: Path, content: bytes | str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_content(folder, content)
    message = str(caught.value).replace(f"{folder}/", "")
    assert "\n" not in message
    assert len(message) < 300
    return message


# ── Refused files ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "error_message"),
    [
        ('isbn,title,price\n1,"Emma,5\n', "feed.csv line 2: a quotation mark opens a value here and is never closed."),
        ('isbn,title,price\n1,Emma,"5', "feed.csv line 2: a quotation mark opens a value here and is never closed."),
        ('isbn,title,price\n\n1,"A\nB",5\n2,"', "feed.csv line 5: a quotation mark opens a value here and is never"),
        ('isbn,title,price\r1,A,5\r2,"B,5\r3,C,5\r', "feed.csv line 3: a quotation mark opens a value here"),
        ('isbn,"title,price\n1,Emma,5\n', "feed.csv line 1: a quotation mark opens a value here and is never closed."),
        ('isbn;"title;price\n1;Emma;5\n', "feed.csv line 1: a quotation mark opens a value here and is never closed."),
        ('isbn,title,price\n1,"An "odd" title",5\n', "feed.csv line 2 has text after the closing quotation mark"),
        ('isbn\ttitle\tprice\n1\t"Emma" \t5\n', "feed.csv line 2 has text after the closing quotation mark"),
        (
            'isbn,title,price\n1,"A\nB",5\n2,"Emma,5\n3,C,5\n4,"D",5\n',
            "feed.csv line 4: a quotation mark opens a value here, and text follows its closing mark on line 6.",
        ),
    ],
)
def test_wrong_quotation_marks_are_refused_with_the_line_of_the_first(
    tmp_path: Path, content: str, error_message: str
) -> None:
    for encoded in (content.encode(), content.encode("utf-16"), b"\xef\xbb\xbf" + content.encode()):
        assert error_message in get_error_message(tmp_path, encoded)


@pytest.mark.parametrize(
    ("content", "error_message"),
    [
        (b"", "feed.csv is empty."),
        (b"\xef\xbb\xbf", "feed.csv is empty."),
        (b"\r\n \n\n", "feed.csv is empty."),
        (b"\xff\xfe", "feed.csv is empty."),
        (b"sep=;\r\n", "feed.csv is empty."),
        (b"sep=|\r\nisbn|title|price\r\n", "feed.csv line 1 names '|' as the separator. Use a comma"),
        (b"PK\x03\x04\x14\0\x06\0\x08\0", "feed.csv is a spreadsheet or a zip file."),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "feed.csv is an Excel file."),
        (b"\x1f\x8b\x08\0abc", "feed.csv is a compressed file."),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0", "feed.csv is not a text file."),
        (b"\0" * 100, "feed.csv is not a text file."),
        ("isbn,title,price\n".encode("utf-32"), "feed.csv is in UTF-32."),
        ("isbn,title,price\n1,Emma,5\n".encode("utf-16-le"), "it looks like UTF-16 without a byte order mark."),
        ("isbn,title,price\n1,Emma,5\n".encode("utf-16-be"), "it looks like UTF-16 without a byte order mark."),
        ("isbn,title,price\n1,Emma,5\n".encode("utf-16")[:-1], "feed.csv line 2 is not in UTF-16"),
        ("isbn;title;price\r\n1;Größe;5\r\n".encode("cp1252"), "feed.csv line 2 is not in UTF-8; it looks like Windows-1252."),
        ("isbn,title,price\r1,A,5\r2,“Café”,5\r".encode("cp1252"), "feed.csv line 3 is not in UTF-8; it looks like Windows-1252."),
        ("isbn,title,price\n1,Мастер и Маргарита,5\n".encode("cp1251"), "feed.csv line 2 is not in UTF-8; it looks like Windows-1251."),
        ("isbn,title,price\n1,ノルウェイのもり,5\n".encode("cp932"), "feed.csv line 2 is not in UTF-8; it looks like Shift JIS."),
        (("isbn,title,price\n" + "1,Über,5\n" * 20_000).encode() + b"1,Caf\xe9,5\n", "feed.csv line 20002 is not in UTF-8"),
    ],
)  # fmt: skip
def test_file_of_another_kind_or_encoding_is_refused(tmp_path: Path, content: bytes, error_message: str) -> None:
    assert error_message in get_error_message(tmp_path, content)


def test_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not a regular file"):
        open_csv(tmp_path, count_columns)


@pytest.mark.parametrize(
    ("row", "error_message"),
    [
        ("x" * 4_000_000, "line 2 begins a row with more than 1,000,000 characters."),
        ("1," + '"' + "x" * 4_000_000, "line 2 begins a row with more than 1,000,000 characters."),
        ('1,"' + ("x" * 999 + "\n") * 4_000, "line 2: a quotation mark opens a value here and is never closed."),
    ],
    ids=["line", "value", "value of many lines"],
)
def test_huge_row_is_refused_in_bounded_memory(tmp_path: Path, row: str, error_message: str) -> None:
    file = tmp_path / "feed.csv"
    with file.open("wb") as stream:
        write_repeatedly(stream, f"isbn,title,price\n{row}".encode())
    del row
    tracemalloc.start()
    try:
        with pytest.raises(ConfigurationError, match=error_message):
            list(open_csv(file, count_columns).read_rows())
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def write_repeatedly(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)
    stream.write(content[-1_000_000:] * 10)


# ── Files that are read ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_rows_have_the_line_numbers_of_an_editor(tmp_path: Path, separator: str, line_end: str) -> None:
    lines = ["isbn,title,price", "", "1,A,5", '2,"B', "", 'C",5', "  ", "3,D,5", '4,"E', 'F","G', 'H"', "5,,"]
    content = line_end.join(line.replace(",", separator) for line in lines)
    assert read_content(tmp_path, content) == [
        (3, ["1", "A", "5"]),
        (4, ["2", f"B{line_end}{line_end}C", "5"]),
        (8, ["3", "D", "5"]),
        (9, ["4", f"E{line_end}F", f"G{line_end}H"]),
        (12, ["5", "", ""]),
    ]


@pytest.mark.parametrize(
    ("header", "separator"),
    [
        ("isbn,title,price", ","),
        ("isbn;title;price", ";"),
        ("isbn\ttitle\tprice", "\t"),
        ("isbn;title;price;notes, long, and, many, more", ";"),
        ('"isbn","title","price; in euros"', ","),
        ('isbn;"title";"price"', ";"),
        (" ISBN ;Title;PRICE", ";"),
        ("title", ","),
        ("sep=;\r\nisbn;title;price", ";"),
        ("SEP=\t\nisbn\ttitle\tprice", "\t"),
        ('"sep=,"\nisbn,title,price', ","),
        ("sep=;;;\nisbn;title;price", ";"),
    ],
)
def test_separator_is_detected(tmp_path: Path, header: str, separator: str) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file = open_content(tmp_path, header.encode(encoding))
        assert file.separator == separator
        assert list(file.read_rows()) == []


def test_end_of_file_of_dos_is_no_row(tmp_path: Path) -> None:
    assert read_content(tmp_path, "isbn,title,price\r\n1,A,5\r\n\x1a") == [(2, ["1", "A", "5"])]


def test_line_of_the_separator_counts(tmp_path: Path) -> None:
    assert read_content(tmp_path, "sep=;\nisbn;title;price\n1;A;5\n") == [(3, ["1", "A", "5"])]


def test_quotation_marks_within_a_value_are_text(tmp_path: Path) -> None:
    content = 'isbn,title,price\n="1",5" floppy,5\n2,"The ""Hobbit""",5\n'
    assert [values for _, values in read_content(tmp_path, content)] == [
        ['="1"', '5" floppy', "5"],
        ["2", 'The "Hobbit"', "5"],
    ]


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=8) | st.text(
    st.sampled_from('",;\t\r\n a='), max_size=6
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=6),
    separator=st.sampled_from([",", ";", "\t"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_written_tables_are_read_back(
    tmp_path: Path, rows: list[tuple[str, str, str]], separator: str, encoding: str, line_end: str, quoting: int
) -> None:
    if any(set("\r\n") & set(cell) for row in rows for cell in row):
        quoting = csv.QUOTE_ALL  # before Python 3.13 csv.writer does not quote each line end
    with (tmp_path / "feed.csv").open("w", encoding=encoding, newline="") as stream:
        writer = csv.writer(stream, delimiter=separator, lineterminator=line_end, quoting=quoting)  # type: ignore[arg-type]
        writer.writerows([("isbn", "title", "price"), *rows])
    file = open_csv(tmp_path / "feed.csv", count_columns)
    assert (file.separator, file.header) == (separator, ("isbn", "title", "price"))
    assert [tuple(values) for _, values in file.read_rows()] == rows
