"""`ollama-admin import-env`"""

import json
from pathlib import Path

import psycopg
import pytest

from ollama_admin.vault import new_key
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import SECONDS, Cli
from tests.fake_ollama import Silence

ENTRY_KEYS = ["file", "line", "variable", "server", "field", "value", "state", "why"]
SECRET = "s3cr3t-t0ken"
LEGACY = f"""\
# the old way
OLLAMA_URL_1=http://10.39.0.101:11434/v1
OLLAMA_CAPABILITIES_1=general,vision
OLLAMA_MAX_CONCURRENT_1=2
OLLAMA_URL_2="10.39.0.6"
OLLAMA_MODEL=qwen3-vl:8b
OLLAMA_API_KEY={SECRET}
OLLAMA_KEEP_ALIVE=5m
OLLAMA_FROBNICATE=1
DATABASE_PASSWORD=hunter2
"""


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL has no key of its own to store the file's secrets under."""
    monkeypatch.setenv("OLLAMA_ADMIN_SECRET_KEY", new_key().reveal())


@pytest.fixture
def env(tmp_path: Path) -> Path:
    """The `.env` of the working folder."""
    path = tmp_path / ".env"
    path.write_text(LEGACY)
    return path


def servers(cli: Cli) -> dict[str, dict[str, object]]:
    return {server["name"]: server for server in cli.json("server", "list").data}


