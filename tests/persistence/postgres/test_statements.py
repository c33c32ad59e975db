"""Commands are compiled once per set of parameter names, and reject unknown and missing parameters."""

import uuid

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, Uuid, bindparam, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence.postgres.statements import Command, Query

SHELVES = Table(
    "shelves",
    MetaData(),
    Column("id", Uuid(), primary_key=True, default=uuid.uuid4),
    Column("name", String()),
    Column("height", Integer()),
    Column("color", String()),
)
HAS_ID = SHELVES.c.id == bindparam("shelf", type_=Uuid())
SHELF_ID = uuid.uuid4()


def test_parameter_names_select_the_columns() -> None:
    command = Command(update(SHELVES).where(HAS_ID))
    assert command.bind({"shelf": SHELF_ID, "height": 3}) == (
        "UPDATE shelves SET height=$1::INTEGER WHERE shelves.id = $2::UUID",
        [3, SHELF_ID],
    )
    assert command.bind({"name": None, "shelf": SHELF_ID, "height": 4}) == (
        "UPDATE shelves SET name=$1::VARCHAR, height=$2::INTEGER WHERE shelves.id = $3::UUID",
        [None, 4, SHELF_ID],
    )


def test_each_set_of_names_is_compiled_once() -> None:
    command = Command(update(SHELVES).where(HAS_ID))
    first, _ = command.bind({"shelf": SHELF_ID, "height": 3})
    other, _ = command.bind({"shelf": SHELF_ID, "name": "A"})
    repeated, _ = command.bind({"shelf": uuid.uuid4(), "height": 4})
    assert repeated is first != other


def test_values_in_the_statement_are_bound() -> None:
    command = Command(update(SHELVES).where(HAS_ID).values(height=0, color=None))
    _, arguments = command.bind({"shelf": SHELF_ID, "name": "A"})
    assert arguments == ["A", 0, None, SHELF_ID]


def test_missing_keys_are_generated_per_row() -> None:
    command = Command(upsert(SHELVES).on_conflict_do_nothing())
    (sql, first), (_, second) = (command.bind({"name": "A"}) for _ in range(2))
    assert sql.startswith("INSERT INTO shelves (id, name) VALUES ($1::UUID, $2::VARCHAR)")
    assert first[0] != second[0]
    assert isinstance(first[0], uuid.UUID)
    assert command.bind({"name": "A", "id": SHELF_ID})[1] == [SHELF_ID, "A"]


def test_unknown_parameter_is_rejected() -> None:
    with pytest.raises(TypeError, match="Unknown parameters width"):
        Command(insert(SHELVES)).bind({"name": "A", "width": 3})


def test_missing_parameter_is_rejected() -> None:
    with pytest.raises(KeyError, match="shelf"):
        Command(update(SHELVES).where(HAS_ID)).bind({"height": 3})


def test_expanding_list_parameter_is_rejected() -> None:
    condition = SHELVES.c.name.in_(["A", "B"])
    with pytest.raises(TypeError, match="any_"):
        Command(update(SHELVES).where(condition)).bind({"height": 3})
    with pytest.raises(TypeError, match="any_"):
        Query(select(SHELVES.c.id).where(condition), lambda id_: id_)


def test_non_callable_defaults_are_rejected() -> None:
    table = Table("boxes", MetaData(), Column("name", String()), Column("height", Integer(), default=3))
    with pytest.raises(TypeError, match="default"):
        Command(insert(table)).bind({"name": "A"})
