"""`validate`, `plan`, `diff FILE`, `apply` and `export` at the command line."""

import json
import stat
from pathlib import Path

import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Registry
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import Cli

FILE = """\
version: 1
owner: team
servers:
  - {name: gpu-1, url: "http://10.0.0.1"}
  - {name: gpu-2, url: "http://10.0.0.2", priority: 2}
keys:
  - {name: office, can: [ask]}
"""
EMPTY = "version: 1\nowner: team\n"


def test_file_is_planned_applied_and_then_there_is_nothing_to_do(cli: Cli) -> None:
    planned = cli("plan", "-", "--exit-code", stdin=FILE)
    assert planned.exit_code == 8
    assert [line.split()[:3] for line in planned.stdout.splitlines()[1:4]] == [
        ["add", "server", "gpu-1"],
        ["add", "server", "gpu-2"],
        ["add", "key", "office"],
    ]
    fingerprint = cli.json("plan", "-", stdin=FILE).data["fingerprint"]
    assert planned.stdout.endswith(f"3 to add, 0 as they are; plan {fingerprint}\n")
    applied = cli("apply", "-", "--plan", fingerprint, "--yes", stdin=FILE)
    assert applied.exit_code == 0
    *_, done, key = applied.stdout.splitlines()
    assert done == "done: 3 changes"
    assert key.startswith("oadm_")
    assert key.endswith(" office")
    for words in (["plan", "-", "--exit-code"], ["diff", "-"], ["apply", "-", "--yes"]):
        again = cli(*words, stdin=FILE)
        assert again.exit_code == 0
        assert again.stdout in ("", "nothing to do: the fleet is as the file says\n")


def test_what_is_written_is_planned_with_nothing_to_do(cli: Cli) -> None:
    cli("server", "add", "a", "http://a", "--label", "country=no", "--no-check")
    cli("key", "add", "k", "--note", "1e12")
    for words in (["export"], ["export", "-o", "json"]):
        written = cli(*words)
        assert written.exit_code == 0
        assert cli("plan", "-", "--exit-code", stdin=written.stdout).exit_code == 0
        assert cli("diff", "-", stdin=written.stdout).exit_code == 0
    cli("apply", "-", "--yes", stdin=FILE)
    written = cli("export", "--owner", "team")
    assert cli("plan", "-", "--prune", "--exit-code", stdin=written.stdout).exit_code == 0
    assert cli.json("export", "--owner", "nobody").failure == (3, "not_found")


def test_every_mistake_is_a_line_of_its_own_and_one_error_in_json(sqlite_cli: Cli) -> None:
    wrong = "version: 2\nowner: team\nservers: [{name: a, prot: 1}]\n"
    for command in ("validate", "plan", "diff", "apply"):
        ran = sqlite_cli(command, "-", stdin=wrong)
        assert (ran.exit_code, ran.stdout) == (2, "")
        lines = ran.stderr.splitlines()
        assert [line.split(":")[1].strip() for line in lines] == [
            "line 1, column 10",
            "line 3, column 11",
            "line 3, column 21",
        ]
        error = sqlite_cli.json(command, "-", stdin=wrong).error
        assert error["code"] == "invalid_file"
        assert error["message"].count("; line") == 2


