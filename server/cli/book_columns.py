"""Find the columns of the import in the header of a file: by their names, by `--map`, or in exports of readers' sites."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from domain.book_import import OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from domain.csv_cells import parse_isbn
from server.runtime import ConfigurationError

COLUMNS = REQUIRED_COLUMNS + OPTIONAL_COLUMNS

Combine = Callable[[Sequence[str]], str]
"""Returns the cell of a column of the import from the cells of the columns of the file."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the import, and the columns of the file that hold it.

    Attributes:
        name: The name that the import gives it.
        label: The name that the file gives it.
        indexes: The positions in the file.
        combine: Makes one cell of those of the file.
    """

    name: str
    label: str
    indexes: tuple[int, ...]
    combine: Combine

    def get_cell(self, values: Sequence[str]) -> str:
        """Return the cell in a row of the file."""
        return self.combine([values[index] for index in self.indexes])


@dataclass(frozen=True, slots=True)
class Export:
    """How a site exports books. A header that has all names in `signature` is one of the site."""

    signature: frozenset[str]
    columns: Mapping[str, tuple[Combine, tuple[str, ...]]]


def _get_only(cells: Sequence[str]) -> str:
    return cells[0]


def _get_first_isbn(cells: Sequence[str]) -> str:
    """Return the first cell that is not empty, also in Excel's notation; LibraryThing writes brackets around it."""
    isbns = (parse_isbn(cell.strip().removeprefix("[").removesuffix("]")) for cell in cells)
    return next((isbn for isbn in isbns if isbn), "")


def _join_names(cells: Sequence[str]) -> str:
    """Return the names in lists that commas separate."""
    return ";".join(cell.replace(",", ";") for cell in cells)


def _join_first_and_names(cells: Sequence[str]) -> str:
    """Return the name in the first cell, which can have a comma (`Martin Luther King, Jr.`), and those in the others."""
    return f"{cells[0]};{_join_names(cells[1:])}"


def _join_inverted_names(cells: Sequence[str]) -> str:
    """Return names such as `Tolkien, J. R. R.` in the order in which they are spoken."""
    names = (name.split(",", 1) for cell in cells for name in re.split(r"[|;]", cell))
    return ";".join(" ".join(reversed(parts)) for parts in names)


EXPORTS = (
    Export(  # Goodreads
        frozenset({"title", "author", "author_l_f", "isbn13"}),
        {
            "isbn": (_get_first_isbn, ("isbn13", "isbn")),
            "author": (_join_first_and_names, ("author", "additional_authors")),
            "format": (_get_only, ("binding",)),
            "page_count": (_get_only, ("number_of_pages",)),
            "published_on": (_get_only, ("year_published",)),
        },
    ),
    Export(  # LibraryThing
        frozenset({"title", "primary_author", "isbn", "media"}),
        {
            "isbn": (_get_first_isbn, ("isbn",)),
            "author": (_join_inverted_names, ("primary_author", "secondary_author")),
            "format": (_get_only, ("media",)),
            "published_on": (_get_only, ("date",)),
            "language": (_get_only, ("languages",)),
        },
    ),
    Export(  # The StoryGraph
        frozenset({"title", "authors", "isbn/uid"}),
        {"isbn": (_get_first_isbn, ("isbn/uid",)), "author": (_join_names, ("authors",))},
    ),
)


def normalize_name(name: str) -> str:
    """Return the name of a column in lower case and NFKC, with an underscore for spaces and hyphens."""
    text = "".join(
        character for character in unicodedata.normalize("NFKC", name) if unicodedata.category(character) != "Cf"
    )
    return re.sub(r"[\s_-]+", "_", text.strip().lower())


def count_known_columns(header: Sequence[str], names: Mapping[str, str]) -> int:
    """Return how many columns of the import a header has. `names` are those of `--map`."""
    indexes = {normalize_name(name): index for index, name in enumerate(header)}
    return len(_find_sources(indexes, names))


def find_columns(path: object, header: Sequence[str], names: Mapping[str, str]) -> list[Column]:
    """Return the columns of the import that the header has.

    Args:
        path: The file, for error messages.
        header: The names of its columns.
        names: Per column of the import the name in the file, where the caller gives one.

    Raises:
        ConfigurationError: The header names a column twice, or lacks one that `names` gives.
    """
    indexes: dict[str, int] = {}
    for index, name in enumerate(header):
        if (normalized := normalize_name(name)) and indexes.setdefault(normalized, index) != index:
            raise ConfigurationError(f"{path} names the column {name.strip()} twice. Remove or rename one of them.")
    for column, name in names.items():
        if normalize_name(name) not in indexes:
            raise ConfigurationError(f"{path} lacks the column {name}, which --map gives for {column}.")
    return [
        Column(name, header[positions[0]].strip().strip("\ufeff") or name, positions, combine)
        for name, (combine, positions) in _find_sources(indexes, names).items()
    ]


def _find_sources(indexes: Mapping[str, int], names: Mapping[str, str]) -> dict[str, tuple[Combine, tuple[int, ...]]]:
    """Return the positions per column of the import; a name of `--map` has priority, then those of an export."""
    sources: dict[str, tuple[Combine, tuple[str, ...]]] = {name: (_get_only, (name,)) for name in COLUMNS}
    for export in EXPORTS:
        if export.signature <= indexes.keys():
            sources |= export.columns
            break
    sources |= {column: (_get_only, (normalize_name(name),)) for column, name in names.items()}
    found = {
        column: (combine, tuple(indexes[name] for name in file_names if name in indexes))
        for column, (combine, file_names) in sources.items()
    }
    return {column: source for column, source in found.items() if source[1]}