def states(cli: Cli, *words: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for entry in json.loads(cli.json("import-env", *words).stdout)["results"]:
        found.setdefault(entry["state"], set()).add(entry["variable"])
    return found


def test_legacy_entries_become_servers(cli: Cli, env: Path) -> None:
    ran = cli.json("import-env")
    assert list(ran.data) == ["results", "applied", "failed"]
    assert all(list(entry) == ENTRY_KEYS for entry in ran.data["results"])
    assert ran.data["failed"] == 0
    one, two = servers(cli).values()
    assert (one["url"], one["api_version"], one["is_default"]) == (
        "http://10.39.0.101:11434",
        "v1",
        True,
    )
    assert (one["capabilities"], one["max_concurrent"], one["default_model"]) == (
        ["general", "vision"],
        2,
        "qwen3-vl:8b",
    )
    assert (two["url"], two["api_version"], two["is_default"]) == (
        "http://10.39.0.6:11434",
        "native",
        False,
    )
    assert env.read_text() == LEGACY


def test_plan_names_file_line_and_variable(cli: Cli, env: Path) -> None:
    [entry] = [
        entry
        for entry in cli.json("import-env").data["results"]
        if entry["field"] == "max_concurrent"
    ]
    assert entry == {
        "file": ".env",
        "line": 4,
        "variable": "OLLAMA_MAX_CONCURRENT_1",
        "server": entry["server"],
        "field": "max_concurrent",
        "value": 2,
        "state": "new",
        "why": None,
    }
    assert entry["server"] in servers(cli)


VALUES = "v1  default  model qwen3-vl:8b  general, vision  limit 2  bearer ********"


def test_plan_is_a_line_for_each_server_and_ends_with_what_can_be_deleted(
    cli: Cli, env: Path
) -> None:
    ran = cli("import-env")
    assert ran.exit_code == 0
    lines = ran.stdout.splitlines()
    assert lines[:3] == [
        f"+  ollama-1  http://10.39.0.101:11434  {VALUES}  [.env:2-4,6-7]",
        "+  ollama-2  http://10.39.0.6:11434  [.env:5]",
        "? .env:9     ignored    OLLAMA_FROBNICATE (not understood)",
    ]
    assert not any("KEEP_ALIVE" in line for line in lines)
    start = lines.index("you can delete these lines once your programs ask ollama-admin:")
    deletable = [line.split()[-1] for line in lines[start + 1 :]]
    assert {"OLLAMA_URL_1", "OLLAMA_URL_2", "OLLAMA_MODEL"} <= set(deletable)
    assert not {"DATABASE_PASSWORD", "OLLAMA_FROBNICATE"} & set(deletable)


def test_verbose_names_every_line_with_what_becomes_of_it(cli: Cli, env: Path) -> None:
    lines = cli("-v", "import-env", "--dry-run").stdout.splitlines()
    assert any(
        line.startswith("  .env:4 ") and "OLLAMA_MAX_CONCURRENT_1 -> " in line for line in lines
    )
    assert any(line.startswith("  .env:8 ") and "not a client setting" in line for line in lines)
    assert "nothing was changed (--dry-run)" in lines
    assert not any("you can delete" in line for line in lines)


def test_plan_marks_what_is_the_same_what_differs_and_what_changes(cli: Cli, env: Path) -> None:
    cli("import-env")
    env.write_text(LEGACY.replace("MAX_CONCURRENT_1=2", "MAX_CONCURRENT_1=3"))
    kept, updated = cli("import-env"), cli("import-env", "--update", "--dry-run")
    assert [line[:1] for line in kept.stdout.splitlines()[:3]] == ["!", " ", "="]
    assert "max_concurrent = 3 (the server has 2)" in kept.stdout
    assert [line[:1] for line in updated.stdout.splitlines()[:3]] == ["~", " ", "="]
    assert "max_concurrent = 3 (replaces 2)" in updated.stdout


def test_a_misspelt_variable_is_asked_about(cli: Cli, env: Path) -> None:
    env.write_text("OLLAMA_URL_2=a\nOLLAMA_MAX_CONCURENT_2=3\n")
    assert "did you mean OLLAMA_MAX_CONCURRENT_2?" in cli("import-env").stdout


WRONG = "OLLAMA_URL_1=ftp://x\nOLLAMA_URL_2=http://b\nOLLAMA_PRIORITY_2=high\nX='open\n"


def test_all_errors_are_told_at_once_and_nothing_is_imported(cli: Cli, env: Path) -> None:
    env.write_text(WRONG)
    ran = cli("import-env")
    assert ran.exit_code == 2
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert [error.split(":")[1] for error in errors] == [
        " .env, line 1",
        " .env, line 3",
        " .env, line 4",
    ]
    assert "--skip-errors" in ran.stderr
    assert ran.stdout.startswith("+  ollama-2  http://b")
    assert servers(cli) == {}


def test_errors_are_one_error_of_json_and_entries_of_a_plan(cli: Cli, env: Path) -> None:
    env.write_text(WRONG)
    ran = cli.json("import-env")
    assert ran.failure == (2, "invalid_input")
    assert [f"line {line}: " in ran.error["message"] for line in (1, 2, 3, 4)] == [
        *(True, False, True, True),
    ]
    planned = cli.json("import-env", "--dry-run")
    assert planned.exit_code == 7
    document = json.loads(planned.stdout)
    assert (document["applied"], document["failed"]) == (0, 3)
    unreadable = [entry for entry in document["results"] if entry["state"] == "error"]
    assert [(entry["line"], entry["variable"]) for entry in unreadable] == [
        (1, "OLLAMA_URL_1"),
        (3, "OLLAMA_PRIORITY_2"),
        (4, "X"),
    ]


def test_skip_errors_imports_the_rest(cli: Cli, env: Path) -> None:
    env.write_text(WRONG)
    ran = cli("import-env", "--skip-errors")
    assert ran.exit_code == 7
    assert ran.stderr.count("error: ") == 3
    assert [server["url"] for server in servers(cli).values()] == ["http://b"]


def test_a_compose_file_is_read_by_its_environments(cli: Cli, tmp_path: Path) -> None:
    text = "services:\n  web:\n    environment:\n      OLLAMA_BASE_URL: http://a:11434\n"
    (tmp_path / "docker-compose.yml").write_text(text)
    ran = cli("import-env", "docker-compose.yml")
    assert ran.stdout.startswith("+  ollama  http://a:11434  default  [docker-compose.yml:4]")


@pytest.mark.parametrize("words", [(), ("--dry-run",), ("-o", "json"), ("--update", "-o", "json")])
def test_secrets_are_never_shown(cli: Cli, env: Path, words: tuple[str, ...]) -> None:
    ran = cli("-v", "import-env", *words)
    for secret in (SECRET, "hunter2"):
        assert secret not in ran.stdout + ran.stderr
    assert "OLLAMA_API_KEY" in ran.stdout


def test_dry_run_changes_nothing(cli: Cli, env: Path) -> None:
    ran = cli("import-env", "--dry-run")
    assert ran.exit_code == 0
    assert "nothing was changed (--dry-run)" in ran.stdout
    assert servers(cli) == {}
    document = cli.json("import-env", "--dry-run").data
    assert document["applied"] == 0
    assert {entry["state"] for entry in document["results"]} == {"new", "ignored"}


def test_second_run_changes_nothing(cli: Cli, env: Path) -> None:
    cli("import-env")
    before = servers(cli)
    second = cli.json("import-env").data
    assert (second["applied"], second["failed"]) == (0, 0)
    assert {entry["state"] for entry in second["results"]} == {"unchanged", "ignored"}
    assert servers(cli) == before


def test_value_that_differs_is_a_conflict_that_is_not_applied(cli: Cli, env: Path) -> None:
    cli("import-env")
    before = servers(cli)
    env.write_text(LEGACY.replace("MAX_CONCURRENT_1=2", "MAX_CONCURRENT_1=3"))
    ran = cli("import-env")
    assert ran.exit_code == 7
    assert "conflict" in ran.stdout
    assert "--update" in ran.stderr
    assert states(cli)["conflict"] == {"OLLAMA_MAX_CONCURRENT_1"}
    assert servers(cli) == before


def test_update_lets_the_file_win(cli: Cli, env: Path) -> None:
    cli("import-env")
    env.write_text(LEGACY.replace("MAX_CONCURRENT_1=2", "MAX_CONCURRENT_1=3"))
    document = cli.json("import-env", "--update").data
    assert (document["applied"], document["failed"]) == (1, 0)
    assert next(iter(servers(cli).values()))["max_concurrent"] == 3


def test_files_are_read_in_the_order_given(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("OLLAMA_HOST=10.0.0.1\n")
    (tmp_path / "b.env").write_text("OLLAMA_URL_1=10.0.0.2\n")
    results = cli.json("import-env", "a.env", "b.env").data["results"]
    assert [entry["file"] for entry in results if entry["field"] == "url"] == ["a.env", "b.env"]
    assert len(servers(cli)) == 2


def test_environment_is_read_only_when_asked(
    cli: Cli, env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "10.0.0.9")
    cli("import-env")
    assert "http://10.0.0.9:11434" not in {server["url"] for server in servers(cli).values()}
    results = cli.json("import-env", "--environ").data["results"]
    assert [(entry["file"], entry["line"]) for entry in results if entry["field"] == "url"] == [
        (None, None)
    ]
    assert "http://10.0.0.9:11434" in {server["url"] for server in servers(cli).values()}


def test_environment_is_called_so_in_the_plan(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "10.0.0.9")
    assert "[environment: OLLAMA_HOST]" in cli("import-env", "--environ").stdout


def test_url_with_a_password_is_imported_without_showing_it(cli: Cli, env: Path) -> None:
    env.write_text(f"OLLAMA_HOST=http://me:{SECRET}@gpu:11434\n")
    ran = cli("import-env")
    assert SECRET not in ran.stdout + ran.stderr
    assert SECRET not in cli.json("server", "list").stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"OLLAMA_HOST=\xff\xfe\n", "UTF-8"),
        (b"OLLAMA_HOST=a\x00b\n", None),
        (b"OLLAMA_URL_1=ftp://x\n", "ftp"),
    ],
)
def test_file_that_cannot_be_used_changes_nothing(
    cli: Cli, env: Path, content: bytes, said: str | None
) -> None:
    env.write_bytes(content)
    ran = cli("import-env")
    assert ran.exit_code in (0, 2, 7)
    assert ran.exit_code == 2 or said is None or said in ran.stdout
    assert "Traceback" not in ran.stderr
    assert servers(cli) == {}


