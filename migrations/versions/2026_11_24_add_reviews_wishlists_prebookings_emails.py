"""Add reviews, wishlists, pre-bookings, emails, linked accounts and sales.

Revision: e3d0f25d846c
Follows: 5b1f0c9ad3e2
"""

from importlib.resources import files

import sqlalchemy as sa
from alembic import op

revision = "e3d0f25d846c"
down_revision = "5b1f0c9ad3e2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sales_window",
        sa.Column("id", sa.Integer(), server_default="1", nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_sales_window_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sales_window")),
    )
    op.create_table(
        "identities",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column(
            "account", sa.Text(), nullable=False, comment="The provider's own id of the account, which never changes."
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("provider IN ('GOOGLE', 'GITHUB')", name=op.f("ck_identities_provider")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_identities_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identities")),
        sa.UniqueConstraint("provider", "account", name=op.f("uq_identities_provider_account")),
    )
    op.create_index(op.f("ix_identities_user_id"), "identities", ["user_id"], unique=False)
    op.create_table(
        "letters",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "subject_id", sa.Uuid(), nullable=False, comment="The order, pre-booking, token or identity it tells of."
        ),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), server_default="QUEUED", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("problem", sa.Text(), nullable=True, comment="Why the last attempt failed."),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "settled_at", sa.DateTime(timezone=True), nullable=True, comment="When it was sent, suppressed or given up."
        ),
        sa.CheckConstraint("(status = 'QUEUED') = (settled_at IS NULL)", name=op.f("ck_letters_settled")),
        sa.CheckConstraint(
            "status IN ('QUEUED', 'SENT', 'SUPPRESSED', 'OBSOLETE', 'FAILED')", name=op.f("ck_letters_status")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_letters_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_letters")),
        sa.UniqueConstraint("kind", "subject_id", "user_id", name=op.f("uq_letters_kind_subject_id_user_id")),
    )
    op.create_index(
        "ix_letters_failed",
        "letters",
        ["settled_at", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'FAILED'"),
    )
    op.create_index(op.f("ix_letters_user_id"), "letters", ["user_id"], unique=False)
    op.create_table(
        "one_time_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the token, which is kept nowhere."),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "purpose IN ('VERIFY_EMAIL', 'RESET_PASSWORD', 'OAUTH_LOGIN')", name=op.f("ck_one_time_tokens_purpose")
        ),
        sa.CheckConstraint("octet_length(hash) = 32", name=op.f("ck_one_time_tokens_hash")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_one_time_tokens_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_one_time_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_one_time_tokens_hash")),
    )
    op.create_index("ix_one_time_tokens_user_id_purpose", "one_time_tokens", ["user_id", "purpose"], unique=False)
    op.create_table(
        "book_ratings",
        sa.Column("book_id", sa.Uuid(), nullable=False),
        sa.Column("one", sa.Integer(), server_default="0", nullable=False),
        sa.Column("two", sa.Integer(), server_default="0", nullable=False),
        sa.Column("three", sa.Integer(), server_default="0", nullable=False),
        sa.Column("four", sa.Integer(), server_default="0", nullable=False),
        sa.Column("five", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "count", sa.Integer(), sa.Computed("one + two + three + four + five", persisted=True), nullable=False
        ),
        sa.Column(
            "average",
            sa.Numeric(precision=2, scale=1),
            sa.Computed(
                "coalesce(round((1 * one + 2 * two + 3 * three + 4 * four + 5 * five)::numeric / nullif(one + two + three + four + five, 0), 1), 0)",
                persisted=True,
            ),
            nullable=False,
            comment="To one decimal, half up; 0 while there are none.",
        ),
        sa.CheckConstraint(
            "one >= 0 AND two >= 0 AND three >= 0 AND four >= 0 AND five >= 0", name=op.f("ck_book_ratings_stars")
        ),
        sa.ForeignKeyConstraint(["book_id"], ["books.id"], name=op.f("fk_book_ratings_book_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("book_id", name=op.f("pk_book_ratings")),
    )
    op.create_index("ix_book_ratings_average_book_id", "book_ratings", ["average", "book_id"], unique=False)
    op.create_table(
        "book_sales",
        sa.Column("book_id", sa.Uuid(), nullable=False),
        sa.Column("copies", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("copies >= 0", name=op.f("ck_book_sales_copies")),
        sa.ForeignKeyConstraint(["book_id"], ["books.id"], name=op.f("fk_book_sales_book_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("book_id", name=op.f("pk_book_sales")),
    )
    op.create_index("ix_book_sales_copies_book_id", "book_sales", ["copies", "book_id"], unique=False)
    op.create_table(
        "prebookings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("book_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), server_default="WAITING", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("notified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status = 'CANCELLED') = (cancelled_at IS NOT NULL)", name=op.f("ck_prebookings_cancelled")
        ),
        sa.CheckConstraint("(status = 'NOTIFIED') = (notified_at IS NOT NULL)", name=op.f("ck_prebookings_notified")),
        sa.CheckConstraint("status IN ('WAITING', 'NOTIFIED', 'CANCELLED')", name=op.f("ck_prebookings_status")),
        sa.ForeignKeyConstraint(["book_id"], ["books.id"], name=op.f("fk_prebookings_book_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_prebookings_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prebookings")),
    )
    op.create_index(op.f("ix_prebookings_book_id"), "prebookings", ["book_id"], unique=False)
    op.create_index(
        "ix_prebookings_user_id_created_at_id", "prebookings", ["user_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "uq_prebookings_waiting",
        "prebookings",
        ["book_id", "user_id"],
        unique=True,
        postgresql_where=sa.text("status = 'WAITING'"),
    )
    op.create_table(
        "reviews",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("book_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("rating", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("rating BETWEEN 1 AND 5", name=op.f("ck_reviews_rating")),
        sa.ForeignKeyConstraint(["book_id"], ["books.id"], name=op.f("fk_reviews_book_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_reviews_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index("ix_reviews_book_id", "reviews", ["book_id"], unique=False)
    op.create_index(
        "ix_reviews_book_id_created_at_id",
        "reviews",
        ["book_id", "created_at", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_reviews_book_id_rating_id",
        "reviews",
        ["book_id", "rating", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_reviews_created_at_id",
        "reviews",
        ["created_at", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_reviews_rating_id",
        "reviews",
        ["rating", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_reviews_user_id_created_at_id",
        "reviews",
        ["user_id", "created_at", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "uq_reviews_living",
        "reviews",
        ["user_id", "book_id"],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "wishlist_items",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("book_id", sa.Uuid(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["book_id"], ["books.id"], name=op.f("fk_wishlist_items_book_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_wishlist_items_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wishlist_items")),
        sa.UniqueConstraint("user_id", "book_id", name=op.f("uq_wishlist_items_user_id_book_id")),
    )
    op.create_index(op.f("ix_wishlist_items_book_id"), "wishlist_items", ["book_id"], unique=False)
    op.create_index(
        "ix_wishlist_items_user_id_added_at_id", "wishlist_items", ["user_id", "added_at", "id"], unique=False
    )
    op.drop_index(op.f("ix_order_items_book_id"), table_name="order_items")
    op.create_index("ix_order_items_book_id_id", "order_items", ["book_id", "id"], unique=False)
    op.create_index("ix_orders_placed_at_id", "orders", ["placed_at", "id"], unique=False)
    op.add_column("users", sa.Column("email_verified_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_users_created_at_id", "users", ["created_at", "id"], unique=False)
    op.create_index(
        "ix_users_email_display_name",
        "users",
        ["email", "display_name"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"email": "gin_trgm_ops", "display_name": "gin_trgm_ops"},
    )
    op.execute("INSERT INTO book_ratings (book_id) SELECT id FROM books")
    op.execute("INSERT INTO sales_window (since) VALUES (now() - interval '90 days')")
    op.execute(SALES_SO_FAR)
    run(files("migrations").joinpath("sql/pgqueuer.sql").read_text())


def run(script: str) -> None:
    """Run several statements at once, which prepared statements do not allow."""
    op.get_bind().connection.run_async(lambda connection: connection.execute(script))


SALES_SO_FAR = """\
INSERT INTO book_sales (book_id, copies)
SELECT books.id, coalesce(sum(order_items.quantity) FILTER (WHERE orders.id IS NOT NULL), 0)
FROM books
LEFT JOIN order_items ON order_items.book_id = books.id
LEFT JOIN orders ON orders.id = order_items.order_id
    AND orders.status IN ('CONFIRMED', 'SHIPPED')
    AND orders.placed_at >= (SELECT since FROM sales_window)
GROUP BY books.id"""


def downgrade() -> None:
    run(REMOVE_PGQUEUER)
    op.drop_index(
        "ix_users_email_display_name",
        table_name="users",
        postgresql_using="gin",
        postgresql_ops={"email": "gin_trgm_ops", "display_name": "gin_trgm_ops"},
    )
    op.drop_index("ix_users_created_at_id", table_name="users")
    op.drop_column("users", "email_verified_at")
    op.drop_index("ix_orders_placed_at_id", table_name="orders")
    op.drop_index("ix_order_items_book_id_id", table_name="order_items")
    op.create_index(op.f("ix_order_items_book_id"), "order_items", ["book_id"], unique=False)
    op.drop_index("ix_wishlist_items_user_id_added_at_id", table_name="wishlist_items")
    op.drop_index(op.f("ix_wishlist_items_book_id"), table_name="wishlist_items")
    op.drop_table("wishlist_items")
    op.drop_index("uq_reviews_living", table_name="reviews", postgresql_where=sa.text("deleted_at IS NULL"))
    op.drop_index(
        "ix_reviews_user_id_created_at_id", table_name="reviews", postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.drop_index("ix_reviews_rating_id", table_name="reviews", postgresql_where=sa.text("deleted_at IS NULL"))
    op.drop_index("ix_reviews_created_at_id", table_name="reviews", postgresql_where=sa.text("deleted_at IS NULL"))
    op.drop_index("ix_reviews_book_id_rating_id", table_name="reviews", postgresql_where=sa.text("deleted_at IS NULL"))
    op.drop_index(
        "ix_reviews_book_id_created_at_id", table_name="reviews", postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.drop_index("ix_reviews_book_id", table_name="reviews")
    op.drop_table("reviews")
    op.drop_index("uq_prebookings_waiting", table_name="prebookings", postgresql_where=sa.text("status = 'WAITING'"))
    op.drop_index("ix_prebookings_user_id_created_at_id", table_name="prebookings")
    op.drop_index(op.f("ix_prebookings_book_id"), table_name="prebookings")
    op.drop_table("prebookings")
    op.drop_index("ix_book_sales_copies_book_id", table_name="book_sales")
    op.drop_table("book_sales")
    op.drop_index("ix_book_ratings_average_book_id", table_name="book_ratings")
    op.drop_table("book_ratings")
    op.drop_index("ix_one_time_tokens_user_id_purpose", table_name="one_time_tokens")
    op.drop_table("one_time_tokens")
    op.drop_index(op.f("ix_letters_user_id"), table_name="letters")
    op.drop_index("ix_letters_failed", table_name="letters", postgresql_where=sa.text("status = 'FAILED'"))
    op.drop_table("letters")
    op.drop_index(op.f("ix_identities_user_id"), table_name="identities")
    op.drop_table("identities")
    op.drop_table("sales_window")


REMOVE_PGQUEUER = """\
DROP TABLE pgqueuer, pgqueuer_log, pgqueuer_schedules, pgqueuer_statistics;
DROP FUNCTION fn_pgqueuer_changed();
DROP TYPE pgqueuer_status"""
