"""Read a CSV file: detect its encoding and its separator, and refuse a file whose rows cannot be told apart."""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path

from server.runtime import ConfigurationError

MAX_ROW_LENGTH = 1_000_000
"""In characters. It bounds the memory, whatever the file holds."""
SAMPLE_SIZE = 65_536
"""In bytes: so much of the beginning of a file shows what kind of file it is."""
SEPARATORS = (",", ";", "\t")

_SAVE_AS = "Save the file as CSV UTF-8."
_SIGNATURES = {
    b"PK\x03\x04": "a spreadsheet or a zip file",
    b"PK\x05\x06": "an empty zip file",
    b"\xd0\xcf\x11\xe0": "an Excel file",
    b"\x1f\x8b": "a compressed file",
    b"%PDF": "a PDF file",
    b"SQLite format 3": "a SQLite database",
}
_UTF_32_MARKS = (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_CONTROL_BYTES = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\x1a")
_MAX_CONTROL_SHARE = 0.1
"""A file with a larger share of control characters is not text."""
_UNDECODABLE = re.compile("[\udc80-\udcff\ufffd]")
_HIGH_BYTES = re.compile(rb"[\x80-\xff]+")
_SEPARATOR_LINE = re.compile(r'\ufeff?"?sep=(.)"?[,;\t]*[\r\n]*', re.IGNORECASE)


class CsvStructureError(ConfigurationError):
    """The quotation marks or the length of a row make the rows of the file ambiguous."""


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A CSV file with a header, as `open_csv` returns it.

    Attributes:
        path: Where it is.
        encoding: Python's name of its encoding.
        separator: The character between two values.
        header: The names of its columns, as they are in the file.
        has_separator_line: Whether its first line is `sep=;` or the like, which Excel reads.
    """

    path: Path
    encoding: str
    separator: str
    header: tuple[str, ...] = ()
    has_separator_line: bool = False

    def read_rows(self) -> Iterator[tuple[int, list[str]]]:
        """Iterate over the rows below the header that are not blank, with the lines on which they begin.

        Raises:
            ConfigurationError: The file is not in its encoding, or its rows cannot be told apart.
        """
        rows = self._read_all()
        next(rows, None)
        return rows

    def read_header(self) -> tuple[str, ...]:
        """Return the values of the first row, or none for a blank file.

        Raises:
            ConfigurationError: Like `read_rows`.
        """
        return tuple(next(self._read_all(), (0, []))[1])

    def _read_all(self) -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(MAX_ROW_LENGTH)
        with self.path.open(encoding=self.encoding, newline="") as stream:
            lines = _RowLines(stream)
            reader = csv.reader(lines, delimiter=self.separator, strict=True)
            while True:
                first_line = lines.start_row()
                try:
                    values = next(reader)
                except StopIteration:
                    return
                except UnicodeDecodeError:
                    raise ConfigurationError(_describe_undecodable_line(self.path, self.encoding)) from None
                except (csv.Error, _RowTooLong):
                    raise CsvStructureError(
                        f"{self.path} line {_describe_row_error(lines.row, first_line, self.separator)}"
                    ) from None
                is_blank = len(values) < 2 and not "".join(values).strip().strip("\x1a")  # Ctrl-Z ends files of DOS
                if not is_blank and not (self.has_separator_line and first_line == 1):
                    yield first_line, values


class _RowTooLong(Exception):
    """A row has more than `MAX_ROW_LENGTH` characters."""


class _RowLines:
    """Iterates over the lines of a stream, and remembers those of the current row."""

    def __init__(self, stream: TextIOBase) -> None:
        self._stream = stream
        self._line_number = 0
        self._length = 0
        self.row: list[str] = []

    def start_row(self) -> int:
        """Forget the lines of the last row, and return the number of the next line."""
        self.row.clear()
        self._length = 0
        return self._line_number + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(MAX_ROW_LENGTH + 1)
        if not line:
            raise StopIteration
        self._line_number += 1
        self._length += len(line)
        self.row.append(line)
        if self._length > MAX_ROW_LENGTH:
            raise _RowTooLong
        return line


def open_csv(path: Path, count_columns: Callable[[Sequence[str]], int]) -> CsvFile:
    """Return the file with its encoding, its separator and its header.

    Args:
        path: The file.
        count_columns: Returns how many columns of a header are known. The separator with the most is taken.

    Raises:
        ConfigurationError: The file is empty, not text, or in an encoding that is not supported, or the rows cannot be
            told apart.
    """
    encoding = _detect_encoding(path)
    declared_separator = _read_separator_line(path, encoding)
    best: CsvFile | None = None
    error: CsvStructureError | None = None
    for separator in (declared_separator,) if declared_separator else SEPARATORS:
        file = CsvFile(path, encoding, separator, has_separator_line=declared_separator is not None)
        try:
            header = file.read_header()
        except CsvStructureError as structure_error:
            error = error or structure_error
            continue
        candidate = CsvFile(path, encoding, separator, header, file.has_separator_line)
        if best is None or _rate(candidate, count_columns) > _rate(best, count_columns):
            best = candidate
    if error is not None and (best is None or not count_columns(best.header)):
        raise error
    assert best is not None
    if not best.header:
        raise ConfigurationError(f"{path} is empty. Its first line must name the columns.")
    return best


def count_line_ends(text: str) -> int:
    """Return how many line ends the text has, of any system."""
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def _rate(file: CsvFile, count_columns: Callable[[Sequence[str]], int]) -> tuple[int, int]:
    return count_columns(file.header), len(file.header)


def _detect_encoding(path: Path) -> str:
    if not path.is_file():
        raise ConfigurationError(
            f"{path} is not a regular file, which is read twice. Save its content to a file first."
        )
    with path.open("rb") as stream:
        sample = stream.read(SAMPLE_SIZE)
    for signature, kind in _SIGNATURES.items():
        if sample.startswith(signature):
            raise ConfigurationError(f"{path} is {kind}. Open it, and save its table as CSV UTF-8.")
    if sample.startswith(_UTF_32_MARKS):
        raise ConfigurationError(f"{path} is in UTF-32. {_SAVE_AS}")
    if sample.startswith(_UTF_16_MARKS):
        return "utf-16"
    if _is_utf_16(sample):
        raise ConfigurationError(
            f"{path} line 1 is not in UTF-8; it looks like UTF-16 without a byte order mark. {_SAVE_AS}"
        )
    control_count = len(sample) - len(sample.translate(None, _CONTROL_BYTES))
    if control_count > _MAX_CONTROL_SHARE * len(sample):
        raise ConfigurationError(f"{path} is not a text file. {_SAVE_AS}")
    return "utf-8-sig"


def _is_utf_16(sample: bytes) -> bool:
    """Return whether most bytes at even or at odd positions are NUL, and few of the others."""
    half = len(sample) // 2
    shares = sorted((sample[0::2].count(0), sample[1::2].count(0)))
    return half > 1 and shares[1] > 0.6 * half and shares[0] < 0.1 * half


def _read_separator_line(path: Path, encoding: str) -> str | None:
    with path.open(encoding=encoding, newline="", errors="replace") as stream:
        line = stream.readline(20)
    if not (match := _SEPARATOR_LINE.fullmatch(line)):
        return None
    if match[1] not in SEPARATORS:
        raise ConfigurationError(
            f"{path} line 1 names {match[1]!r} as the separator. Use a comma, a semicolon or a tab."
        )
    return match[1]


def _describe_undecodable_line(path: Path, encoding: str) -> str:
    """Return a sentence that names the first line with bytes that do not fit, and their likely encoding."""
    is_utf_8 = encoding == "utf-8-sig"
    line_number = 1
    with path.open(encoding=encoding, newline="", errors="surrogateescape" if is_utf_8 else "replace") as stream:
        while part := stream.readline(SAMPLE_SIZE):
            if _UNDECODABLE.search(part):
                break
            line_number += part.endswith(("\n", "\r"))
    if not is_utf_8:
        return f"{path} line {line_number} is not in UTF-16, which the byte order mark announces. {_SAVE_AS}"
    guess = _guess_encoding(part.encode("utf-8", "surrogateescape"))
    likely = f"it looks like {guess}" if guess else "it is in another encoding"
    return f"{path} line {line_number} is not in UTF-8; {likely}. {_SAVE_AS}"


def _guess_encoding(line: bytes) -> str | None:
    """Return the likely encoding of a line that is not in UTF-8."""
    runs = _HIGH_BYTES.findall(line)
    if max(map(len, runs)) > 2:  # words of another script; in Western languages accents stand alone
        for encoding, name, letters in (
            ("cp1251", "Windows-1251", "[а-яА-ЯёЁ]"),
            ("cp932", "Shift JIS", "[\u3040-\u30ff]"),
            ("gb18030", "GB 18030", "[\u4e00-\u9fff]"),
        ):
            text = line.decode(encoding, "replace")
            characters = [character for character in text if not character.isascii()]
            if len(re.findall(letters, text)) > 0.7 * len(characters):
                return name
    try:
        line.decode("cp1252")
    except UnicodeDecodeError:
        return None
    return "Windows-1252"


def _describe_row_error(lines: Sequence[str], first_line: int, separator: str) -> str:
    """Return the line on which the field begins that makes a row invalid, with the reason and what to do."""
    quote_line, is_in_quotes, is_after_quote = first_line, False, False
    is_field_start = True
    line_number = first_line
    for line_number, line in enumerate(lines, start=first_line):
        for character in line:
            if is_in_quotes:
                if character == '"':
                    is_in_quotes, is_after_quote = False, True
            elif is_after_quote and character == '"':
                is_in_quotes, is_after_quote = True, False
            elif character == separator:
                is_field_start, is_after_quote = True, False
            elif is_after_quote and character not in "\r\n":
                if quote_line == line_number:
                    return (
                        f"{quote_line} has text after the closing quotation mark of a value. Write a quotation mark "
                        "inside a quoted value twice."
                    )
                return (
                    f"{quote_line}: a quotation mark opens a value here, and text follows its closing mark on line "
                    f"{line_number}. Close or remove the mark on line {quote_line}."
                )
            elif is_field_start and character == '"':
                quote_line, is_in_quotes, is_field_start = line_number, True, False
            else:
                is_field_start = False
    if is_in_quotes and (line_number > quote_line or sum(map(len, lines)) <= MAX_ROW_LENGTH):
        return f"{quote_line}: a quotation mark opens a value here and is never closed. Close or remove it."
    return (
        f"{first_line} begins a row with more than {MAX_ROW_LENGTH:,} characters. Shorten it, or check its line ends."
    )
