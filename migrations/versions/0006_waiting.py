"""Who waits for slots

Revision: 0006, after 0005

A row for each process and server: how many requests wait there, and since when.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


ON_SQLITE = (
    ("holder_type", "typeof(holder) IN ('text', 'null')"),
    ("server_id_type", "typeof(server_id) IN ('integer', 'null')"),
    (
        "count_type",
        "typeof(count) IN ('integer', 'null') AND count BETWEEN -2147483648 AND 2147483647",
    ),
    ("since_type", "typeof(since) IN ('real', 'null')"),
    ("clock_type", "typeof(clock) IN ('text', 'null')"),
    ("expires_at_type", "typeof(expires_at) IN ('real', 'null')"),
)


def upgrade() -> None:
    constraints = [("count", "count >= 1")]
    if op.get_context().dialect.name == "sqlite":
        constraints.extend(ON_SQLITE)
    op.create_table(
        "ollama_waiting",
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("server_id", sa.BigInteger, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("clock", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("holder", "server_id", name="pk_ollama_waiting"),
        *(
            sa.CheckConstraint(condition, name=op.f(f"ck_ollama_waiting_{name}"))
            for name, condition in constraints
        ),
        postgresql_with={"fillfactor": "50"},  # rewritten several times a second: in place
    )
