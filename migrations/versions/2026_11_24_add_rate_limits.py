"""Add the budgets of callers, for RATE_LIMIT_STORAGE=postgresql.

Revision: 5d0c3f1be6a7
Follows: a166a3b3d05b
"""

import sqlalchemy as sa
from alembic import op

revision = "5d0c3f1be6a7"
down_revision = "a166a3b3d05b"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rate_limits",
        sa.Column("caller", sa.LargeBinary(), nullable=False, comment="HMAC of a user or of an address."),
        sa.Column(
            "full_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the caller's budget will be whole again.",
        ),
        sa.PrimaryKeyConstraint("caller", name=op.f("pk_rate_limits")),
        prefixes=["UNLOGGED"],
    )
    op.create_index(op.f("ix_rate_limits_full_at"), "rate_limits", ["full_at"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_rate_limits_full_at"), table_name="rate_limits")
    op.drop_table("rate_limits")
