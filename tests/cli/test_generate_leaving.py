"""`ollama-admin generate`: when the person, the supervisor or the reader leaves before the end."""

import fcntl
import os
import struct
import termios
from collections.abc import Callable

import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import HoldAt
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import SECONDS, Cli, Process
from tests.fake_ollama_thread import FakeOllamaThread

TALKER = SimulatedModel("alpha", says="one two", endless=True, context_length=100_000)
PACE = 0.02  # seconds between two tokens
SOON = 50  # tokens, which is a second

FULL = 15 * 4096  # bytes in a pipe of sixteen pages, the last of which is in use

LEAVE: list[tuple[Callable[[Process], None], int]] = [
    (Process.interrupt, 130),
    (Process.terminate, 143),
    (Process.hang_up, 143),
]
in_both_ways = pytest.mark.parametrize(
    ("leave", "code"), LEAVE, ids=["interrupt", "terminate", "hang_up"]
)


def words(fake: FakeOllamaThread, *more: str) -> list[str]:
    return ["generate", "--server-url", fake.url, "-m", "alpha", "hi", *more]


class Pace:
    """Counts the tokens that the server has said."""

    def __init__(self) -> None:
        self.said = 0

    async def __call__(self, index: int) -> None:
        self.said = index


@in_both_ways
@pytest.mark.parametrize("options", [(), ("--no-stream",)])
def test_leaving_in_mid_answer_cancels_it_upstream(
    sqlite_cli: Cli,
    serve: Serve,
    spawn: Spawn,
    leave: Callable[[Process], None],
    code: int,
    options: tuple[str, ...],
) -> None:
    hold = HoldAt(3)
    fake = serve(SimulatedModel("alpha", says="one two three four"), before_token=hold)
    process = spawn(*words(fake, *options))
    fake.run(hold.reached.wait(), SECONDS)
    if not options:
        process.until_stdout(b"one two three")
    leave(process)
    ran = process.ended()
    assert ran.exit_code == code
    assert ran.stdout == ("" if options else "one two three")
    assert ran.stderr == ""
    fake.run(fake.fakes[0].client_left.wait(), SECONDS)


@in_both_ways
def test_leaving_before_the_first_byte_cancels_it_upstream(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn, leave: Callable[[Process], None], code: int
) -> None:
    hold = HoldAt(0)
    fake = serve("alpha", before_token=hold)
    process = spawn("-o", "json", *words(fake))
    fake.run(hold.reached.wait(), SECONDS)
    leave(process)
    ran = process.ended()
    assert (ran.exit_code, ran.stdout, ran.stderr) == (code, "", "")
    fake.run(fake.fakes[0].client_left.wait(), SECONDS)


@in_both_ways
@pytest.mark.parametrize("token", [0, 2], ids=["before the first byte", "in mid-answer"])
def test_leaving_gives_the_place_at_the_server_back(
    cli: Cli, serve: Serve, spawn: Spawn, leave: Callable[[Process], None], code: int, token: int
) -> None:
    hold = HoldAt(token)
    fake = serve(SimulatedModel("alpha", says="one two three"), before_token=hold)
    assert cli("server", "add", "gpu", fake.url, "--discover").exit_code == 0
    process = spawn("generate", "-m", "alpha", "hi")
    fake.run(hold.reached.wait(), SECONDS)
    assert cli.json("server", "show", "gpu").data["slots_in_use"] == 1
    leave(process)
    assert process.ended().exit_code == code
    assert cli.json("server", "show", "gpu").data["slots_in_use"] == 0
    (receipt,) = cli.json("receipts", "list").data
    assert (receipt["outcome"], receipt["way"]) == ("cancelled", "cli")


@in_both_ways
def test_leaving_gives_the_terminal_back_as_it_was(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn, leave: Callable[[Process], None], code: int
) -> None:
    hold = HoldAt(2)
    model = SimulatedModel(
        "alpha", capabilities=("completion", "thinking"), thinking="let me think"
    )
    fake = serve(model, before_token=hold)
    process = spawn(*words(fake, "--think"), terminals=("stdout", "stderr"))
    process.until_stderr(b"let me")
    leave(process)
    ran = process.ended()
    assert (ran.exit_code, ran.stderr) == (code, "\x1b[2mlet me\x1b[0m\n")


@in_both_ways
def test_leaving_in_mid_answer_ends_the_line_on_a_terminal(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn, leave: Callable[[Process], None], code: int
) -> None:
    fake = serve(SimulatedModel("alpha", says="one two three"), before_token=HoldAt(2))
    process = spawn(*words(fake), terminals=("stdout", "stderr"))
    process.until_stdout(b"one two")
    leave(process)
    ran = process.ended()
    assert (ran.exit_code, ran.stdout, ran.stderr) == (code, "one two\n", "")


def test_reader_that_leaves_ends_the_answer_within_a_second(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn
) -> None:
    pace = Pace()
    fake = serve(TALKER, before_token=pace, token_delay=PACE)
    mine, theirs = os.pipe()
    process = spawn(*words(fake), stdout=theirs)
    os.close(theirs)
    assert os.read(mine, 3) == b"one"
    os.close(mine)
    said = fake.call(lambda: pace.said)
    fake.run(fake.fakes[0].client_left.wait(), SECONDS)
    assert fake.call(lambda: pace.said) - said < SOON
    ran = process.ended()
    assert (ran.exit_code, ran.stderr) == (141, "")


@pytest.mark.parametrize(
    "options", [(), ("--no-stream",), ("-o", "json"), ("-o", "json", "--stream")]
)
def test_reader_that_leaves_while_the_model_is_silent_ends_the_answer(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn, options: tuple[str, ...]
) -> None:
    hold = HoldAt(0)
    fake = serve("alpha", before_token=hold)
    mine, theirs = os.pipe()
    process = spawn(*words(fake, *options), stdout=theirs)
    os.close(theirs)
    fake.run(hold.reached.wait(), SECONDS)
    os.close(mine)
    fake.run(fake.fakes[0].client_left.wait(), SECONDS)
    ran = process.ended()
    assert (ran.exit_code, ran.stderr) == (141, "")


@in_both_ways
def test_leaving_while_the_reader_is_slow_cancels_the_answer_upstream(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn, leave: Callable[[Process], None], code: int
) -> None:
    fake = serve(
        SimulatedModel("alpha", says=f"{'x' * 2000} y", endless=True, context_length=100_000),
        context=100_000,
    )
    mine, theirs = os.pipe()
    process = spawn(*words(fake), stdout=theirs)
    os.close(theirs)
    while unread(mine) < FULL:
        pass
    leave(process)
    ran = process.ended()
    os.close(mine)
    assert (ran.exit_code, ran.stderr) == (code, "")
    fake.run(fake.fakes[0].client_left.wait(), SECONDS)


def unread(pipe: int) -> int:
    """Bytes that wait in a pipe."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]


def test_slow_reader_slows_the_server_and_loses_nothing(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn
) -> None:
    text = " ".join(str(number) for number in range(40_000))
    fake = serve(SimulatedModel("alpha", says=text, context_length=100_000), context=100_000)
    mine, theirs = os.pipe()
    process = spawn(*words(fake), stdout=theirs)
    os.close(theirs)
    with os.fdopen(mine, "rb") as reader:
        assert reader.read() == text.encode()
    assert process.ended().exit_code == 0