def test_valid_file_is_counted_without_a_database(
    sqlite_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", "postgresql://127.0.0.1:9/none")
    (tmp_path / "fleet.yaml").write_text(FILE)
    ran = sqlite_cli("validate", "fleet.yaml")
    assert ran.stdout == "the file of team is valid: 2 servers, 0 models, 0 pins, 1 key\n"
    assert sqlite_cli.json("validate", "fleet.yaml").data["servers"] == 2
    assert sqlite_cli.json("validate", "nowhere.yaml").failure == (2, "invalid_input")


def test_difference_is_a_unified_text_and_exit_code_7(sqlite_cli: Cli) -> None:
    sqlite_cli("apply", "-", "--yes", stdin=FILE)
    changed = FILE.replace("priority: 2", "priority: 3")
    ran = sqlite_cli("diff", "-", stdin=changed)
    assert ran.exit_code == 7
    assert "-    priority: 2\n+    priority: 3\n" in ran.stdout
    in_json = sqlite_cli.json("diff", "-", stdin=changed)
    assert in_json.json_of_any_end == {"diff": ran.stdout}
    assert sqlite_cli("diff", "-", "--prune", stdin=EMPTY).exit_code == 7
    assert sqlite_cli("diff", "gpu-1", "gpu-2", "--prune").exit_code == 2


def test_conflict_is_exit_code_4_and_nothing_is_done(sqlite_cli: Cli) -> None:
    sqlite_cli("server", "add", "gpu-1", "http://mine", "--no-check")
    for command in (["plan", "-"], ["apply", "-", "--yes"]):
        assert sqlite_cli.json(*command, stdin=FILE).failure == (4, "file_conflict")
    assert len(sqlite_cli.json("server", "list").data) == 1
    assert sqlite_cli("apply", "-", "--yes", "--adopt", stdin=FILE).exit_code == 0


def test_plan_of_yesterday_is_refused(sqlite_cli: Cli) -> None:
    fingerprint = sqlite_cli.json("plan", "-", stdin=FILE).data["fingerprint"]
    changed = FILE.replace("priority: 2", "priority: 3")
    ran = sqlite_cli.json("apply", "-", "--plan", fingerprint, "--yes", stdin=changed)
    assert ran.failure == (4, "state_changed")
    assert sqlite_cli.json("server", "list").data == []


def test_nothing_is_done_without_a_yes(sqlite_cli: Cli, spawn: Spawn, tmp_path: Path) -> None:
    assert sqlite_cli.json("apply", "-", stdin=FILE).failure == (2, "invalid_input")
    (tmp_path / "fleet.yaml").write_text(FILE)
    for word, code, count in ((b"n\n", 2, 0), (b"y\n", 0, 2)):
        process = spawn("apply", "fleet.yaml", terminals=("stdin",), stdin=None)
        process.until_stderr(b"Make these 3 changes? [y/N]: ")
        process.type(word)
        assert process.ended().exit_code == code
        assert len(sqlite_cli.json("server", "list").data) == count


def test_texts_of_new_keys_go_to_a_file_that_nobody_else_reads(
    sqlite_cli: Cli, tmp_path: Path
) -> None:
    words = ["apply", "-", "--yes", "--keys-file", "keys.txt"]
    ran = sqlite_cli.json(*words, stdin=FILE)
    assert ran.exit_code == 0
    assert "oadm_" not in ran.stdout + ran.stderr
    path = tmp_path / "keys.txt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().endswith(" office\n")
    assert sqlite_cli.json(*words, stdin=FILE).failure == (2, "invalid_input")


def test_models_that_cannot_be_pulled_are_exit_code_7(sqlite_cli: Cli, serve: Serve) -> None:
    alpha = SimulatedModel("alpha", size=1000)
    url = serve(registry=Registry([alpha])).url
    text = (
        f"{EMPTY}servers: [{{name: one, url: {url}}}]\n"
        "models: [{name: alpha, servers: [one]}, {name: beta, servers: [one]}]\n"
    )
    without = sqlite_cli("apply", "-", "--yes", stdin=text)
    assert without.exit_code == 0
    assert "still to be pulled, as far as is known: 2 models; --pull does it" in without.stderr
    partly = sqlite_cli("apply", "-", "--yes", "--pull", stdin=text)
    assert partly.exit_code == 7
    left = sqlite_cli.json("plan", "-", stdin=text).data
    assert [step["name"] for step in left["steps"]] == ["beta"]
    partly = sqlite_cli.json("apply", "-", "--yes", "--pull", stdin=text)
    first, *_, last = map(json.loads, partly.stdout.splitlines())
    assert (first["event"], first["pulls"]) == ("applied", None)
    assert (partly.exit_code, last["event"], last["failed"]) == (7, "applied", 1)
