"""A server that takes its time: a terminal says for which and how long, and `-v` tells each
request.
"""

import re

import pytest

from ollama_admin.simulator.model import SimulatedModel
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import Cli
from tests.fake_ollama import Silence

GENERATE = ("generate", "-m", "alpha", "hi")


@pytest.fixture
def words(cli: Cli, serve: Serve) -> tuple[tuple[str, ...], Silence]:
    """A command whose server is silent until the test ends it."""
    fake = serve("alpha")
    assert cli("server", "add", "gpu", fake.url, "--discover").exit_code == 0
    silence = Silence()
    fake.fakes[0].script_always("/api/generate", silence)
    return GENERATE, silence


def test_a_terminal_is_told_what_is_waited_for_and_the_line_is_erased(
    words: tuple[tuple[str, ...], Silence], spawn: Spawn
) -> None:
    process = spawn(*words[0], terminals=("stderr",))
    process.until_stderr(b"waiting for gpu: ")
    process.interrupt()
    ran = process.ended()
    assert ran.exit_code == 130
    assert ran.stderr.endswith("\r\x1b[K")


@pytest.mark.parametrize("options", [("-q",), ()], ids=["quiet", "pipe"])
def test_nothing_is_said_in_a_pipe_and_with_q(
    words: tuple[tuple[str, ...], Silence], spawn: Spawn, options: tuple[str, ...]
) -> None:
    terminals = ("stderr",) if options else ()
    ran = spawn(*options, *words[0], "--timeout", "3", terminals=terminals).ended()
    assert ran.exit_code == 6
    assert "waiting" not in ran.stderr


def test_v_tells_who_was_judged_how_and_each_request_without_a_query(
    cli: Cli, serve: Serve
) -> None:
    gpu, other = serve("alpha"), serve(SimulatedModel("alpha", build="other"))
    for name, fake in (("gpu", gpu), ("other", other)):
        assert cli("server", "add", name, fake.url, "--discover").exit_code == 0
    ran = cli("-v", *GENERATE)
    assert (ran.exit_code, ran.stdout) == (0, "I am alpha")
    details = [line for line in ran.stderr.splitlines() if line.startswith("detail: ")]
    assert details[0].startswith("detail: server other is not asked: its build is ")
    assert re.fullmatch(r"detail: choice 1: server gpu, build [0-9a-f]{12}", details[1])
    assert re.fullmatch(rf"detail: POST {gpu.url}/api/generate: 200, \d+ ms", details[2])
    assert re.fullmatch(rf"detail: GET {gpu.url}/api/tags: 200, \d+ ms", details[3])
    assert (
        cli(*GENERATE).stderr
        == "\n".join(line for line in ran.stderr.splitlines() if line not in details) + "\n"
    )


def test_v_tells_of_an_answer_that_did_not_come(sqlite_cli: Cli) -> None:
    sqlite_cli("server", "add", "gone", "http://127.0.0.1:9", "--no-check")
    ran = sqlite_cli("-v", "server", "check", "gone")
    assert ran.exit_code == 6
    assert re.search(r"detail: GET http://127.0.0.1:9/api/version: no answer, \d+ ms", ran.stderr)
