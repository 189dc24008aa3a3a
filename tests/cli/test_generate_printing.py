"""`ollama-admin generate`: what is printed, and when."""

import json
from collections.abc import Callable

import pytest

from ollama_admin.safe_text import safe_json
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import HoldAt, RunnerKilledError
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import SECONDS, Cli, Ran
from tests.fake_ollama_thread import FakeOllamaThread

REPLY_KEYS = [
    *(
        "response",
        "thinking",
        "model",
        "server",
        "digest",
        "verified",
        "proof",
        "drift",
        "truncated",
        "done_reason",
    ),
    *("stats", "attempts"),
]
STATS_KEYS = [
    *(
        "total_ms",
        "load_ms",
        "prompt_tokens",
        "output_tokens",
        "tokens_per_second",
        "time_to_first_token_ms",
    ),
]
HOSTILE = "ok \x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b31m a\x00b \u202eevil na\u00efve \U0001f999 \x1b]8;;http://x\x1b\\link\ttab\nend"
CLEAN = "ok red   ab evil na\u00efve \U0001f999 link\ttab\nend"
THINKER = SimulatedModel("alpha", capabilities=("completion", "thinking"), thinking="let me think")

Generate = Callable[..., Ran]


@pytest.fixture
def words(sqlite_cli: Cli) -> Callable[[FakeOllamaThread], list[str]]:
    """The command that asks a server that no row has."""
    return lambda fake, *more: ["generate", "--server-url", fake.url, "-m", "alpha", "hi", *more]


Words = Callable[..., list[str]]


# a pipe


@pytest.mark.parametrize("tail", ["", "/v1"])
def test_text_reaches_a_pipe_byte_for_byte(sqlite_cli: Cli, serve: Serve, tail: str) -> None:
    fake = serve(SimulatedModel("alpha", says=HOSTILE))
    ran = sqlite_cli("generate", "--server-url", fake.url + tail, "-m", "alpha", "hi")
    assert (ran.exit_code, ran.stdout_bytes, ran.stderr) == (0, HOSTILE.encode(), "")


def test_text_is_shown_while_the_model_still_speaks(
    words: Words, serve: Serve, spawn: Spawn
) -> None:
    hold = HoldAt(2)
    fake = serve(SimulatedModel("alpha", says="one two three"), before_token=hold)
    process = spawn(*words(fake))
    process.until_stdout(b"one two")
    fake.run(hold.reached.wait(), SECONDS)
    assert process.stdout_so_far == b"one two"
    fake.call(hold.release.set)
    assert process.ended().stdout == "one two three"


def test_no_stream_shows_nothing_before_the_answer_is_accepted(
    words: Words, serve: Serve, spawn: Spawn
) -> None:
    hold = HoldAt(2)
    fake = serve(SimulatedModel("alpha", says="one two three"), before_token=hold)
    process = spawn(*words(fake, "--no-stream"))
    fake.run(hold.reached.wait(), SECONDS)
    assert process.stdout_so_far == b""
    fake.call(hold.release.set)
    assert process.ended().stdout == "one two three"


def dies_at_token(number: int) -> Callable[[int], object]:
    async def before_token(index: int) -> None:
        if index == number:
            raise RunnerKilledError

    return before_token


def test_broken_answer_keeps_the_text_so_far_and_fails(
    sqlite_cli: Cli, words: Words, serve: Serve
) -> None:
    fake = serve(SimulatedModel("alpha", says="one two three"), before_token=dies_at_token(2))
    ran = sqlite_cli(*words(fake))
    assert (ran.exit_code, ran.stdout) == (6, "one two")
    error, hint = ran.stderr.splitlines()
    assert error.startswith("error: server http://127.0.0.1")
    assert error.endswith("an error was encountered while running the model: unexpected EOF")
    assert hint == "hint: what was shown is incomplete"


@pytest.mark.parametrize(
    "options", [("--no-stream",), ("-o", "json"), ("-o", "json", "--no-stream")]
)
def test_broken_answer_shows_nothing_where_only_accepted_text_is_shown(
    sqlite_cli: Cli, words: Words, serve: Serve, options: tuple[str, ...]
) -> None:
    fake = serve(SimulatedModel("alpha", says="one two three"), before_token=dies_at_token(2))
    ran = sqlite_cli(*words(fake, *options))
    assert (ran.exit_code, ran.stdout) == (6, "")


def test_answer_without_its_end_mark_fails(sqlite_cli: Cli, words: Words, serve: Serve) -> None:
    fake = serve(SimulatedModel("alpha", says="again", endless=True))
    ran = sqlite_cli.json(*words(fake))
    assert ran.failure == (6, "stream_interrupted")
    assert "without its end mark" in ran.error["message"]


# JSON


def test_document_tells_all_about_the_answer(sqlite_cli: Cli, words: Words, serve: Serve) -> None:
    fake = serve(THINKER)
    reply = sqlite_cli.json(*words(fake, "--think")).data
    assert list(reply) == REPLY_KEYS
    stats = reply.pop("stats")
    assert list(stats) == STATS_KEYS
    assert all(isinstance(stats[key], int) for key in STATS_KEYS if key != "tokens_per_second")
    assert reply == {
        "response": "I am alpha",
        "thinking": "let me think",
        "model": "alpha:latest",
        "server": {"id": None, "name": None, "url": fake.url},
        "digest": THINKER.digest,
        "verified": True,
        "proof": "digest",
        "drift": None,
        "truncated": False,
        "done_reason": "stop",
        "attempts": [],
    }


