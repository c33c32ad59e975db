"""Number the emails about one subject, so that one can be sent again.

Revision: 5c1d2e7f8a90
Follows: 3b7e90c5d214
"""

import sqlalchemy as sa
from alembic import op

revision = "5c1d2e7f8a90"
down_revision = "3b7e90c5d214"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "letters",
        sa.Column(
            "repeat",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="0 for the first email about it, then 1, 2, …",
        ),
    )


def downgrade() -> None:
    op.drop_column("letters", "repeat")