@pytest.mark.parametrize("name", ["missing.env", ".", "a\udcff.env", "\x1b[31m.env"])
def test_file_that_cannot_be_read_is_an_error_that_names_it(cli: Cli, name: str) -> None:
    ran = cli.json("import-env", name)
    assert ran.failure == (2, "invalid_input")
    plain = cli("import-env", name)
    assert (plain.exit_code, plain.stdout) == (2, "")
    assert "\x1b" not in plain.stderr
    assert servers(cli) == {}


def test_without_a_file_the_missing_env_is_named(cli: Cli) -> None:
    ran = cli.json("import-env")
    assert ran.failure == (2, "invalid_input")
    assert ".env" in ran.error["message"]


def test_hostile_variable_is_shown_escaped(cli: Cli, env: Path) -> None:
    env.write_text("OLLAMA_URL_1=http://gpu\nOLLAMA_NAME_1=[red]a\x1b]0;x\x07b\n")
    ran = cli("import-env")
    assert "\x1b" not in ran.stdout + ran.stderr


def test_discover_reads_the_models_of_imported_servers(cli: Cli, serve: Serve, env: Path) -> None:
    fake = serve("alpha")
    env.write_text(f"OLLAMA_HOST={fake.url}\n")
    ran = cli("import-env", "--discover")
    assert ran.exit_code == 0
    assert "ADDED" in ran.stdout
    assert [model["name"] for model in cli.json("models").data] == ["alpha:latest"]


