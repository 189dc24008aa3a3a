"""`ollama-admin ps`, `show`, `rm`, `cp`, `load` and `unload`"""

import json
import re
from typing import Any

import pytest

from ollama_admin.simulator.model import SimulatedModel
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import Cli
from tests.fake_ollama import Answer, FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread

ALPHA = SimulatedModel("alpha", gpu_share=0.25)
NEW_ALPHA = SimulatedModel("alpha", build="2")
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def fakes(cli: Cli, serve: Serve) -> list[FakeOllamaThread]:
    """Servers one and two that hold alpha, of two builds, and three that holds beta; discovered."""
    started = [serve(ALPHA), serve(NEW_ALPHA), serve("beta")]
    for name, fake in zip(("one", "two", "three"), started, strict=True):
        added = cli("server", "add", name, fake.url, "--no-check")
        assert added.exit_code == 0
    assert cli("discover").exit_code == 0
    return started


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()[1:]]


def names(cli: Cli) -> list[str]:
    return sorted(f"{model['server']} {model['name']}" for model in cli.json("models").data)


@pytest.mark.usefixtures("fakes")
def test_ps_shows_what_runs_where(cli: Cli) -> None:
    assert cli("load", "alpha", "--on", "one", "--keep-alive", "-1").exit_code == 0
    ran = cli("ps")
    assert ran.exit_code == 0
    heading, *_ = ran.stdout.splitlines()
    assert heading.split() == [
        *("SERVER", "MODEL", "DIGEST", "SIZE", "GPU", "UNTIL", "USED", "WAITING", "CONTEXT")
    ]
    assert rows(ran.stdout) == [
        [
            *("one", "alpha:latest", ALPHA.digest[:12], "8.7", "MB", "25", "%", "for", "ever"),
            *("0/1", "-", "2048"),
        ],
        ["two", "-", "-", "-", "-", "-", "0/1", "-", "-"],
        ["three", "-", "-", "-", "-", "-", "0/1", "-", "-"],
    ]
    document = cli.json("ps", "one").data
    [result] = document["results"]
    assert list(result) == ["server", "models", "in_flight", "waiting", "max_concurrent", "error"]
    [model] = result["models"]
    assert list(model) == [
        *("name", "digest", "size", "size_vram", "context_length", "expires_at", "gpu_share")
    ]
    assert (model["gpu_share"], document["failed"]) == (0.25, 0)


@pytest.mark.usefixtures("fakes")
def test_ps_of_a_fleet_with_a_dead_server_is_exit_7(cli: Cli) -> None:
    assert cli("server", "add", "dead", NOWHERE, "--no-check").exit_code == 0
    ran = cli("ps")
    assert ran.exit_code == 7
    assert rows(ran.stdout)[-1][:2] == ["dead", "server_unreachable"]
    assert cli.json("ps", "dead").failure == (6, "server_unreachable")


def test_ps_without_servers_says_so(sqlite_cli: Cli) -> None:
    ran = sqlite_cli("ps")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "no servers to ask" in ran.stderr


@pytest.mark.usefixtures("fakes")
def test_ps_watches_until_it_is_interrupted(cli: Cli, spawn: Spawn) -> None:
    process = spawn("ps", "--watch", "-o", "json")
    process.until_stdout(b"\n{")
    process.interrupt()
    ran = process.ended()
    assert ran.exit_code == 130
    for line in ran.stdout.splitlines():
        assert json.loads(line)["failed"] == 0
    assert "Traceback" not in ran.stderr


def test_ps_that_watches_says_once_what_fails(cli: Cli, spawn: Spawn) -> None:
    assert cli("server", "add", "dead", NOWHERE, "--no-check").exit_code == 0
    process = spawn("ps", "--watch")
    process.until_stdout(b"\nSERVER")  # the second look
    process.interrupt()
    assert process.ended().stderr.count("connection refused") == 1


@pytest.mark.usefixtures("fakes")
def test_ps_on_a_terminal_begins_each_look_on_a_clear_screen(cli: Cli, spawn: Spawn) -> None:
    process = spawn("ps", "--watch", terminals=["stdout"])
    process.until_stdout(b"\x1b[H\x1b[2J")
    process.until_stdout(b"three")
    process.interrupt()
    assert process.ended().exit_code == 130
    process = spawn("ps", "--watch", terminals=["stdout"], environ={"TERM": "dumb"})
    process.until_stdout(b"three")
    process.interrupt()
    assert "\x1b[H" not in process.ended().stdout


def test_show_tells_facts_texts_and_holders(cli: Cli, fakes: list[FakeOllamaThread]) -> None:
    show: dict[str, Any] = {
        "license": "\n".join(f"line {number}" for number in range(50)),
        "template": "{{ .Prompt }}\x1b[31m",
        "parameters": "num_ctx 4096",
        "model_info": {"general.architecture": "llama", "llama.context_length": 8192},
        "capabilities": ["completion", "tools"],
    }
    fake = fakes[0]
    fake.call(lambda: fake.fakes[0].script_always("/api/show", Answer(200, show)))
    ran = cli("show", "alpha")
    assert ran.exit_code == 0
    facts = {line[:16].strip(): line[17:] for line in ran.stdout.splitlines() if len(line) > 16}
    assert (facts["name"], facts["told by"], facts["build"]) == ("alpha", "one", ALPHA.digest)
    assert (facts["context"], facts["chosen context"]) == ("8192", "4096")
    assert facts["capabilities"] == "completion, tools"
    assert "\x1b" not in ran.stdout
    assert "  line 1\n  ... (48 more lines; all of it: -o json)" in ran.stdout
    assert "2 builds have this name" in ran.stderr
    document = cli.json("show", "alpha", "--server", "two").data
    assert list(document) == [*("name", "server", "digest", "build", "pinned", "builds", "holders")]
    assert [holder["server"]["name"] for holder in document["holders"]] == ["one", "two"]
    assert "modelfile" not in ran.stdout


