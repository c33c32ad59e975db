"""New migrations that an open shop would wait for, or that old servers would break on, are refused."""

from importlib.resources import files
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from migrations.releasing import complaints, judged
from server.migrating import migrations

HEAD = ScriptDirectory.from_config(migrations()).get_current_head() or ""

REFUSED = {
    "a rewrite": ("ALTER TABLE books ALTER COLUMN page_count TYPE bigint", "changing-column-type"),
    "a rewrite for a default": (
        "ALTER TABLE books ADD COLUMN seen_at timestamptz DEFAULT clock_timestamp()",
        "adding-field-with-default",
    ),
    "an index that keeps writers out": ("CREATE INDEX ix_books_price ON books (price)", "require-concurrent-index"),
    "a dropped index that keeps all out": ("DROP INDEX ix_books_price", "require-concurrent-index-deletion"),
    "a check of every row under a lock": (
        "ALTER TABLE books ADD CONSTRAINT ck_books_dear CHECK (price > 0)",
        "constraint-missing-not-valid",
    ),
    "a foreign key over every row": (
        "ALTER TABLE books ADD CONSTRAINT fk_books_genre FOREIGN KEY (genre_id) REFERENCES genres (id)",
        "adding-foreign-key-constraint",
    ),
    "a unique constraint that builds its index": (
        "ALTER TABLE books ADD CONSTRAINT uq_books_isbn UNIQUE (isbn)",
        "disallowed-unique-constraint",
    ),
    "a column that must not be empty": (
        "ALTER TABLE books ALTER COLUMN page_count SET NOT NULL",
        "adding-not-nullable-field",
    ),
    "a new column that old servers leave empty": (
        "ALTER TABLE books ADD COLUMN shelf text NOT NULL",
        "adding-required-field",
    ),
    "a dropped column": ("ALTER TABLE books DROP COLUMN subtitle", "ban-drop-column"),
    "a dropped table": ("DROP TABLE genres", "ban-drop-table"),
    "a renamed column": ("ALTER TABLE books RENAME COLUMN title TO name", "renaming-column"),
    "a renamed table": ("ALTER TABLE books RENAME TO volumes", "renaming-table"),
}
TAKEN = {
    "a new table": """
        CREATE TABLE shelves (id uuid NOT NULL, name text NOT NULL, CONSTRAINT pk_shelves PRIMARY KEY (id));
        CREATE INDEX ix_shelves_name ON shelves (name)""",
    "a new column": "ALTER TABLE books ADD COLUMN shelf text",
    "a new column that is there for old servers, too": "ALTER TABLE books ADD COLUMN copies integer DEFAULT 0 NOT NULL",
    "an index beside sales": "COMMIT; CREATE INDEX CONCURRENTLY ix_books_price ON books (price); BEGIN",
    "a check from now on": "ALTER TABLE books ADD CONSTRAINT ck_books_dear CHECK (price > 0) NOT VALID",
    "what was checked from then on": "ALTER TABLE books VALIDATE CONSTRAINT ck_books_dear",
    "a trigger": "CREATE TRIGGER noted AFTER INSERT ON books FOR EACH STATEMENT EXECUTE FUNCTION note()",
}
REVISION = """
from alembic import op

revision, down_revision, branch_labels, depends_on = "later", {after!r}, None, None
{more}

def upgrade() -> None:
    op.{change}
"""
DROP = 'drop_column("books", "subtitle")'


@pytest.mark.parametrize("change", REFUSED)
def test_refused(change: str) -> None:
    statement, rule = REFUSED[change]
    assert [it for it in judged(f"BEGIN; {statement}; COMMIT;") if it.startswith(rule)]


@pytest.mark.parametrize("change", TAKEN)
def test_taken(change: str) -> None:
    assert judged(f"BEGIN; {TAKEN[change]}; COMMIT;") == []


def test_all_revisions_from_now_on_are_fit() -> None:
    assert complaints(migrations()) == []


def _with(folder: Path, change: str, more: str = "") -> Config:
    (folder / "later.py").write_text(REVISION.format(after=HEAD, change=change, more=more))
    config = migrations()
    config.set_main_option("version_locations", f"{files('migrations') / 'versions'} {folder}")
    config.set_main_option("path_separator", "space")
    return config


def test_a_new_revision_is_read(tmp_path: Path) -> None:
    [said] = complaints(_with(tmp_path, DROP), HEAD)
    assert said.startswith("later.py: ban-drop-column: ")


def test_a_revision_may_say_why_it_may(tmp_path: Path) -> None:
    assert (
        complaints(_with(tmp_path, DROP, 'allowed = {"ban-drop-column": "no release since 0.3 reads it"}'), HEAD) == []
    )


def test_and_has_to(tmp_path: Path) -> None:
    [said] = complaints(_with(tmp_path, DROP, 'allowed = {"ban-drop-column": " "}'), HEAD)
    assert said == "later.py: ban-drop-column is allowed without a reason"
