"""A version table of our own

Revision: 0007, after 0006

The revision stood in `alembic_version`, which every program that uses Alembic takes for its own.
Alembic itself reads the table before it runs a revision, so the row is moved before this one by
`ollama_admin.store.schema.adoption`; a database that is at this revision has the new table.
"""

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Nothing is left to do."""
