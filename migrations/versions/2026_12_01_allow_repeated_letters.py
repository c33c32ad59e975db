"""Let a user get several emails of one kind about one subject.

Revision: 7e3f4a9b0c12
Follows: 6d2e3f8a9b01
"""

from alembic import op

revision = "7e3f4a9b0c12"
down_revision = "6d2e3f8a9b01"
branch_labels = None
depends_on = None

OLD_NAME = "uq_letters_kind_subject_id_user_id"
NEW_NAME = f"{OLD_NAME}_repeat"
allowed = {
    "ban-drop-constraint": "servers of the previous release add first emails only, which the new constraint covers"
}


def upgrade() -> None:
    op.execute(f"ALTER TABLE letters ADD CONSTRAINT {NEW_NAME} UNIQUE USING INDEX {NEW_NAME}")
    op.drop_constraint(OLD_NAME, "letters")


def downgrade() -> None:
    op.execute("DELETE FROM letters WHERE repeat > 0")
    op.create_unique_constraint(OLD_NAME, "letters", ["kind", "subject_id", "user_id"])
    op.execute(f"ALTER TABLE letters DROP CONSTRAINT {NEW_NAME}")
    op.execute(f"CREATE UNIQUE INDEX {NEW_NAME} ON letters (kind, subject_id, user_id, repeat)")
