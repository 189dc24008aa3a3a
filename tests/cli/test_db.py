"""`ollama-admin db ...`"""

import asyncio
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from ollama_admin.client import Client
from tests.cli.running import Cli

TABLES = 14
REGISTRY = "SELECT revision FROM ollama_registry"


def add_server(cli: Cli, name: str) -> None:
    assert cli("server", "add", name, f"http://{name}.example", "--no-check").exit_code == 0


def names(cli: Cli) -> list[str]:
    return [server["name"] for server in cli.json("server", "list").data]


def test_copy_prints_what_it_compared(cli: Cli, database_url: str, tmp_path: Path) -> None:
    add_server(cli, "one")
    new = f"sqlite:///{tmp_path / 'new.db'}"
    ran = cli("db", "copy", database_url, new)
    assert ran.exit_code == 0, ran
    assert ran.stdout.splitlines()[-1].startswith("copied and compared 3 rows at revision ")
    assert "note: secrets stay encrypted: the target needs the key of the source" in ran.stderr
    assert [
        server["name"] for server in cli.json("--database-url", new, "server", "list").data
    ] == ["one"]


def test_copy_takes_urls_from_variables(
    sqlite_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEW", f"sqlite:///{tmp_path / 'new.db'}")
    copied = sqlite_cli.json("db", "copy", "env:OLLAMA_ADMIN_DATABASE_URL", "env:NEW").data
    assert copied.keys() == {"revision", "rows", "tables"}
    assert len(copied["tables"]) == TABLES
    assert copied["tables"][0].keys() == {"table", "rows", "checksum"}
    assert sqlite_cli.json("db", "copy", "env:NOT_SET", "env:NEW").failure == (2, "invalid_input")


def test_copy_into_what_is_not_empty_is_a_conflict(
    cli: Cli, database_url: str, tmp_path: Path
) -> None:
    add_server(cli, "one")
    new = f"sqlite:///{tmp_path / 'new.db'}"
    assert cli("db", "copy", database_url, new).exit_code == 0
    assert cli.json("db", "copy", database_url, new).failure == (4, "conflict")


def test_backup_is_restored_and_what_came_later_is_gone(sqlite_cli: Cli, tmp_path: Path) -> None:
    add_server(sqlite_cli, "one")
    file = tmp_path / "backup"
    ran = sqlite_cli("db", "backup", str(file))
    assert ran.exit_code == 0, ran
    assert "note: the key of stored secrets is not in the backup" in ran.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    add_server(sqlite_cli, "two")
    assert sqlite_cli.json("db", "restore", str(file)).failure == (2, "invalid_input")
    assert names(sqlite_cli) == ["one", "two"]
    assert sqlite_cli("db", "restore", str(file), "--yes").exit_code == 0
    assert names(sqlite_cli) == ["one"]
    assert sorted(path.name for path in tmp_path.glob("*backup*")) == ["backup"]


def test_json_of_a_backup_names_the_files(sqlite_cli: Cli, tmp_path: Path) -> None:
    sqlite_cli("server", "add", "one", "10.0.0.1", "--no-check")
    file = str(tmp_path / "backup.db")
    assert sqlite_cli.json("db", "backup", file).data["file"] == file
    restored = sqlite_cli.json("db", "restore", file, "--yes").data
    assert restored.keys() == {"file", "revision", "database"}
    assert restored["file"] == file


def test_backup_does_not_overwrite_unasked(sqlite_cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    file.write_text("mine")
    assert sqlite_cli.json("db", "backup", str(file)).failure == (4, "conflict")
    assert file.read_text() == "mine"
    assert sqlite_cli("db", "backup", str(file), "--yes").exit_code == 0
    assert sqlite_cli.json("db", "backup", str(tmp_path / "no" / "x")).failure == (
        2,
        "invalid_input",
    )


def test_backup_while_another_program_writes_holds_what_was_committed(
    sqlite_cli: Cli, tmp_path: Path
) -> None:
    add_server(sqlite_cli, "one")
    path = tmp_path / "one.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM ollama_servers")
        assert sqlite_cli("db", "backup", str(tmp_path / "backup")).exit_code == 0
        writer.execute("COMMIT")
    assert names(sqlite_cli) == []
    assert sqlite_cli("db", "restore", str(tmp_path / "backup"), "--yes").exit_code == 0
    assert names(sqlite_cli) == ["one"]


def test_a_program_that_uses_the_database_sees_what_was_restored(
    sqlite_cli: Cli, tmp_path: Path
) -> None:
    add_server(sqlite_cli, "one")
    file = str(tmp_path / "backup")
    assert sqlite_cli("db", "backup", file).exit_code == 0
    add_server(sqlite_cli, "two")
    with asyncio.Runner() as program, closing(sqlite3.connect(tmp_path / "one.db")) as reader:
        client = Client(environ=os.environ)
        assert len(program.run(client.servers.list())) == 2
        before = reader.execute(REGISTRY).fetchone()
        assert sqlite_cli("db", "restore", file, "--yes").exit_code == 0
        assert [server.name for server in program.run(client.servers.list())] == ["one"]
        assert reader.execute(REGISTRY).fetchone() > before  # what it keeps of them is read anew
        program.run(client.aclose())


def test_restore_makes_a_database_that_is_not_there(
    sqlite_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_server(sqlite_cli, "one")
    file = str(tmp_path / "backup")
    assert sqlite_cli("db", "backup", file).exit_code == 0
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", f"sqlite:///{tmp_path / 'new.db'}")
    assert sqlite_cli("db", "restore", file).exit_code == 0
    assert names(sqlite_cli) == ["one"]
    assert stat.S_IMODE((tmp_path / "new.db").stat().st_mode) == 0o600


def no_database(file: Path) -> None:
    file.write_text("no database")


def cut_in_the_middle(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def of_another_program(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER)")


def of_a_later_version(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE ollama_admin_version SET version_num = '9999'")


@pytest.mark.parametrize(
    "damage", [no_database, cut_in_the_middle, of_another_program, of_a_later_version]
)
def test_what_is_no_backup_leaves_the_database_as_it_is(
    damage: object, sqlite_cli: Cli, tmp_path: Path
) -> None:
    add_server(sqlite_cli, "one")
    file = tmp_path / "backup"
    assert sqlite_cli("db", "backup", str(file)).exit_code == 0
    damage(file)  # type: ignore[operator]
    exit_code, code = sqlite_cli.json("db", "restore", str(file), "--yes").failure
    assert exit_code == 5
    assert code in ("database_unavailable", "schema_out_of_date")
    assert names(sqlite_cli) == ["one"]


def test_restore_of_no_file_is_an_error(sqlite_cli: Cli, tmp_path: Path) -> None:
    ran = sqlite_cli.json("db", "restore", str(tmp_path / "none"), "--yes")
    assert ran.failure == (2, "invalid_input")
    assert not (tmp_path / "none").exists()


def test_restore_of_no_file_does_not_ask_first(sqlite_cli: Cli, tmp_path: Path) -> None:
    add_server(sqlite_cli, "one")
    ran = sqlite_cli("db", "restore", str(tmp_path / "none"))
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr.startswith("error: there is no file ")


def test_restore_of_an_older_revision_says_what_to_do_next(sqlite_cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    assert sqlite_cli("db", "backup", str(file)).exit_code == 0
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE ollama_admin_version SET version_num = '0010'")
    ran = sqlite_cli("db", "restore", str(file), "--yes")
    assert ran.exit_code == 0
    assert "note: the backup is of revision 0010; run: ollama-admin migrate" in ran.stderr


def test_backup_and_restore_of_postgresql_name_what_does_that(
    migrated_postgres_url: str, tmp_path: Path
) -> None:
    for words in (("backup", str(tmp_path / "x")), ("restore", str(tmp_path / "x"))):
        ran = Cli()("--database-url", migrated_postgres_url, "db", *words)
        assert ran.exit_code == 2
        assert "hint: use pg_dump, or: ollama-admin db copy" in ran.stderr
