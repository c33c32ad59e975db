"""Add the counts of login attempts and of other throttled actions.

Revision: a166a3b3d05b
Follows: e3d0f25d846c
"""

import sqlalchemy as sa
from alembic import op

revision = "a166a3b3d05b"
down_revision = "e3d0f25d846c"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "throttles",
        sa.Column("key", sa.LargeBinary(), nullable=False, comment="HMAC of who tried what."),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("free_at", sa.DateTime(timezone=True), nullable=False, comment="When the next try may be made."),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("tries >= 0", name=op.f("ck_throttles_tries")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_throttles")),
    )
    op.create_index(op.f("ix_throttles_tried_at"), "throttles", ["tried_at"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_throttles_tried_at"), table_name="throttles")
    op.drop_table("throttles")
