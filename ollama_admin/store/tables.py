"""The tables at head. `migrations/versions/` says how they came to be; a test compares the two."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

HEAD = "0001"

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class UTCDateTime(TypeDecorator[datetime]):
    """Aware UTC in and out: SQLite has no time zones and gives back naive times."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is not None and value.tzinfo is None:
            raise ValueError("a naive time")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


json_document = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
identity = BigInteger().with_variant(Integer, "sqlite")  # AUTOINCREMENT exists for INTEGER only

servers = Table(
    "ollama_servers",
    metadata,
    Column("id", identity, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("api_version", Text, nullable=False),
    Column("capabilities", json_document, nullable=False),
    Column("max_concurrent", Integer, nullable=False, server_default=text("1")),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    Column("is_default", Boolean, nullable=False, server_default=text("false")),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("default_model", Text),
    Column("auth_type", Text, nullable=False, server_default=text("'none'")),
    Column("auth_config", json_document, nullable=False),
    Column("headers", json_document, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'unknown'")),
    Column("version", Text),
    Column("last_error", Text),
    Column("last_seen_at", UTCDateTime),
    Column("last_discovered_at", UTCDateTime),
    Column("created_at", UTCDateTime, nullable=False),
    Column("updated_at", UTCDateTime, nullable=False),
    UniqueConstraint("name_key"),
    UniqueConstraint("url"),
    CheckConstraint("api_version IN ('native', 'v1')", name="api_version"),
    CheckConstraint("auth_type IN ('none', 'basic', 'bearer', 'api_key')", name="auth_type"),
    CheckConstraint("max_concurrent >= 1", name="max_concurrent"),
    CheckConstraint("status IN ('unknown', 'online', 'offline', 'unauthorized', 'error')", name="status"),
    sqlite_autoincrement=True,
)
Index(
    "uq_ollama_servers_is_default",
    servers.c.is_default,
    unique=True,
    postgresql_where=servers.c.is_default,
    sqlite_where=servers.c.is_default,
)

models = Table(
    "ollama_models",
    metadata,
    Column("id", identity, primary_key=True, autoincrement=True),
    Column("server_id", identity, ForeignKey("ollama_servers.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False, index=True),
    Column("digest", Text, index=True),
    Column("size", BigInteger),
    Column("format", Text),
    Column("family", Text),
    Column("families", json_document),
    Column("parameter_size", Text),
    Column("quantization_level", Text),
    Column("context_length", BigInteger),
    Column("embedding_length", BigInteger),
    Column("capabilities", json_document),
    Column("modified_at", UTCDateTime),
    Column("remote_host", Text),
    Column("remote_model", Text),
    Column("is_available", Boolean, nullable=False, server_default=text("true")),
    Column("first_seen_at", UTCDateTime, nullable=False),
    Column("last_seen_at", UTCDateTime, nullable=False),
    Column("digest_changed_at", UTCDateTime),
    UniqueConstraint("server_id", "name"),
    sqlite_autoincrement=True,
)
