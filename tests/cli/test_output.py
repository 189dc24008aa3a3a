"""What every command shares: where it prints, for whom, and how it is asked to."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

import ollama_admin
from ollama_admin.simulator.model import SimulatedModel
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import SECONDS, Cli, Ran, commands

LONG = "a-server-with-a-name-that-is-longer-than-any-narrow-terminal"
FOREIGN = "Сервер 🦙 naïve"


def add(cli: Cli, name: str, url: str) -> None:
    assert cli("server", "add", name, url, "--no-check").exit_code == 0


def in_a_shell(line: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line in which `$RUN` is the program."""
    run = f"{sys.executable} -m ollama_admin"
    return subprocess.run(
        ["sh", "-c", line], capture_output=True, env=os.environ | environ | {"RUN": run}
    )


# help and version


@pytest.mark.parametrize("words", [(), ("server",), *commands()], ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_of_every_command_is_plain_text_on_stdout(words: tuple[str, ...], option: str) -> None:
    ran = Cli()(*words, option)
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"Usage: {' '.join(['ollama-admin', *words])} ")
    assert "\x1b" not in ran.stdout
    assert all(len(line) <= 80 for line in ran.stdout.splitlines())


@pytest.mark.parametrize("words", sorted(commands().keys() - {("demo",)}), ids=" ".join)
def test_every_command_takes_output(words: tuple[str, ...]) -> None:
    # all but the demo, which is a story and no document
    assert "-o, --output" in Cli()(*words, "--help").stdout


def test_version_is_told(spawn: Spawn) -> None:
    ran = spawn("--version").ended()
    assert (ran.exit_code, ran.stdout, ran.stderr) == (
        0,
        f"ollama-admin {ollama_admin.__version__}\n",
        "",
    )


# -o


@pytest.mark.parametrize(
    "words",
    [
        ("-o", "json", "server", "list"),
        ("-ojson", "server", "list"),
        ("--output", "json", "server", "list"),
        ("--output=json", "server", "list"),
        ("server", "list", "-o", "json"),
        ("server", "list", "--output=json"),
        ("-o", "table", "server", "list", "-o", "json"),
    ],
)
def test_json_is_asked_for_before_or_after_the_command(
    sqlite_cli: Cli, words: tuple[str, ...]
) -> None:
    assert sqlite_cli(*words).data == []


@pytest.mark.parametrize(
    "words",
    [
        ("server", "list"),
        ("-o", "table", "server", "list"),
        ("-o", "json", "server", "list", "-o", "table"),
    ],
)
def test_table_is_what_is_printed_otherwise(sqlite_cli: Cli, words: tuple[str, ...]) -> None:
    add(sqlite_cli, "one", "gpu")
    assert sqlite_cli(*words).stdout.split()[0] == "ID"


def test_json_has_text_as_it_is_where_stdout_can_show_it(sqlite_cli: Cli, spawn: Spawn) -> None:
    add(sqlite_cli, FOREIGN, "gpu")
    ran = sqlite_cli.json("server", "list")
    assert f'"name": "{FOREIGN}"' in ran.stdout
    assert FOREIGN in sqlite_cli.json("server", "show", f"{FOREIGN}2").stderr
    for environ in (ENVIRONMENTS["ascii"], ENVIRONMENTS["latin-1"]):
        ran = spawn("-o", "json", "server", "list", environ=environ).ended()
        assert ran.stdout_bytes.isascii()
        assert ran.data[0]["name"] == FOREIGN


def test_quiet_run_prints_no_notes_and_every_error(sqlite_cli: Cli) -> None:
    words = ("server", "add", "one", "http://127.0.0.1:9")
    assert sqlite_cli("-q", *words).stderr == ""
    assert sqlite_cli("--quiet", *words).stderr.startswith("error: ")


# tables


def test_table_in_a_pipe_has_no_box_no_colour_and_cuts_nothing(sqlite_cli: Cli) -> None:
    add(sqlite_cli, LONG, f"http://{LONG}.example/prefix")
    heading, row = sqlite_cli("server", "list").stdout.splitlines()
    assert re.split(r" {2,}", row)[:3] == ["1", LONG, f"http://{LONG}.example/prefix"]
    assert re.split(r" {2,}", heading)[:3] == ["ID", "NAME", "URL"]


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_table_on_a_terminal_is_no_wider_than_it_needs(
    sqlite_cli: Cli, spawn: Spawn, columns: int
) -> None:
    add(sqlite_cli, LONG, f"http://{LONG}.example/prefix")
    ran = spawn("server", "list", terminals=("stdout", "stderr"), columns=columns).ended()
    assert (ran.exit_code, ran.stderr) == (0, "")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout).splitlines()
    assert all(cell_len(line) <= max(columns, 40) for line in lines)
    assert ("MODELS" in lines[0]) == (columns >= 80)
    assert (LONG in lines[1]) == (columns == 200)


