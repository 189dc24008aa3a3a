"""`ollama-admin chat`"""

import json
from typing import Any

import pytest

from ollama_admin.simulator.http import RecordedRequest
from ollama_admin.simulator.model import SimulatedModel
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import SECONDS, Cli
from tests.cli.test_diff import discovered
from tests.fake_ollama import Answer
from tests.fake_ollama_thread import FakeOllamaThread

CHAT = "/api/chat"
TERMINAL = ("stdin", "stdout", "stderr")


def asked(fake: FakeOllamaThread) -> list[dict[str, Any]]:
    """The bodies of the questions that a server got."""

    def body(request: RecordedRequest) -> dict[str, Any]:
        assert isinstance(request.body, dict)
        return request.body

    return [body(request) for request in fake.requests() if request.path == CHAT]


def contents(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in body["messages"]]


def test_lines_of_a_pipe_are_questions_of_one_conversation(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    discovered(cli, one=fake.url)
    ran = cli("chat", "-m", "alpha", "--system", "be kind", stdin="one\n\ntwo")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "I am alpha\nI am alpha\n", "")
    first, second = asked(fake)
    assert contents(first) == [("system", "be kind"), ("user", "one")]
    assert contents(second) == [
        ("system", "be kind"),
        ("user", "one"),
        ("assistant", "I am alpha"),
        ("user", "two"),
    ]
    assert (first["truncate"], first["shift"], first["model"]) == (False, False, "alpha:latest")


def test_each_answer_is_a_line_of_json(cli: Cli, serve: Serve) -> None:
    discovered(cli, one=serve("alpha").url)
    ran = cli.json("chat", "alpha", stdin="one\ntwo\n")
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [answer["response"] for answer in answers] == ["I am alpha"] * 2
    assert all(answer["verified"] for answer in answers)


