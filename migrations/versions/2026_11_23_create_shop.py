"""Create the catalog, accounts, carts, orders and the stock ledger.

Revision: 83b287c579a7
Follows:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "83b287c579a7"
down_revision = None
branch_labels = None
depends_on = None


FUNCTIONS = (
    # without case and accents
    """\
CREATE FUNCTION fold(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN lower(unaccent('unaccent', normalize(value, NFKC)))""",
    # folded, with ASCII punctuation as spaces
    """\
CREATE FUNCTION words(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN translate(fold(value), '!"#$%&''()*+,-./:;<=>?@[\\]^_`{|}~', repeat(' ', 32))""",
    # all words with a suffix each, joined by an operator
    """\
CREATE FUNCTION search_query(value text, operator text, suffix text) RETURNS tsquery
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN to_tsquery('simple',
    regexp_replace(
        nullif(trim(regexp_replace(left(words(value), 500), '\\s+', ' ', 'g')), ''), ' ', suffix || operator, 'g'
    )
    || suffix)""",
)


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS unaccent")
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    for function in FUNCTIONS:
        op.execute(function)
    op.create_table(
        "authors",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "sort_name", sa.Text(collation="C"), sa.Computed("left(fold(name), 500)", persisted=True), nullable=False
        ),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed("setweight(to_tsvector('simple', words(name)), 'A')", persisted=True),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authors")),
        sa.UniqueConstraint("slug", name=op.f("uq_authors_slug")),
    )
    op.create_index("ix_authors_search", "authors", ["search"], unique=False, postgresql_using="gin")
    op.create_index("ix_authors_sort_name_id", "authors", ["sort_name", "id"], unique=False)
    op.create_index("uq_authors_name", "authors", [sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "genres",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_genres")),
        sa.UniqueConstraint("slug", name=op.f("uq_genres_slug")),
    )
    op.create_index("uq_genres_name", "genres", [sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "mock_payments",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=12, scale=2), nullable=True),
        sa.Column("currency", sa.CHAR(length=3), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("refunded_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('APPROVED', 'DECLINED', 'VOIDED')", name=op.f("ck_mock_payments_status")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_mock_payments")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), server_default="USER", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("role IN ('USER', 'ADMIN')", name=op.f("ck_users_role")),
        sa.CheckConstraint("email = lower(email)", name=op.f("ck_users_email")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_table(
        "books",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("subtitle", sa.Text(), nullable=True),
        sa.Column("isbn", sa.CHAR(length=13), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("cover_url", sa.Text(), nullable=True),
        sa.Column("genre_id", sa.Uuid(), nullable=True),
        sa.Column("format", sa.Text(), nullable=True),
        sa.Column("publisher", sa.Text(), nullable=True),
        sa.Column("published_on", sa.Date(), nullable=True),
        sa.Column("page_count", sa.Integer(), nullable=True),
        sa.Column("language", sa.Text(), nullable=True),
        sa.Column("price", sa.Numeric(precision=10, scale=2), nullable=False),
        sa.Column("stock_quantity", sa.Integer(), server_default="0", nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "author_names",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="Kept here, one a line, because a generated column reads its own row only.",
        ),
        sa.Column(
            "sort_title", sa.Text(collation="C"), sa.Computed("left(fold(title), 500)", persisted=True), nullable=False
        ),
        sa.Column(
            "author_key", sa.Text(), sa.Computed("left(fold(author_names), 5000)", persisted=True), nullable=False
        ),
        sa.Column(
            "spelling",
            sa.Text(),
            sa.Computed("left(fold(title || ' ' || author_names), 5000)", persisted=True),
            nullable=False,
        ),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed(
                "setweight(to_tsvector('simple', words(title)), 'A')"
                " || setweight(to_tsvector('simple', words(author_names)), 'B')",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.CheckConstraint(
            "format IN ('HARDCOVER', 'PAPERBACK', 'BOX_SET', 'AUDIOBOOK')", name=op.f("ck_books_format")
        ),
        sa.CheckConstraint("isbn ~ '^[0-9]{13}$'", name=op.f("ck_books_isbn")),
        sa.CheckConstraint("page_count BETWEEN 1 AND 100000", name=op.f("ck_books_page_count")),
        sa.CheckConstraint("price > 0", name=op.f("ck_books_price")),
        sa.CheckConstraint("stock_quantity BETWEEN 0 AND 1000000", name=op.f("ck_books_stock_quantity")),
        sa.ForeignKeyConstraint(["genre_id"], ["genres.id"], name=op.f("fk_books_genre_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_books")),
        sa.UniqueConstraint("isbn", name=op.f("uq_books_isbn")),
        sa.UniqueConstraint("slug", name=op.f("uq_books_slug")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_index("ix_books_added_at_id", "books", ["added_at", "id"], unique=False)
    op.create_index(
        "ix_books_author_key",
        "books",
        ["author_key"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"author_key": "gin_trgm_ops"},
    )
    op.create_index("ix_books_genre_id_added_at_id", "books", ["genre_id", "added_at", "id"], unique=False)
    op.create_index("ix_books_price_id", "books", ["price", "id"], unique=False)
    op.create_index(
        "ix_books_published_first",
        "books",
        [sa.literal_column("coalesce(published_on, 'infinity'::date)"), "id"],
        unique=False,
    )
    op.create_index(
        "ix_books_published_last",
        "books",
        [sa.literal_column("coalesce(published_on, '-infinity'::date)"), "id"],
        unique=False,
    )
    op.create_index("ix_books_search", "books", ["search"], unique=False, postgresql_using="gin")
    op.create_index("ix_books_sort_title_id", "books", ["sort_title", "id"], unique=False)
    op.create_index(
        "ix_books_spelling",
        "books",
        ["spelling"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"spelling": "gin_trgm_ops"},
    )
    op.create_table(
        "carts",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_carts_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_carts")),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), server_default="PENDING", nullable=False),
        sa.Column("total", sa.Numeric(precision=12, scale=2), nullable=False),
        sa.Column("total_quantity", sa.Integer(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column(
            "input_digest",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of the input, to tell a retry from another purchase.",
        ),
        sa.Column("payment_token", sa.Text(), nullable=True),
        sa.Column("decline_reason", sa.Text(), nullable=True),
        sa.Column("tracking_url", sa.Text(), nullable=True),
        sa.Column("placed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("shipped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("swept_at", sa.DateTime(timezone=True), nullable=True, comment="When a sweeper last took it up."),
        sa.Column(
            "refund_due_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When to try the refund; null when none is owed.",
        ),
        sa.Column("refund_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("refunded_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(status = 'CANCELLED') = (cancelled_at IS NOT NULL)", name=op.f("ck_orders_cancelled")),
        sa.CheckConstraint("(status = 'SHIPPED') = (shipped_at IS NOT NULL)", name=op.f("ck_orders_shipped")),
        sa.CheckConstraint(
            "status IN ('PENDING', 'CONFIRMED', 'PAYMENT_FAILED', 'SHIPPED', 'CANCELLED')",
            name=op.f("ck_orders_status"),
        ),
        sa.CheckConstraint("total >= 0 AND total_quantity >= 0", name=op.f("ck_orders_total")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_orders_user_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
        sa.UniqueConstraint("number", name=op.f("uq_orders_number")),
        sa.UniqueConstraint("user_id", "idempotency_key", name=op.f("uq_orders_user_id_idempotency_key")),
    )
    op.create_index(
        "ix_orders_pending", "orders", ["placed_at"], unique=False, postgresql_where=sa.text("status = 'PENDING'")
    )
    op.create_index(
        "ix_orders_refund_due_at",
        "orders",
        ["refund_due_at"],
        unique=False,
        postgresql_where=sa.text("refund_due_at IS NOT NULL"),
    )
    op.create_index("ix_orders_user_id_placed_at_id", "orders", ["user_id", "placed_at", "id"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"], unique=False)
    op.create_table(
        "book_authors",
        sa.Column("book_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, comment="The order of the title page, from 0."),
        sa.Column("author_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["author_id"], ["authors.id"], name=op.f("fk_book_authors_author_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["book_id"], ["books.id"], name=op.f("fk_book_authors_book_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("book_id", "position", name=op.f("pk_book_authors")),
        sa.UniqueConstraint("book_id", "author_id", name=op.f("uq_book_authors_book_id_author_id")),
    )
    op.create_index("ix_book_authors_author_id_book_id", "book_authors", ["author_id", "book_id"], unique=False)
    op.create_table(
        "cart_items",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("book_id", sa.Uuid(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("quantity BETWEEN 1 AND 999", name=op.f("ck_cart_items_quantity")),
        sa.ForeignKeyConstraint(["book_id"], ["books.id"], name=op.f("fk_cart_items_book_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["carts.user_id"], name=op.f("fk_cart_items_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cart_items")),
        sa.UniqueConstraint("user_id", "book_id", name=op.f("uq_cart_items_user_id_book_id")),
    )
    op.create_index(op.f("ix_cart_items_book_id"), "cart_items", ["book_id"], unique=False)
    op.create_table(
        "order_addresses",
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("line1", sa.Text(), nullable=False),
        sa.Column("line2", sa.Text(), nullable=True),
        sa.Column("city", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=True),
        sa.Column("postal_code", sa.Text(), nullable=True),
        sa.Column("country", sa.CHAR(length=2), nullable=False),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["order_id"], ["orders.id"], name=op.f("fk_order_addresses_order_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_order_addresses")),
    )
    op.create_table(
        "order_items",
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("book_id", sa.Uuid(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("unit_price", sa.Numeric(precision=10, scale=2), nullable=False),
        sa.CheckConstraint("quantity BETWEEN 1 AND 999", name=op.f("ck_order_items_quantity")),
        sa.ForeignKeyConstraint(["book_id"], ["books.id"], name=op.f("fk_order_items_book_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_order_items_order_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_items")),
        sa.UniqueConstraint("order_id", "book_id", name=op.f("uq_order_items_order_id_book_id")),
    )
    op.create_index(op.f("ix_order_items_book_id"), "order_items", ["book_id"], unique=False)
    op.create_table(
        "refresh_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the token, which is kept nowhere."),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("octet_length(hash) = 32", name=op.f("ck_refresh_tokens_hash")),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["refresh_tokens.id"], name=op.f("fk_refresh_tokens_parent_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("fk_refresh_tokens_session_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refresh_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_refresh_tokens_hash")),
        sa.UniqueConstraint("parent_id", name=op.f("uq_refresh_tokens_parent_id")),
    )
    op.create_index(op.f("ix_refresh_tokens_session_id"), "refresh_tokens", ["session_id"], unique=False)
    op.create_table(
        "stock_movements",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("book_id", sa.Uuid(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("change", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(reason IN ('SALE', 'PAYMENT_FAILED', 'CANCELLATION')) = (order_id IS NOT NULL)",
            name=op.f("ck_stock_movements_order"),
        ),
        sa.CheckConstraint(
            "reason IN ('NEW_BOOK', 'IMPORT', 'STOCKTAKE', 'DELIVERY', 'SALE', 'PAYMENT_FAILED', 'CANCELLATION')",
            name=op.f("ck_stock_movements_reason"),
        ),
        sa.CheckConstraint("change <> 0", name=op.f("ck_stock_movements_change")),
        sa.ForeignKeyConstraint(
            ["book_id"], ["books.id"], name=op.f("fk_stock_movements_book_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["order_id"], ["orders.id"], name=op.f("fk_stock_movements_order_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stock_movements")),
    )
    op.create_index(op.f("ix_stock_movements_book_id"), "stock_movements", ["book_id"], unique=False)
    op.create_index(op.f("ix_stock_movements_order_id"), "stock_movements", ["order_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_stock_movements_order_id"), table_name="stock_movements")
    op.drop_index(op.f("ix_stock_movements_book_id"), table_name="stock_movements")
    op.drop_table("stock_movements")
    op.drop_index(op.f("ix_refresh_tokens_session_id"), table_name="refresh_tokens")
    op.drop_table("refresh_tokens")
    op.drop_index(op.f("ix_order_items_book_id"), table_name="order_items")
    op.drop_table("order_items")
    op.drop_table("order_addresses")
    op.drop_index(op.f("ix_cart_items_book_id"), table_name="cart_items")
    op.drop_table("cart_items")
    op.drop_index("ix_book_authors_author_id_book_id", table_name="book_authors")
    op.drop_table("book_authors")
    op.drop_index(op.f("ix_sessions_user_id"), table_name="sessions")
    op.drop_table("sessions")
    op.drop_index("ix_orders_user_id_placed_at_id", table_name="orders")
    op.drop_index("ix_orders_refund_due_at", table_name="orders", postgresql_where=sa.text("refund_due_at IS NOT NULL"))
    op.drop_index("ix_orders_pending", table_name="orders", postgresql_where=sa.text("status = 'PENDING'"))
    op.drop_table("orders")
    op.drop_table("carts")
    op.drop_index(
        "ix_books_spelling", table_name="books", postgresql_using="gin", postgresql_ops={"spelling": "gin_trgm_ops"}
    )
    op.drop_index("ix_books_sort_title_id", table_name="books")
    op.drop_index("ix_books_search", table_name="books", postgresql_using="gin")
    op.drop_index("ix_books_published_last", table_name="books")
    op.drop_index("ix_books_published_first", table_name="books")
    op.drop_index("ix_books_price_id", table_name="books")
    op.drop_index("ix_books_genre_id_added_at_id", table_name="books")
    op.drop_index(
        "ix_books_author_key", table_name="books", postgresql_using="gin", postgresql_ops={"author_key": "gin_trgm_ops"}
    )
    op.drop_index("ix_books_added_at_id", table_name="books")
    op.drop_table("books")
    op.drop_table("users")
    op.drop_table("mock_payments")
    op.drop_index("uq_genres_name", table_name="genres")
    op.drop_table("genres")
    op.drop_index("uq_authors_name", table_name="authors")
    op.drop_index("ix_authors_sort_name_id", table_name="authors")
    op.drop_index("ix_authors_search", table_name="authors", postgresql_using="gin")
    op.drop_table("authors")
    op.execute("DROP FUNCTION search_query(text, text, text)")
    op.execute("DROP FUNCTION words(text)")
    op.execute("DROP FUNCTION fold(text)")