def test_colour_is_for_terminals_that_want_it(sqlite_cli: Cli, spawn: Spawn) -> None:
    add(sqlite_cli, "one", "gpu")
    words, both = ("server", "list"), ("stdout", "stderr")
    environ = {"TERM": "xterm-256color"}
    assert "\x1b[1m" in spawn(*words, terminals=both, environ=environ).ended().stdout
    assert (
        "\x1b[3"
        not in spawn(*words, terminals=both, environ=environ | {"NO_COLOR": "1"}).ended().stdout
    )
    assert "\x1b" not in spawn(*words, terminals=both, environ={"TERM": "dumb"}).ended().stdout
    assert "\x1b" not in spawn(*words, environ=environ).ended().stdout


ENVIRONMENTS = {
    "C locale": {"LANG": "C", "LC_ALL": "C"},
    "C locale without UTF-8 mode": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "ascii, strict": {"PYTHONIOENCODING": "ascii:strict"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "dumb": {"TERM": "dumb"},
    "no TERM": {"TERM": None},
    "narrow": {"COLUMNS": "20"},
    "senseless width": {"COLUMNS": "-1", "LINES": "x"},
    "forced colour": {"FORCE_COLOR": "1"},
}


ON_A_TERMINAL = [
    pytest.param(environ, ("stdout", "stderr"), id=name) for name, environ in ENVIRONMENTS.items()
]
IN_A_PIPE = [
    pytest.param(ENVIRONMENTS[name], (), id=f"{name}, pipe")
    for name in ("C locale", "ascii", "no TERM")
]


@pytest.mark.parametrize(("environ", "terminals"), [*ON_A_TERMINAL, *IN_A_PIPE])
def test_names_of_any_script_are_shown_in_any_environment(
    sqlite_cli: Cli, spawn: Spawn, environ: dict[str, str | None], terminals: tuple[str, ...]
) -> None:
    add(sqlite_cli, FOREIGN, "gpu")
    ran = spawn("server", "list", terminals=terminals, environ=environ).ended()
    assert ran.exit_code == 0, ran
    assert b"Traceback" not in ran.stderr_bytes
    narrow = terminals and environ.get("COLUMNS") == "20"
    assert (b"htt" if narrow else b"http://gpu:11434") in ran.stdout_bytes


def test_names_of_any_script_are_found_in_the_c_locale(sqlite_cli: Cli, spawn: Spawn) -> None:
    add(sqlite_cli, FOREIGN, "gpu")
    ran = spawn(
        "-o", "json", "server", "show", FOREIGN, environ={"LANG": "C", "LC_ALL": "C"}
    ).ended()
    assert ran.data["name"] == FOREIGN


@pytest.mark.parametrize(
    "environ", [ENVIRONMENTS["C locale"], ENVIRONMENTS["ascii"]], ids=["C locale", "ascii"]
)
def test_model_text_reaches_a_pipe_byte_for_byte_in_any_locale(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn, environ: dict[str, str | None]
) -> None:
    fake = serve(SimulatedModel("alpha", says=FOREIGN))
    words = ("generate", "--server-url", fake.url, "-m", "alpha")
    ran = spawn(*words, stdin=FOREIGN.encode(), environ=environ).ended()
    assert (ran.exit_code, ran.stdout_bytes, ran.stderr) == (0, FOREIGN.encode(), "")
    assert [
        request.body["prompt"] for request in fake.requests() if request.path == "/api/generate"
    ] == [FOREIGN]


@pytest.mark.parametrize(
    "environ",
    [ENVIRONMENTS["C locale without UTF-8 mode"], ENVIRONMENTS["ascii"]],
    ids=["C", "ascii"],
)
def test_model_text_is_escaped_on_a_terminal_that_cannot_show_it(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn, environ: dict[str, str | None]
) -> None:
    fake = serve(SimulatedModel("alpha", says="na\u00efve"))
    words = ("generate", "--server-url", fake.url, "-m", "alpha", "hi")
    ran = spawn(*words, terminals=("stdout",), environ=environ).ended()
    assert (ran.exit_code, ran.stdout) == (0, "na\\xefve\n")


# a stdout that takes nothing


@pytest.mark.parametrize(
    "words", ["server list", "-o json server list", "models", "--version", "--help", "server -h"]
)
def test_closed_pipe_ends_quietly_with_141(sqlite_cli: Cli, spawn: Spawn, words: str) -> None:
    add(sqlite_cli, "one", "gpu")
    mine, theirs = os.pipe()
    os.close(mine)
    ran = spawn(*words.split(), stdout=theirs).ended()
    os.close(theirs)
    expected = 0 if words == "models" else 141  # which has nothing to print
    assert (ran.exit_code, "Traceback" in ran.stderr) == (expected, False)
    assert "Broken" not in ran.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [("nope", 2), ("server list --no", 2), ("-o json server show no", 3), ("server show no", 3)],
)
def test_an_error_that_nobody_reads_has_its_exit_code(
    sqlite_cli: Cli, spawn: Spawn, words: str, code: int
) -> None:
    add(sqlite_cli, "one", "gpu")
    mine, theirs = os.pipe()
    os.close(mine)
    ran = spawn(*words.split(), stdout=theirs, stderr=theirs).ended()
    os.close(theirs)
    assert ran.exit_code == code


