"""The settings of PostgreSQL and its connection pools."""

from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, Field, model_validator

if TYPE_CHECKING:
    from persistence.postgres.database import PoolSettings


class DatabaseSettings(BaseModel):
    """Database."""

    database_url: str | None = Field(
        None,
        repr=False,
        description=(
            "PostgreSQL 15 or later. Unset: an embedded PostgreSQL. With several hosts and"
            " `target_session_attrs=read-write` the server follows the primary after a failover"
            " (docs/how-to/replicas-and-pgbouncer.md)."
        ),
        examples=[
            "postgresql://bookstore:bookstore@localhost:5432/bookstore",
            "postgresql://bookstore:bookstore@/bookstore?host=db1:5432&host=db2:5432&target_session_attrs=read-write",
        ],
    )
    database_read_url: str | None = Field(
        None,
        repr=False,
        description=(
            "Replicas for anonymous reads; while none responds the primary serves them"
            " (docs/how-to/replicas-and-pgbouncer.md)."
        ),
        examples=[
            "postgresql://bookstore:bookstore@/bookstore?host=db1:5432&host=db2:5432&target_session_attrs=prefer-standby"
        ],
    )
    prepared_statements: bool = Field(
        True,
        description=(
            "Set it to `false` if DATABASE_URL leads to a pooler in transaction mode, such as PgBouncer"
            " (docs/how-to/replicas-and-pgbouncer.md)."
        ),
        examples=[False],
    )
    database_direct_url: str | None = Field(
        None,
        repr=False,
        description=(
            "The database itself if DATABASE_URL leads to a pooler: for migrations, and for notifications of new emails."
        ),
        examples=["postgresql://bookstore:bookstore@db1:5432/bookstore"],
    )
    pool_size: int = Field(5, ge=1, le=200, description="Connections that each pool keeps open.")
    pool_max_overflow: int = Field(10, ge=0, le=200, description="Connections beyond POOL_SIZE that a pool may open.")
    pool_recycle_seconds: int = Field(1800, ge=1, description="Age at which a connection is replaced.")
    pool_timeout_seconds: float = Field(
        2, gt=0, description="Wait for a free connection, after which the client gets SERVICE_UNAVAILABLE."
    )

    @model_validator(mode="after")
    def _validate_database_urls(self) -> Self:
        for name in ("database_url", "database_read_url", "database_direct_url"):
            url = getattr(self, name)
            if url and not url.startswith(("postgresql://", "postgres://", "postgresql+asyncpg://")):
                raise ValueError(f"{name.upper()} must begin with postgresql://")
            if url and not self.database_url:
                raise ValueError(f"{name.upper()} needs DATABASE_URL, which receives the writes: set it, too")
        if not self.prepared_statements and not self.database_direct_url:
            raise ValueError(
                "PREPARED_STATEMENTS=false is for a pooler at DATABASE_URL: set DATABASE_DIRECT_URL"
                " to the URL of the database itself, for migrations and emails"
            )
        return self

    @property
    def pool(self) -> "PoolSettings":
        """The size and the timeouts of each connection pool."""
        from persistence.postgres.database import PoolSettings

        return PoolSettings(
            self.pool_size, self.pool_max_overflow, self.pool_recycle_seconds, self.pool_timeout_seconds
        )
