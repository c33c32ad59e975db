"""Add the ids of secret keys in use, so that a server with other keys is reported.

Revision: 2f6b90c4d8e1
Follows: 8c41d7e2f9b0
"""

import sqlalchemy as sa
from alembic import op

revision = "2f6b90c4d8e1"
down_revision = "8c41d7e2f9b0"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "secret_keys",
        sa.Column("id", sa.Text(), nullable=False, comment="Derived from the secret; the kid of access tokens."),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False, comment="When a process last ran with it."),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secret_keys")),
    )


def downgrade() -> None:
    op.drop_table("secret_keys")