@pytest.mark.usefixtures("fakes")
def test_show_of_what_nobody_has_names_what_is_near(cli: Cli) -> None:
    ran = cli("show", "alpa")
    assert ran.exit_code == 3
    assert (
        ran.stderr
        == "error: no server has model 'alpa'\nhint: nearest: alpha:latest, beta:latest\n"
    )


@pytest.mark.usefixtures("fakes")
def test_rm_without_a_terminal_needs_a_yes(cli: Cli) -> None:
    ran = cli("rm", "alpha", "--on", "one")
    assert ran.exit_code == 2
    assert "add --yes" in ran.stderr
    assert "one alpha:latest" in names(cli)
    assert cli("rm", "alpha", "--on", "one", "--yes").exit_code == 0
    assert names(cli) == ["three beta:latest", "two alpha:latest"]


@pytest.mark.usefixtures("fakes")
def test_rm_asks_and_names_what_would_break(cli: Cli, spawn: Spawn) -> None:
    assert cli("server", "update", "one", "--default-model", "alpha").exit_code == 0
    assert cli("pin", "set", "alpha", "--server", "one").exit_code == 0
    process = spawn(
        "rm", "alpha", "--on", "one", terminals=["stdin", "stdout", "stderr"], stdin=None
    )
    process.until_stderr(b"Delete model 'alpha' on one? [y/N]: ")
    process.type(b"n\n")
    ran = process.ended()
    assert ran.exit_code == 2
    assert "one answers with alpha when no model is named" in ran.stderr
    assert f"no other server is known to have build {ALPHA.digest[:12]}" in ran.stderr
    assert "one alpha:latest" in names(cli)


@pytest.mark.usefixtures("fakes")
def test_rm_everywhere_skips_servers_that_lack_it(cli: Cli) -> None:
    ran = cli("rm", "alpha", "--all", "--yes")
    assert ran.exit_code == 0
    assert [row[0::3][:2] for row in rows(ran.stdout)] == [
        ["one", "removed"],
        ["two", "removed"],
        ["three", "not"],
    ]
    assert cli.json("rm", "alpha", "--all", "--yes").failure == (3, "model_not_found")


@pytest.mark.usefixtures("fakes")
def test_cp_load_and_unload_print_a_line_for_each_server(cli: Cli) -> None:
    ran = cli("cp", "alpha", "localhost:5000/me/a:1", "--on", "one", "--on", "two")
    assert ran.exit_code == 0
    assert [row[:4] for row in rows(ran.stdout)] == [
        ["one", "localhost:5000/me/a:1", ALPHA.digest[:12], "copied"],
        ["two", "localhost:5000/me/a:1", NEW_ALPHA.digest[:12], "copied"],
    ]
    document = cli.json("load", "localhost:5000/me/a:1", "--on", "one", "--on", "three")
    assert document.exit_code == 7
    first, second = json.loads(document.stdout)["results"]
    assert list(first) == ["server", "model", "change", "digest", "ms", "error"]
    assert (first["change"], second["change"]) == ("loaded", "failed")
    assert second["error"]["code"] == "model_not_found"
    ran = cli("unload", "localhost:5000/me/a:1", "--all")
    assert rows(ran.stdout)[0][3] == "unloaded"


@pytest.mark.parametrize("command", ["rm", "load", "unload", "pull"])
def test_no_server_is_guessed(sqlite_cli: Cli, command: str) -> None:
    ran = sqlite_cli.json(command, "alpha")
    assert ran.failure == (2, "invalid_input")
    assert ran.error["message"] == "no server is named"
    assert sqlite_cli.json("cp", "alpha", "beta").error["message"] == "no server is named"


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_tables_fit_terminals_of_any_width(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn, columns: int
) -> None:
    fake = serve(ALPHA)
    assert sqlite_cli("server", "add", "one", fake.url).exit_code == 0
    assert sqlite_cli("load", "alpha", "--on", "one").exit_code == 0
    for words in (("ps",), ("unload", "alpha", "--on", "one")):
        ran = spawn(*words, terminals=["stdout"], columns=columns).ended()
        assert ran.exit_code == 0
        plain = re.sub(r"\x1b\[[\d;]*m", "", ran.stdout)
        assert max(map(len, plain.splitlines())) <= columns


@pytest.mark.parametrize(
    "command",
    [
        ["ps", "one"],
        ["show", "alpha", "--server", "one"],
        ["load", "alpha", "--on", "one"],
        ["rm", "alpha", "--on", "one", "--yes"],
        ["pull", "alpha", "--on", "one"],
        ["sync", "--from", "one", "--to", "two"],
    ],
    ids=lambda command: command[0],
)
def test_what_a_command_learns_of_a_server_is_what_the_list_says(
    cli: Cli, command: list[str]
) -> None:
    with FakeOllamaThread(FakeOllama(ALPHA)) as fake:
        port = fake.fakes[0].port
        assert cli("server", "add", "one", fake.url, "--discover").exit_code == 0
    assert cli("server", "add", "two", NOWHERE, "--no-check").exit_code == 0
    assert cli(*command).exit_code == 6
    row = cli.json("server", "show", "one").data
    assert (row["status"], row["failures"]) == ("offline", 1)
    assert "connection refused" in row["last_error"]
    with FakeOllamaThread(FakeOllama(ALPHA, port=port)):
        assert cli("ps", "one").exit_code == 0
    row = cli.json("server", "show", "one").data
    assert (row["status"], row["failures"], row["version"]) == ("online", 0, "0.33.0")
