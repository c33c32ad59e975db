"""Index emails by kind, subject, user and number.

Revision: 6d2e3f8a9b01
Follows: 5c1d2e7f8a90
"""

from alembic import op

revision = "6d2e3f8a9b01"
down_revision = "5c1d2e7f8a90"
branch_labels = None
depends_on = None

INDEX = "uq_letters_kind_subject_id_user_id_repeat"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
        op.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {INDEX} ON letters (kind, subject_id, user_id, repeat)")


def downgrade() -> None:
    op.drop_index(INDEX)
