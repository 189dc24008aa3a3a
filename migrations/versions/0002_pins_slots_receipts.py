"""Pins, slots and receipts

Revision: 0002, after 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

time = sa.DateTime(timezone=True)
identity = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "ollama_pins",
        sa.Column("name_key", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.PrimaryKeyConstraint("name_key", name="pk_ollama_pins"),
    )
    op.create_table(
        "ollama_slots",
        sa.Column("server_id", identity, nullable=False),
        sa.Column("slot", sa.Integer, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("holder", sa.Text),
        sa.Column("clock", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("expires_at", sa.Double, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("server_id", "slot", name="pk_ollama_slots"),
        sa.ForeignKeyConstraint(
            ["server_id"],
            ["ollama_servers.id"],
            name="fk_ollama_slots_server_id_ollama_servers",
            ondelete="CASCADE",
        ),
        postgresql_with={"fillfactor": "50"},  # a row is rewritten for every request: in place, without index entries
    )
    op.create_table(
        "ollama_receipts",
        sa.Column("id", identity, autoincrement=True, nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("way", sa.Text, nullable=False),
        sa.Column("asked_model", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("server_id", sa.BigInteger),
        sa.Column("server_name", sa.Text),
        sa.Column("server_url", sa.Text),
        sa.Column("digest", sa.Text),
        sa.Column("proof", sa.Text),
        sa.Column("verified", sa.Boolean, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger),
        sa.Column("output_tokens", sa.BigInteger),
        sa.Column("tokens_per_second", sa.Double),
        sa.Column("total_ms", sa.BigInteger),
        sa.Column("load_ms", sa.BigInteger),
        sa.Column("time_to_first_token_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_ollama_receipts"),
        sa.CheckConstraint("way IN ('cli', 'api', 'python')", name=op.f("ck_ollama_receipts_way")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ollama_receipts_created_at", "ollama_receipts", ["created_at"])
