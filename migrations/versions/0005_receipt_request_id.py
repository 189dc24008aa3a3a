"""The request of a receipt

Revision: 0005, after 0004

What a client reads in `X-Request-Id`, by which it finds the receipt. Older receipts have none.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

# SQLite adds a column with its check in one statement, and no check to a table that is there. It
# keeps the lines as they stand here.
ON_SQLITE = """ALTER TABLE ollama_receipts ADD COLUMN request_id TEXT
\tCONSTRAINT ck_ollama_receipts_request_id_type CHECK (typeof(request_id) IN ('text', 'null'))
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute(ON_SQLITE)
    else:
        op.add_column("ollama_receipts", sa.Column("request_id", sa.Text))
    op.create_index("ix_ollama_receipts_request_id", "ollama_receipts", ["request_id"])