def test_discover_that_fails_keeps_the_servers_and_exits_7(cli: Cli, env: Path) -> None:
    env.write_text("OLLAMA_HOST=http://127.0.0.1:9\n")
    ran = cli.json("import-env", "--discover")
    assert ran.exit_code == 7
    assert json.loads(ran.stdout)["failed"] == 0
    assert "(the server is kept)" in ran.stderr
    assert len(servers(cli)) == 1


def test_dry_run_discovers_nothing(cli: Cli, serve: Serve, env: Path) -> None:
    fake = serve("alpha")
    env.write_text(f"OLLAMA_HOST={fake.url}\n")
    assert cli("import-env", "--discover", "--dry-run").exit_code == 0
    assert fake.requests() == []


def test_interrupt_during_discovery_keeps_the_import_whole(
    cli: Cli, serve: Serve, env: Path, spawn: Spawn
) -> None:
    fake = serve("alpha")
    env.write_text(f"OLLAMA_URL_1={fake.url}\nOLLAMA_URL_2=http://127.0.0.1:9\n")
    silence = Silence()
    fake.fakes[0].script_always("/api/version", silence)
    process = spawn("import-env", "--discover")
    fake.run(silence.arrived.wait(), SECONDS)
    process.interrupt()
    ran = process.ended()
    assert ran.exit_code == 130
    assert "Traceback" not in ran.stderr
    assert len(servers(cli)) == 2
    assert cli.json("models", "--all").data == []


def test_interrupt_while_the_table_is_locked_leaves_all_or_nothing(
    env: Path, migrated_postgres_url: str, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", migrated_postgres_url)
    with psycopg.connect(migrated_postgres_url) as holder:
        holder.execute("LOCK TABLE ollama_servers IN ACCESS EXCLUSIVE MODE")
        process = spawn("import-env")
        with psycopg.connect(migrated_postgres_url, autocommit=True) as watcher:
            while not watcher.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()[
                0
            ]:
                pass
        process.interrupt()
        holder.rollback()
    ran = process.ended()
    assert ran.exit_code == 130
    assert "Traceback" not in ran.stderr
    assert len(servers(Cli())) in (0, 2)