@pytest.mark.parametrize("words", ["server list", "-o json server list", "--version", "--help"])
def test_full_disk_is_one_line_and_a_failure(sqlite_cli: Cli, spawn: Spawn, words: str) -> None:
    add(sqlite_cli, "one", "gpu")
    with Path("/dev/full").open("wb") as full:
        ran = spawn(*words.split(), stdout=full.fileno()).ended()
    assert ran.exit_code == 1
    [line] = ran.stderr.splitlines()
    assert "No space left on device" in line


def test_full_disk_under_an_answer_cancels_it(sqlite_cli: Cli, serve: Serve, spawn: Spawn) -> None:
    fake = serve(
        SimulatedModel("alpha", says="one two", endless=True, context_length=100_000),
        token_delay=0.02,
    )
    with Path("/dev/full").open("wb") as full:
        ran = spawn(
            "generate", "--server-url", fake.url, "-m", "alpha", "hi", stdout=full.fileno()
        ).ended()
    assert ran.exit_code == 1
    [line] = ran.stderr.splitlines()
    assert "No space left on device" in line
    fake.run(fake.fakes[0].client_left.wait(), SECONDS)


def test_head_takes_one_line_of_a_long_list(sqlite_cli: Cli, tmp_path: Path) -> None:
    for number in range(3):
        add(sqlite_cli, f"server {number}", f"gpu-{number}")
    done = in_a_shell("$RUN server list | head -1")
    assert done.stdout.split()[0] == b"ID"
    assert done.stderr == b""


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&-", "2>/dev/full"])
def test_closed_streams_are_no_crash(sqlite_cli: Cli, redirection: str) -> None:
    add(sqlite_cli, "one", "gpu")
    done = in_a_shell(f"$RUN server list {redirection}")
    assert b"Traceback" not in done.stderr
    assert (done.returncode == 0) == (">&-" not in redirection.replace("2>&-", ""))


# notes and data apart


def test_notes_never_reach_stdout(sqlite_cli: Cli) -> None:
    ran = sqlite_cli("server", "add", "one", "http://127.0.0.1:9")
    assert "note:" in ran.stderr
    assert "note:" not in ran.stdout
    ran = sqlite_cli.json("server", "update", "one", "--priority", "1", "--check")
    assert "note:" in ran.stderr
    assert json.loads(ran.stdout)["priority"] == 1


def test_password_in_the_database_url_draws_a_warning_that_does_not_repeat_it(
    migrated_postgres_url: str,
) -> None:
    ran = Cli()("--database-url", migrated_postgres_url, "server", "list")
    assert ran.exit_code == 0
    first, *_ = ran.stderr.splitlines()
    assert first == (
        "note: the password in --database-url shows in process lists; use OLLAMA_ADMIN_DATABASE_URL"
    )
    password = re.search(r":([^:@]+)@", migrated_postgres_url)[1]
    assert password not in ran.stderr


def test_database_option_wins_over_the_environment(sqlite_cli: Cli, tmp_path: Path) -> None:
    add(sqlite_cli, "one", "gpu")
    other = ("--database-url", f"sqlite:///{tmp_path / 'other.db'}")
    assert sqlite_cli.json(*other, "server", "list").data == []
    assert len(sqlite_cli.json("server", "list").data) == 1


def verbose(ran: Ran) -> list[str]:
    return [line for line in ran.stderr.splitlines() if line.startswith("detail: ")]


def test_verbose_names_the_causes_of_an_error(sqlite_cli: Cli) -> None:
    words = ("generate", "--server-url", "http://127.0.0.1:9", "-m", "alpha", "hi")
    assert verbose(sqlite_cli(*words)) == []
    assert any("ConnectError" in line for line in verbose(sqlite_cli("-v", *words)))
    assert any("ConnectError" in line for line in verbose(sqlite_cli("--verbose", *words)))
