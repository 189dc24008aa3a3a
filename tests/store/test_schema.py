"""The schema that the revisions make, and the rules for revisions."""

import ast
import hashlib
import re
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from ollama_admin.errors import SchemaOutOfDate
from ollama_admin.store import migrations, tables
from ollama_admin.store.engines import open_migration_engine
from ollama_admin.store.migrations import status, upgrade
from ollama_admin.store.schema import VERSION_TABLE
from tests.store.revisions import is_postgresql, settings
from tests.store.schemas import schema

VERSIONS = migrations.script_location() / "versions"

# What a released revision looked like. It never changes: a new revision changes the schema.
CHECKSUMS = {
    "0001_servers_and_models": "35146a5ceb933e33bf735cf46a09c17f1a89de3439958c8542301ac28beca16d",
    "0002_pins_slots_receipts": "8db868a8b0eb3578187548f27f46960300aeabf24f49ac9e9a9471760e7710f0",
    "0003_column_checks": "c356fc3e61353118110ea2af69205dd9c6394d2bc15eecf241231a99b12155a0",
    "0004_registry_revision": "5b91af1552c73a54adc09da2b8f3ede25f21e7b21f7d430f702db504a3764786",
    "0005_receipt_request_id": "ed5f2c4a15ffb5f7b516971ebd72206454332dd9e8a5e1bda3106b69df6d2b68",
    "0006_waiting": "6175a6546fd97a316ea150989f7fada297a67721422faa9690599f95abffcc85",
    "0007_version_table": "26f77c6ac03f3e0599cce5d577716cb777ac4650c653ca20ec4a85a5cfee5c79",
    "0008_keys": "f2f1099eb77553de5c9538747bc8b3f35a6f6257eedf4ca03cb87548161efa95",
    "0009_fleet": "725032d220c6e0a8825a9546a10f7811c9e4bb276bf1c1c2ef32df75658316ae",
    "0010_pages": "bfbe15ad6f2f76382cc78be90841fe753df04b1039ae94f172efcc255bd2c705",
    "0011_usage": "3a89fe15bc856b3807b0471095c77a37c3958f8fa701fe99dcd503b67bbf7bf7",
}

NAMES = {
    "pk": r"pk_{}",
    "fk": r"fk_{}_\w+",
    "uq": r"uq_{}_\w+",
    "ix": r"ix_{}_\w+",
    "ck": r"ck_{}_(?!ck_)\w+",
}


def with_postgresql_options() -> sa.MetaData:
    """The tables of the code with what the revisions alone say of PostgreSQL."""
    # made once more: a copy forgets which dialect a constraint is for
    metadata: sa.MetaData = runpy.run_path(tables.__file__)["metadata"]
    servers = metadata.tables["ollama_servers"]
    (default,) = (
        index for index in servers.indexes if index.name == "uq_ollama_servers_is_default"
    )
    default.dialect_kwargs["postgresql_where"] = servers.c.is_default
    metadata.tables["ollama_slots"].dialect_kwargs["postgresql_with"] = {"fillfactor": "50"}
    return metadata


def test_migrated_database_is_what_the_tables_say(database_url: str) -> None:
    with open_migration_engine(settings(database_url), 5).connect() as connection:
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "version_table": VERSION_TABLE,
        }
        assert (
            compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata)
            == []
        )


def test_migrated_catalogue_equals_that_of_the_tables(fresh_urls: Callable[[], str]) -> None:
    """Checks, partial indexes and AUTOINCREMENT too, which autogenerate does not compare."""
    migrated, made = fresh_urls(), fresh_urls()
    metadata = with_postgresql_options()
    upgrade(settings(migrated))
    with open_migration_engine(settings(made), 5).begin() as connection:
        metadata.create_all(connection)
    assert schema(migrated) == schema(made)


def test_head_of_the_code_is_the_head_of_the_revisions(database_url: str) -> None:
    assert status(settings(database_url)).head == tables.HEAD


def test_a_missing_revision_is_named_before_anything_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = Path(shutil.copytree(migrations.script_location(), tmp_path / "migrations"))
    (copied / "versions" / "0003_column_checks.py").unlink()
    monkeypatch.setattr(migrations, "script_location", lambda: copied)
    with pytest.raises(SchemaOutOfDate, match="0003 are missing, which 0004 need"):
        upgrade(settings(f"sqlite:///{tmp_path / 'new.db'}"))


def test_every_constraint_has_its_conventional_name(database_url: str) -> None:
    found = sa.inspect(open_migration_engine(settings(database_url), 5))
    for table in (
        "ollama_servers",
        "ollama_models",
        "ollama_pins",
        "ollama_slots",
        "ollama_receipts",
        "ollama_registry",
        "ollama_waiting",
        "ollama_keys",
        "ollama_key_budgets",
        "ollama_key_leases",
        "ollama_audit",
        "ollama_task_leases",
    ):
        names = {
            "pk": [found.get_pk_constraint(table)["name"]]
            if is_postgresql(database_url)
            else [],  # AUTOINCREMENT
            "fk": [key["name"] for key in found.get_foreign_keys(table)],
            "uq": [key["name"] for key in found.get_unique_constraints(table)],
            "ck": [key["name"] for key in found.get_check_constraints(table)],
        }
        odd = [
            name
            for kind, called in names.items()
            for name in called
            if not re.fullmatch(NAMES[kind].format(table), name or "")
        ]
        indexes = [index["name"] for index in found.get_indexes(table)]
        odd += [name for name in indexes if not re.fullmatch(rf"(ix|uq)_{table}_\w+", name or "")]
        assert odd == []


def test_released_revisions_are_not_edited() -> None:
    found = {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(VERSIONS.glob("*.py"))
    }
    assert found == CHECKSUMS


@pytest.mark.parametrize("path", sorted(VERSIONS.glob("*.py")), ids=lambda path: path.stem)
def test_revision_stays_inside_its_transaction(path: Path) -> None:
    """The lock ends with the transaction, and statements that wait for others' snapshots would wait
    for ever.
    """
    tree = ast.parse(path.read_text())
    words = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    words |= {
        keyword.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
    }
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert not words & {
        "autocommit_block",
        "transaction_per_migration",
        "postgresql_concurrently",
        "commit",
    }
    assert not [
        text
        for text in texts
        if re.search(r"\b(concurrently|commit|vacuum)\b", text, re.IGNORECASE)
    ]


def test_environment_runs_all_revisions_in_one_transaction() -> None:
    assert "transaction_per_migration" not in (migrations.script_location() / "env.py").read_text()
