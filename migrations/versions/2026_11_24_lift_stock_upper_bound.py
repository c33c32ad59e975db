"""Lift the upper bound of stock, so that a cancelled order can always return its books.

Revision: 5b1f0c9ad3e2
Follows: 83b287c579a7
"""

from alembic import op

revision = "5b1f0c9ad3e2"
down_revision = "83b287c579a7"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint(op.f("ck_books_stock_quantity"), "books")
    op.create_check_constraint(op.f("ck_books_stock_quantity"), "books", "stock_quantity >= 0")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_books_stock_quantity"), "books")
    op.create_check_constraint(op.f("ck_books_stock_quantity"), "books", "stock_quantity BETWEEN 0 AND 1000000")
