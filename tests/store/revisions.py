"""Databases at a revision, and revisions that only the tests have."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import sqlalchemy as sa

from ollama_admin.settings import Settings
from ollama_admin.store.engines import open_migration_engine
from ollama_admin.store.migrations import status
from ollama_admin.store.tables import HEAD

MIGRATIONS = Path(__file__).parents[2] / "migrations"
REVISIONS = tuple(f"{number:04}" for number in range(1, int(HEAD) + 1))

OF_SERVERS_SINCE_0009 = (
    "labels",
    "is_draining",
    "status_since",
    "status_at",
    "latency_ms",
    "failures",
    "asked_last_until",
)

SINCE_0010 = {
    "ollama_servers": ("managed_by", "ca_file", "client_cert_file", "client_key_file", "proxy"),
    "ollama_pins": ("managed_by",),
    "ollama_keys": ("managed_by",),
    "ollama_receipts": ("queued_ms", "passed_over"),
}

NEW_REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{after}"


def upgrade() -> None:
    kept = {{"sqlite_autoincrement": True}}
    with op.batch_alter_table("ollama_servers", table_kwargs=kept) as batch:
        batch.add_column(sa.Column("note", sa.Text))
        batch.alter_column("default_model", existing_type=sa.Text, type_=sa.String(500))
"""

ORPHANING_REVISION = f"""
from alembic import op

revision = "9999"
down_revision = "{HEAD}"


def upgrade() -> None:
    op.execute("DELETE FROM ollama_servers")
"""


def settings(url: str) -> Settings:
    return Settings.read({}, url)


def usage_of_receipts(url: str) -> str:
    """The statement by which revision 0011 adds the receipts up that there are."""
    revision = runpy.run_path(str(MIGRATIONS / "versions" / "0011_usage.py"))
    dialect = "postgresql" if is_postgresql(url) else "sqlite"
    context = SimpleNamespace(dialect=SimpleNamespace(name=dialect))
    revision["_added_up"].__globals__["op"] = SimpleNamespace(get_context=lambda: context)
    return str(revision["_added_up"]())


def is_postgresql(url: str) -> bool:
    return url.startswith("postgresql")


def version(url: str) -> str | None:
    """The revision that a connection of its own finds."""
    return status(settings(url)).current


def execute(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Run statements as somebody else would; the rows of the last one."""
    engine = open_migration_engine(settings(url), 5)
    with engine.begin() as connection:
        for statement in statements:
            result = connection.execute(sa.text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []


def add_server_with_models(url: str, *names: str) -> None:
    now = "'2026-01-01 00:00:00+00'" if is_postgresql(url) else "'2026-01-01 00:00:00'"
    execute(
        url,
        "INSERT INTO ollama_servers (name, name_key, url, api_version, capabilities, auth_config, "
        "headers, created_at,"
        f" updated_at) VALUES ('one', 'one', 'http://one', 'native', '[]', '{{}}', '{{}}', {now}, "
        f"{now})",
        *(
            "INSERT INTO ollama_models (server_id, name, name_key, first_seen_at, last_seen_at)"
            f" VALUES (1, '{name}', '{name}', {now}, {now})"
            for name in names
        ),
    )


def with_old_version_table(url: str) -> None:
    """As the earlier versions left it."""
    execute(url, "DROP TABLE ollama_usage")
    _take_back_0010(url)
    _take_back_0009(url)
    _take_back_0008(url)
    execute(url, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    execute(url, "INSERT INTO alembic_version VALUES ('0006')")
    execute(url, "DROP TABLE ollama_admin_version")


def _take_back_0010(url: str) -> None:
    execute(url, "DROP TABLE ollama_sessions")
    for table, columns in SINCE_0010.items():
        for column in columns:
            execute(url, f"ALTER TABLE {table} DROP COLUMN {column}")


def _take_back_0009(url: str) -> None:
    execute(url, "DROP TABLE ollama_task_leases")
    execute(url, "ALTER TABLE ollama_receipts DROP COLUMN truncated")
    for column in OF_SERVERS_SINCE_0009:
        execute(url, f"ALTER TABLE ollama_servers DROP COLUMN {column}")


def _take_back_0008(url: str) -> None:
    for table in ("keys", "audit", "key_budgets", "key_leases"):
        execute(url, f"DROP TABLE ollama_{table}")
    execute(url, "DROP INDEX ix_ollama_receipts_key_id_created_at")
    for column in ("key_id", "key_name", "client", "server_version", "estimated"):
        execute(url, f"ALTER TABLE ollama_receipts DROP COLUMN {column}")


def add_revision(
    revisions: Path, revision: str, after: str = HEAD, text: str = NEW_REVISION
) -> None:
    content = text if text == ORPHANING_REVISION else text.format(revision=revision, after=after)
    (revisions / "versions" / f"{revision}_test.py").write_text(content)
