"""`ollama-admin generate`: where the prompt comes from."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Serve, Spawn
from tests.cli.running import Cli
from tests.fake_ollama_thread import FakeOllamaThread


@pytest.fixture
def fake(serve: Serve) -> FakeOllamaThread:
    return serve("alpha")


@pytest.fixture
def words(sqlite_cli: Cli, fake: FakeOllamaThread) -> list[str]:
    return ["generate", "--server-url", fake.url, "-m", "alpha"]


def prompts(fake: FakeOllamaThread) -> list[Any]:
    return [
        request.body["prompt"] for request in fake.requests() if request.path == "/api/generate"
    ]


def test_prompt_is_what_comes_in_by_a_pipe(
    sqlite_cli: Cli, fake: FakeOllamaThread, words: list[str]
) -> None:
    assert sqlite_cli(*words, stdin="naïve 🦙\n").stdout == "I am alpha"
    assert prompts(fake) == ["naïve 🦙\n"]


def test_piped_text_follows_the_prompt_after_a_newline(
    sqlite_cli: Cli, fake: FakeOllamaThread, words: list[str]
) -> None:
    sqlite_cli(*words, "summarize:", stdin="one\ntwo\n")
    assert prompts(fake) == ["summarize:\none\ntwo\n"]


def test_empty_pipe_adds_nothing_to_a_prompt(
    sqlite_cli: Cli, fake: FakeOllamaThread, words: list[str]
) -> None:
    sqlite_cli(*words, "hi", stdin=b"")
    assert prompts(fake) == ["hi"]


def test_prompt_may_be_long(sqlite_cli: Cli, fake: FakeOllamaThread, words: list[str]) -> None:
    text = "x" * 3_000_000
    sqlite_cli(*words, stdin=text)
    assert prompts(fake) == [text]


@pytest.mark.parametrize("argument", [(), ("",)])
def test_empty_prompt_is_refused(
    sqlite_cli: Cli, fake: FakeOllamaThread, words: list[str], argument: tuple[str, ...]
) -> None:
    ran = sqlite_cli.json(*words, *argument, stdin=b"")
    assert ran.failure == (2, "invalid_input")
    assert ran.error["message"] == "the prompt is empty"
    assert fake.requests() == []


@pytest.mark.parametrize("argument", [(), ("hi",)])
def test_stdin_that_is_not_text_is_refused(
    sqlite_cli: Cli, fake: FakeOllamaThread, words: list[str], argument: tuple[str, ...]
) -> None:
    ran = sqlite_cli.json(*words, *argument, stdin=b"abc\xff\xfe")
    assert ran.failure == (2, "invalid_input")
    assert ran.error["message"] == "the prompt on stdin is not UTF-8 (byte 4)"
    assert fake.requests() == []


def test_stdin_over_the_limit_is_refused(
    sqlite_cli: Cli, fake: FakeOllamaThread, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ollama_admin.cli.prompts.PROMPT_LIMIT", 10)
    assert sqlite_cli(*words, stdin=b"x" * 10).exit_code == 0
    ran = sqlite_cli.json(*words, stdin=b"x" * 11)
    assert ran.failure == (2, "invalid_input")
    assert "is longer than" in ran.error["message"]
    assert len(prompts(fake)) == 1


def test_prompt_that_is_not_utf8_is_refused(
    sqlite_cli: Cli, fake: FakeOllamaThread, words: list[str]
) -> None:
    assert sqlite_cli.json(*words, "a\udcffb").failure == (2, "invalid_input")
    assert fake.requests() == []


def test_prompt_that_begins_with_a_dash_follows_two_dashes(
    sqlite_cli: Cli, fake: FakeOllamaThread, words: list[str]
) -> None:
    sqlite_cli(*words, "--", "-1 + 1 = ?")
    assert prompts(fake) == ["-1 + 1 = ?"]


def test_prompt_is_typed_on_a_terminal_when_there_is_no_other(
    fake: FakeOllamaThread, words: list[str], spawn: Spawn
) -> None:
    process = spawn(*words, terminals=("stdin",), stdin=None)
    process.until_stderr(b"Ctrl-D")
    process.type(b"typed by hand\n\x04")
    assert process.ended().stdout == "I am alpha"
    assert prompts(fake) == ["typed by hand\n"]


def test_end_of_input_on_a_terminal_is_an_empty_prompt(
    fake: FakeOllamaThread, words: list[str], spawn: Spawn
) -> None:
    process = spawn(*words, terminals=("stdin",), stdin=None)
    process.until_stderr(b"Ctrl-D")
    process.type(b"\x04")
    ran = process.ended()
    assert ran.exit_code == 2
    assert "error: the prompt is empty" in ran.stderr
    assert fake.requests() == []


def test_interrupt_while_typing_ends_quietly(
    fake: FakeOllamaThread, words: list[str], spawn: Spawn
) -> None:
    process = spawn(*words, terminals=("stdin",), stdin=None)
    process.until_stderr(b"Ctrl-D")
    process.interrupt()
    ran = process.ended()
    assert (ran.exit_code, ran.stdout) == (130, "")
    assert "Traceback" not in ran.stderr
    assert fake.requests() == []


def test_terminal_is_not_read_when_there_is_a_prompt(
    fake: FakeOllamaThread, words: list[str], spawn: Spawn
) -> None:
    ran = spawn(*words, "hi", terminals=("stdin",), stdin=None).ended()
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "I am alpha", "")
    assert prompts(fake) == ["hi"]


def test_pipe_that_stays_silent_is_waited_for_and_a_note_says_so(
    fake: FakeOllamaThread, words: list[str], spawn: Spawn
) -> None:
    process = spawn(*words, "hi", stdin=None)
    process.until_stderr(b"waiting for stdin to end")
    process.type(b"there")
    process.end_input()
    assert process.ended().stdout == "I am alpha"
    assert prompts(fake) == ["hi\nthere"]


@pytest.mark.parametrize(
    ("redirection", "code", "sent"),
    [
        ("hi </dev/null", 0, "hi"),
        ("hi <prompt.txt", 0, "hi\nfrom a file"),
        ("<prompt.txt", 0, "from a file"),
        ("hi <&-", 0, "hi"),
        ("</dev/null", 2, None),
        ("<&-", 2, None),
    ],
)
def test_stdin_may_be_anything_that_a_shell_makes_of_it(
    fake: FakeOllamaThread,
    words: list[str],
    tmp_path: Path,
    redirection: str,
    code: int,
    sent: str | None,
) -> None:
    (tmp_path / "prompt.txt").write_text("from a file")
    command = [sys.executable, "-m", "ollama_admin", *words]
    done = subprocess.run(["sh", "-c", f'"$@" {redirection}', "sh", *command], capture_output=True)
    assert done.returncode == code, done
    assert b"Traceback" not in done.stderr
    assert prompts(fake) == ([] if sent is None else [sent])


# a loop whose input is ours, too


def in_shell(folder: Path, script: str, words: list[str]) -> Any:
    """Run a script in which `"$@"` is the command, beside a file of three lines."""
    (folder / "lines.txt").write_text("one\ntwo\nthree\n")
    command = [sys.executable, "-m", "ollama_admin", *words]
    return subprocess.run(
        ["sh", "-c", script, "sh", *command], capture_output=True, text=True, cwd=folder
    )


def test_a_loop_over_a_file_keeps_its_lines(
    fake: FakeOllamaThread, words: list[str], tmp_path: Path
) -> None:
    script = 'while read -r line; do "$@" "$line"; done < lines.txt'
    done = in_shell(tmp_path, script, words)
    assert done.returncode == 0, done
    assert prompts(fake) == ["one", "two", "three"]
    assert done.stderr.startswith("note: stdin is a file that another program reads")


def test_a_loop_behind_a_pipe_keeps_its_lines_with_no_stdin(
    fake: FakeOllamaThread, words: list[str], tmp_path: Path
) -> None:
    script = 'cat lines.txt | while read -r line; do "$@" --no-stdin "$line"; done'
    done = in_shell(tmp_path, script, words)
    assert (done.returncode, done.stderr) == (0, "")
    assert prompts(fake) == ["one", "two", "three"]


@pytest.mark.parametrize(("option", "noted"), [("", True), ("--stdin", False)])
def test_a_pipe_that_the_script_reads_too_is_noted_unless_it_is_meant(
    fake: FakeOllamaThread, words: list[str], tmp_path: Path, option: str, noted: bool
) -> None:
    script = f'cat lines.txt | while read -r line; do "$@" {option} "$line"; done'
    done = in_shell(tmp_path, script, words)
    assert prompts(fake) == ["one\ntwo\nthree\n"]
    assert ("became a part of the prompt" in done.stderr) is noted


def test_the_rest_of_a_file_is_read_where_that_is_said(
    fake: FakeOllamaThread, words: list[str], tmp_path: Path
) -> None:
    in_shell(tmp_path, '{ read -r line; "$@" --stdin "$line"; } < lines.txt', words)
    assert prompts(fake) == ["one\ntwo\nthree\n"]


def test_no_stdin_without_a_prompt_is_refused(
    sqlite_cli: Cli, fake: FakeOllamaThread, words: list[str]
) -> None:
    ran = sqlite_cli.json(*words, "--no-stdin", stdin="text")
    assert ran.failure == (2, "invalid_input")
    assert fake.requests() == []


# the model as the first word


@pytest.fixture
def fleet(cli: Cli, serve: Serve) -> FakeOllamaThread:
    """A default server with two models, of which alpha is the default."""
    fake = serve("alpha", "phi4:14b")
    added = cli("server", "add", "one", fake.url, "--default", "--default-model", "alpha")
    assert (added.exit_code, cli("discover").exit_code) == (0, 0)
    return fake


def asked(fake: FakeOllamaThread) -> list[tuple[str, str]]:
    return [
        (request.body["model"].removesuffix(":latest"), request.body["prompt"])
        for request in fake.requests()
        if request.path == "/api/generate"
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("phi4:14b", "why", "is it blue?"), ("phi4:14b", "why is it blue?")),
        (("PHI4:14B", "why"), ("phi4:14b", "why")),
        (("phi*", "why"), ("alpha", "phi* why")),
        (("why is it blue?",), ("alpha", "why is it blue?")),
        (("why", "phi4:14b"), ("alpha", "why phi4:14b")),
        (("-m", "alpha", "phi4:14b", "is", "small"), ("alpha", "phi4:14b is small")),
        (("-m", "alpha", "phi4:14b"), ("alpha", "phi4:14b")),
        (("-s", "one", "phi4:14b", "why"), ("phi4:14b", "why")),
        (("x" * 5000,), ("alpha", "x" * 5000)),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_first_word_is_the_model_where_it_is_one_and_none_is_named(
    cli: Cli, fleet: FakeOllamaThread, words: tuple[str, ...], expected: tuple[str, str]
) -> None:
    assert cli("generate", *words).exit_code == 0
    assert asked(fleet) == [expected]


def test_name_of_a_model_alone_is_not_sent_as_a_prompt(cli: Cli, fleet: FakeOllamaThread) -> None:
    for stdin in (b"", b"a text"):
        ran = cli("generate", "phi4:14b", stdin=stdin)
        assert (ran.exit_code, ran.stdout) == (2, "")
        error, hint = ran.stderr.splitlines()
        assert error == "error: 'phi4:14b' is a model, but no prompt is given"
        assert hint.startswith("hint: ollama-admin generate phi4:14b PROMPT")
    assert asked(fleet) == []


@pytest.mark.parametrize(("typed", "code"), [(b"y\n", 0), (b"n\n", 2), (b"\n", 2), (b"\x04", 2)])
def test_person_is_asked_whether_the_name_of_a_model_is_a_prompt(
    cli: Cli, fleet: FakeOllamaThread, spawn: Spawn, typed: bytes, code: int
) -> None:
    process = spawn("generate", "phi4:14b", terminals=("stdin",), stdin=None)
    process.until_stderr(b"[y/N]")
    process.type(typed)
    assert process.ended().exit_code == code
    assert asked(fleet) == [("alpha", "phi4:14b")][: code == 0]


def test_explanation_reads_the_words_as_an_answer_does(cli: Cli, fleet: FakeOllamaThread) -> None:
    chosen = cli.json("generate", "--explain", "phi4:14b", "why").data["chosen"]
    assert chosen == cli.json("generate", "--explain", "-m", "phi4:14b").data["chosen"]
    assert asked(fleet) == []


def test_a_mistyped_model_is_not_sent_to_the_default_model(
    cli: Cli, fleet: FakeOllamaThread
) -> None:
    ran = cli.json("generate", "phi4:14", "why")
    assert ran.failure == (3, "model_not_found")
    assert ran.error["hint"].startswith("nearest: phi4:14b")
    ran = cli.json("generate", "phi4", "why")
    assert ran.failure == (3, "model_not_found")
    assert ran.error["hint"].startswith("nearest: phi4:14b; if it begins a prompt")
    assert cli("generate", "phi4 why").exit_code == 0
    assert asked(fleet) == [("alpha", "phi4 why")]
    assert cli("generate", "12:30 is", "when?").exit_code == 0
    assert cli("generate", "phi4:14 why").exit_code == 0
    assert asked(fleet)[1:] == [("alpha", "12:30 is when?"), ("alpha", "phi4:14 why")]