def test_a_text_of_several_lines_stands_between_triple_quotes(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    discovered(cli, one=fake.url)
    typed = '"""one\n  two\n"""\n"""three"""\n"""\nfour\n\nfive"""\n"""open\nend'
    assert cli("chat", "alpha", stdin=typed).exit_code == 0
    questions = [body["messages"][-1]["content"] for body in asked(fake)]
    assert questions == ["one\n  two", "three", "four\n\nfive", "open\nend"]


def test_model_server_and_options_change_between_questions(cli: Cli, serve: Serve) -> None:
    thinker = SimulatedModel("beta", capabilities=("completion", "thinking"))
    one, two = serve("alpha", thinker), serve(thinker)
    discovered(cli, one=one.url, two=two.url)
    typed = (
        "a\n/model beta\n/server two\n/set temperature 0.5\n/set system be kind\n/set think on\nb\n"
        "/set temperature\n/set think\n/set system\n/clear\n/server one\nc\n/bye\nd\n"
    )
    ran = cli("chat", "alpha", stdin=typed)
    assert (ran.exit_code, ran.stderr) == (0, "")
    first, last = asked(one)
    [second] = asked(two)
    assert first["model"] == "alpha:latest"
    assert (second["model"], second["options"], second["think"]) == (
        "beta:latest",
        {"temperature": 0.5},
        True,
    )
    assert contents(second)[0] == ("system", "be kind")
    assert len(second["messages"]) == 4
    assert contents(last) == [("user", "c")]
    assert not {"options", "think"} & last.keys()


def test_explain_shows_who_would_answer_and_sends_nothing(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    discovered(cli, one=fake.url)
    ran = cli("chat", "alpha", stdin="/explain\n")
    assert ran.exit_code == 0
    assert ran.stdout.splitlines()[1].split()[:2] == ["one", "yes"]
    assert asked(fake) == []


def test_what_is_set_is_shown(cli: Cli, serve: Serve) -> None:
    discovered(cli, one=serve("alpha").url)
    ran = cli("chat", "alpha", "-s", "one", "--option", "seed=1", stdin="/set\n/help\n")
    assert ran.stderr.splitlines()[:3] == ["model alpha", "server one", "seed 1"]
    assert "/bye" in ran.stderr
    assert ran.stdout == ""
    ran = cli("chat", "alpha", "-s", "one", stdin="/server\n/set\n")
    assert ran.stderr == "model alpha\n"


@pytest.mark.parametrize(
    ("typed", "failure"),
    [
        ("/model nothing\n", (3, "model_not_found")),
        ("/model\n", (2, "invalid_input")),
        ("/server nobody\n", (3, "server_not_found")),
        ("/set temperature hot\n", (2, "invalid_input")),
        ("/set think perhaps\n", (2, "invalid_input")),
        ("/nothing\n", (2, "invalid_input")),
    ],
)
def test_a_wrong_line_of_a_pipe_ends_the_command(
    sqlite_cli: Cli, serve: Serve, typed: str, failure: tuple[int, str]
) -> None:
    fake = serve("alpha")
    discovered(sqlite_cli, one=fake.url)
    assert sqlite_cli.json("chat", "alpha", stdin=f"{typed}never\n").failure == failure
    assert asked(fake) == []


def test_bytes_that_are_no_text_are_refused(sqlite_cli: Cli, serve: Serve) -> None:
    discovered(sqlite_cli, one=serve("alpha").url)
    assert sqlite_cli.json("chat", "alpha", stdin=b"\xff\n").failure == (2, "invalid_input")


def test_a_failure_is_the_exit_code_in_a_pipe(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    discovered(cli, one=fake.url)
    fake.fakes[0].script(CHAT, Answer(500, {"error": "broken"}))
    ran = cli("chat", "alpha", stdin="a\nb\n")
    assert (ran.exit_code, ran.stdout) == (6, "")
    assert len(asked(fake)) == 1
    assert cli.json("chat", "beta", stdin="a\n").failure == (3, "model_not_found")
    assert cli.json("chat", "alpha", "-m", "alpha", stdin="a").failure == (2, "invalid_input")


def test_on_a_terminal_a_failure_is_told_and_the_question_forgotten(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn
) -> None:
    fake = serve("alpha")
    discovered(sqlite_cli, one=fake.url)
    fake.fakes[0].script(CHAT, Answer(500, {"error": "broken"}))
    talk = spawn("chat", "alpha", terminals=TERMINAL, stdin=b"lost\n")
    talk.until_stderr(b"broken")
    talk.type(b"/model nothing\nkept\n")
    talk.until_stdout(b"I am alpha")
    talk.type(b"/bye\n")
    ran = talk.ended()
    assert ran.exit_code == 0
    assert "no active server has model 'nothing'" in ran.stderr
    assert [contents(body) for body in asked(fake)] == [[("user", "lost")], [("user", "kept")]]


def test_interrupting_ends_the_answer_and_not_the_program(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn
) -> None:
    fake = serve(SimulatedModel("alpha", says="on and on ", endless=True), "beta", token_delay=0.01)
    discovered(sqlite_cli, one=fake.url)
    talk = spawn("chat", "alpha", terminals=TERMINAL, stdin=b"go\n")
    talk.until_stdout(b"on and on on")
    talk.interrupt()
    talk.until_stderr(b"note: stopped")
    fake.run(fake.fakes[0].client_left.wait(), SECONDS)
    talk.type(b"/model beta\nstill there?\n")
    talk.until_stdout(b"I am alpha")
    talk.type(b"/bye\n")
    assert talk.ended().exit_code == 0
    assert contents(asked(fake)[-1]) == [("user", "still there?")]
    assert sqlite_cli.json("server", "show", "one").data["slots_in_use"] == 0


def test_interrupting_a_conversation_in_a_pipe_ends_it(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn
) -> None:
    fake = serve(SimulatedModel("alpha", says="on and on ", endless=True), token_delay=0.01)
    discovered(sqlite_cli, one=fake.url)
    talk = spawn("chat", "alpha", stdin=b"go\nand on\n")
    talk.until_stdout(b"on and on on")
    talk.interrupt()
    ran = talk.ended()
    assert ran.exit_code == 130
    assert "Traceback" not in ran.stderr
    assert len(asked(fake)) == 1


def test_the_end_of_input_leaves(sqlite_cli: Cli, serve: Serve, spawn: Spawn) -> None:
    discovered(sqlite_cli, one=serve("alpha").url)
    talk = spawn("chat", "alpha", terminals=TERMINAL, stdin=None)
    talk.until_stdout(b">>> ")
    talk.type(b"\x04")
    ran = talk.ended()
    assert ran.exit_code == 0
    assert ran.stderr == "note: /help shows what can be typed; Ctrl-D leaves\n\n"


def test_an_unknown_model_ends_a_conversation_before_it_begins(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn
) -> None:
    discovered(sqlite_cli, one=serve("alpha").url)
    ran = spawn("chat", "-m", "beta", terminals=TERMINAL).ended()
    assert ran.exit_code == 3
    assert ran.stderr.startswith("error: no active server has model 'beta'")


def test_control_sequences_of_the_model_do_not_reach_a_terminal(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn
) -> None:
    discovered(sqlite_cli, one=serve(SimulatedModel("alpha", says="\x1b]0;title\x07fine")).url)
    talk = spawn("chat", "alpha", terminals=TERMINAL, stdin=b"hi\n/bye\n")
    ran = talk.ended()
    assert "fine" in ran.stdout
    assert "\x1b]0;" not in ran.stdout
