"""Add a version that each change of public data increments, for caches.

Revision: 8c41d7e2f9b0
Follows: 5d0c3f1be6a7
"""

from alembic import op

revision = "8c41d7e2f9b0"
down_revision = "5d0c3f1be6a7"
branch_labels = None
depends_on = None

FUNCTION = """
CREATE FUNCTION note_catalog_change() RETURNS trigger
LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''catalog_changes''); RETURN NULL; END'
"""
ANY = "INSERT OR UPDATE OR DELETE OR TRUNCATE"
PUBLIC_CHANGES = {
    "genres": ANY,
    "authors": ANY,
    "books": ANY,
    "book_authors": ANY,
    "book_ratings": ANY,
    "book_sales": ANY,
    "reviews": ANY,
    "orders": "INSERT OR UPDATE OF status OR DELETE OR TRUNCATE",
    "order_items": ANY,
    "users": "UPDATE OF display_name",
}
"""The tables with public data, and the statements that change it."""


def upgrade() -> None:
    op.execute("CREATE SEQUENCE catalog_changes")
    op.execute(FUNCTION)
    for table, events in PUBLIC_CHANGES.items():
        op.execute(
            f"CREATE TRIGGER note_catalog_change AFTER {events} ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION note_catalog_change()"
        )


def downgrade() -> None:
    for table in PUBLIC_CHANGES:
        op.execute(f"DROP TRIGGER note_catalog_change ON {table}")
    op.execute("DROP FUNCTION note_catalog_change()")
    op.execute("DROP SEQUENCE catalog_changes")
