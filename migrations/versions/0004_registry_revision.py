"""The registry's revision

Revision: 0004, after 0003

One row, whose number each change of servers, models and pins raises.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ON_SQLITE = (
    (
        "id_type",
        "typeof(id) IN ('integer', 'null') AND id BETWEEN -2147483648 AND 2147483647",
    ),
    ("revision_type", "typeof(revision) IN ('integer', 'null')"),
)


def upgrade() -> None:
    constraints = [("id", "id = 1"), ("revision", "revision >= 0")]
    if op.get_context().dialect.name == "sqlite":
        constraints.extend(ON_SQLITE)
    op.create_table(
        "ollama_registry",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ollama_registry"),
        *(
            sa.CheckConstraint(condition, name=op.f(f"ck_ollama_registry_{name}"))
            for name, condition in constraints
        ),
    )
    op.execute("INSERT INTO ollama_registry (id, revision) VALUES (1, 0)")
