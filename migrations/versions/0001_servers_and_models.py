"""Servers and models

Revision: 0001, the first
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

time = sa.DateTime(timezone=True)
json_document = sa.JSON().with_variant(JSONB(), "postgresql")
identity = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "ollama_servers",
        sa.Column("id", identity, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("name_key", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("api_version", sa.Text, nullable=False),
        sa.Column("capabilities", json_document, nullable=False),
        sa.Column("max_concurrent", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("priority", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("is_default", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.text("true")),
        sa.Column("default_model", sa.Text),
        sa.Column("auth_type", sa.Text, nullable=False, server_default=sa.text("'none'")),
        sa.Column("auth_config", json_document, nullable=False),
        sa.Column("headers", json_document, nullable=False),
        sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'unknown'")),
        sa.Column("version", sa.Text),
        sa.Column("last_error", sa.Text),
        sa.Column("last_seen_at", time),
        sa.Column("last_discovered_at", time),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ollama_servers"),
        sa.UniqueConstraint("name_key", name="uq_ollama_servers_name_key"),
        sa.UniqueConstraint("url", name="uq_ollama_servers_url"),
        sa.CheckConstraint("api_version IN ('native', 'v1')", name=op.f("ck_ollama_servers_api_version")),
        sa.CheckConstraint(
            "auth_type IN ('none', 'basic', 'bearer', 'api_key')", name=op.f("ck_ollama_servers_auth_type")
        ),
        sa.CheckConstraint("max_concurrent >= 1", name=op.f("ck_ollama_servers_max_concurrent")),
        sa.CheckConstraint(
            "status IN ('unknown', 'online', 'offline', 'unauthorized', 'error')", name=op.f("ck_ollama_servers_status")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_ollama_servers_is_default",
        "ollama_servers",
        ["is_default"],
        unique=True,
        postgresql_where=sa.text("is_default"),
        sqlite_where=sa.text("is_default"),
    )
    op.create_table(
        "ollama_models",
        sa.Column("id", identity, autoincrement=True, nullable=False),
        sa.Column("server_id", identity, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("name_key", sa.Text, nullable=False),
        sa.Column("digest", sa.Text),
        sa.Column("size", sa.BigInteger),
        sa.Column("format", sa.Text),
        sa.Column("family", sa.Text),
        sa.Column("families", json_document),
        sa.Column("parameter_size", sa.Text),
        sa.Column("quantization_level", sa.Text),
        sa.Column("context_length", sa.BigInteger),
        sa.Column("embedding_length", sa.BigInteger),
        sa.Column("capabilities", json_document),
        sa.Column("modified_at", time),
        sa.Column("remote_host", sa.Text),
        sa.Column("remote_model", sa.Text),
        sa.Column("is_available", sa.Boolean, nullable=False, server_default=sa.text("true")),
        sa.Column("first_seen_at", time, nullable=False),
        sa.Column("last_seen_at", time, nullable=False),
        sa.Column("digest_changed_at", time),
        sa.PrimaryKeyConstraint("id", name="pk_ollama_models"),
        sa.ForeignKeyConstraint(
            ["server_id"],
            ["ollama_servers.id"],
            name="fk_ollama_models_server_id_ollama_servers",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("server_id", "name", name="uq_ollama_models_server_id_name"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ollama_models_name_key", "ollama_models", ["name_key"])
    op.create_index("ix_ollama_models_digest", "ollama_models", ["digest"])
