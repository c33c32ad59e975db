"""Add an expiring claim to emails, so that one of several workers sends each.

Revision: 3b7e90c5d214
Follows: 2f6b90c4d8e1
"""

import sqlalchemy as sa
from alembic import op

revision = "3b7e90c5d214"
down_revision = "2f6b90c4d8e1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "letters",
        sa.Column(
            "taken_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Until then one poster alone sends it.",
        ),
    )


def downgrade() -> None:
    op.drop_column("letters", "taken_until")