def test_stream_of_json_is_a_record_for_each_piece_and_then_the_document(
    sqlite_cli: Cli, words: Words, serve: Serve
) -> None:
    fake = serve(THINKER)
    ran = sqlite_cli.json(*words(fake, "--think", "--stream"))
    *pieces, document = [json.loads(line) for line in ran.stdout.splitlines()]
    assert pieces == [
        *({"thinking": word} for word in ("let", " me", " think")),
        *({"response": word} for word in ("I", " am", " alpha")),
    ]
    assert list(document) == REPLY_KEYS
    assert (document["response"], document["thinking"]) == ("I am alpha", "let me think")


def test_records_come_while_the_model_still_speaks(
    words: Words, serve: Serve, spawn: Spawn
) -> None:
    hold = HoldAt(1)
    fake = serve(SimulatedModel("alpha", says="one two"), before_token=hold)
    process = spawn("-o", "json", *words(fake, "--stream"))
    process.until_stdout(b'{"response": "one"}\n')
    fake.call(hold.release.set)
    assert process.ended().exit_code == 0


def test_hostile_text_is_escaped_in_json(sqlite_cli: Cli, words: Words, serve: Serve) -> None:
    fake = serve(SimulatedModel("alpha", says=HOSTILE))
    ran = sqlite_cli.json(*words(fake))
    assert ran.data["response"] == HOSTILE
    assert safe_json(ran.stdout) == ran.stdout
    assert "\x1b" not in ran.stdout


# --stats


def test_stats_are_told_on_stderr(sqlite_cli: Cli, words: Words, serve: Serve) -> None:
    fake = serve("alpha")
    ran = sqlite_cli(*words(fake, "--stats"))
    assert ran.stdout == "I am alpha"
    assert ran.stderr.startswith(f"note: server {fake.url}, model alpha:latest, total ")
    for part in (
        "first token",
        "load",
        "prompt 1 tokens",
        "output 4 tokens",
        "tokens/s",
        "ended by stop",
    ):
        assert part in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_stats_are_in_the_document_anyway(sqlite_cli: Cli, words: Words, serve: Serve) -> None:
    ran = sqlite_cli.json(*words(serve("alpha"), "--stats"))
    assert list(ran.data["stats"]) == STATS_KEYS
    assert ran.stderr == ""


# a terminal


def test_control_sequences_do_not_reach_a_terminal(
    words: Words, serve: Serve, spawn: Spawn
) -> None:
    fake = serve(SimulatedModel("alpha", says=HOSTILE))
    ran = spawn(*words(fake), terminals=("stdout",)).ended()
    assert (ran.exit_code, ran.stdout) == (0, f"{CLEAN}\n")


def test_raw_lets_control_sequences_through(words: Words, serve: Serve, spawn: Spawn) -> None:
    fake = serve(SimulatedModel("alpha", says=HOSTILE))
    ran = spawn(*words(fake, "--raw"), terminals=("stdout",)).ended()
    assert ran.stdout == f"{HOSTILE}\n"


def test_sequence_that_is_split_over_pieces_is_filtered_too(
    words: Words, serve: Serve, spawn: Spawn
) -> None:
    fake = serve(SimulatedModel("alpha", says="a\x1b]0; title over pieces\x07b \x1b[3 1mc"))
    ran = spawn(*words(fake), terminals=("stdout",)).ended()
    assert ran.stdout == "ab c\n"


def test_answer_that_ends_its_line_gets_no_other_line_end(
    words: Words, serve: Serve, spawn: Spawn
) -> None:
    fake = serve(SimulatedModel("alpha", says="one\n"))
    assert spawn(*words(fake), terminals=("stdout",)).ended().stdout == "one\n"


def test_json_on_a_terminal_is_the_document_alone(words: Words, serve: Serve, spawn: Spawn) -> None:
    ran = spawn("-o", "json", *words(serve("alpha")), terminals=("stdout", "stderr")).ended()
    assert ran.data["response"] == "I am alpha"
    assert ran.stderr == ""


@pytest.mark.parametrize("options", [(), ("--no-stream",)])
def test_thinking_is_shown_dimmed_on_stderr(
    words: Words, serve: Serve, spawn: Spawn, options: tuple[str, ...]
) -> None:
    ran = spawn(*words(serve(THINKER), "--think", *options), terminals=("stderr",)).ended()
    assert (ran.stdout, ran.stderr) == ("I am alpha", "\x1b[2mlet me think\x1b[0m\n")


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_thinking_has_no_colour_where_none_is_wanted(
    words: Words, serve: Serve, spawn: Spawn, environ: dict[str, str]
) -> None:
    ran = spawn(*words(serve(THINKER), "--think"), terminals=("stderr",), environ=environ).ended()
    assert ran.stderr == "let me think\n"


def test_thinking_is_filtered_on_a_terminal(words: Words, serve: Serve, spawn: Spawn) -> None:
    model = SimulatedModel(
        "alpha", capabilities=("completion", "thinking"), thinking="a\x1b[31mb\x1b]0; x\x07c"
    )
    ran = spawn(*words(serve(model), "--think"), terminals=("stderr",)).ended()
    assert ran.stderr == "\x1b[2mabc\x1b[0m\n"


def test_thinking_is_not_shown_in_a_pipe(sqlite_cli: Cli, words: Words, serve: Serve) -> None:
    ran = sqlite_cli(*words(serve(THINKER), "--think"))
    assert (ran.stdout, ran.stderr) == ("I am alpha", "")


def test_colour_is_taken_back_when_the_model_dies_while_thinking(
    words: Words, serve: Serve, spawn: Spawn
) -> None:
    fake = serve(THINKER, before_token=dies_at_token(2))
    ran = spawn(*words(fake, "--think"), terminals=("stdout", "stderr")).ended()
    assert (ran.exit_code, ran.stdout) == (6, "")
    assert ran.stderr.startswith("\x1b[2mlet me\x1b[0m\nerror: ")
