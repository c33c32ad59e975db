"""The table, the row, the import and the schema have the fields that `BookDetails` declares."""

from typing import Any

import pytest
from strawberry.utils.str_converters import to_camel_case

from domain.book_fields import BOOK_FIELDS
from domain.book_import import FIELD_COLUMNS
from graph.schema import schema
from persistence import tables
from persistence.catalog import BookChanges, BookRow
from tests.support.shop.catalog_admin import SAMPLE_DETAILS

READ_ONLY_COLUMNS = {"id", "slug", "stock_quantity", "added_at", "updated_at"}
INTERNAL_COLUMNS = {"author_names", "sort_title", "author_key", "spelling", "search"}


def get_column_names() -> set[str]:
    return set(tables.Book.__table__.columns.keys())


def get_field_names(type_name: str) -> set[str]:
    graphql_type: Any = schema._schema.type_map[type_name]
    return set(graphql_type.fields)


def test_every_column_is_declared_or_read_only() -> None:
    assert get_column_names() == (BOOK_FIELDS.keys() - {"authors"}) | READ_ONLY_COLUMNS | INTERNAL_COLUMNS


def test_row_and_changes_have_every_column() -> None:
    assert set(BookRow.__slots__) == get_column_names() - INTERNAL_COLUMNS
    assert BookChanges.__annotations__.keys() == (BOOK_FIELDS.keys() - {"authors"}) | {"author_names"}


def test_book_type_has_every_field() -> None:
    fields = {to_camel_case(name) for name in BOOK_FIELDS} - {"genreId"} | {"genre"}
    assert fields <= get_field_names("Book")


@pytest.mark.parametrize(
    ("type_name", "extra_field"), [("CreateBookInput", "stockQuantity"), ("UpdateBookInput", "bookId")]
)
def test_input_has_every_field(type_name: str, extra_field: str) -> None:
    assert get_field_names(type_name) == {to_camel_case(name) for name in BOOK_FIELDS} | {extra_field}


def test_import_and_samples_have_every_field_except_genre() -> None:
    fields = BOOK_FIELDS.keys() - {"genre_id"}
    assert {name for name, _ in FIELD_COLUMNS.values()} == fields
    assert SAMPLE_DETAILS.keys() == fields
