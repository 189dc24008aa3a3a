"""`ollama-admin pull`"""

import asyncio
import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Layer, Registry
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import Cli
from tests.fake_ollama import Answer, FakeOllama, pull_progress
from tests.fake_ollama_thread import FakeOllamaThread

ALPHA = SimulatedModel("alpha", size=10_000)
NEW_ALPHA = SimulatedModel("alpha", build="2", size=20_000)
NOWHERE = "http://127.0.0.1:9"

Fleet = Callable[..., list[FakeOllamaThread]]


def fleet(cli: Cli, serve: Serve, count: int, *models: SimulatedModel) -> list[FakeOllamaThread]:
    """Servers s1, s2, ... that can pull the models, alpha where none is given."""
    fakes = [serve(registry=Registry(models or [ALPHA])) for _ in range(count)]
    for number, fake in enumerate(fakes, 1):
        add(cli, f"s{number}", fake.url)
    return fakes


def add(cli: Cli, name: str, url: str, *options: str) -> None:
    assert cli("server", "add", name, url, "--no-check", *options).exit_code == 0


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_pull_at_all_servers_ends_with_a_line_for_each(cli: Cli, serve: Serve) -> None:
    fleet(cli, serve, 3)
    ran = cli("pull", "alpha", "--all")
    assert (ran.exit_code, ran.stderr) == (0, "")
    heading, *rows = ran.stdout.splitlines()
    assert heading.split() == ["SERVER", "MODEL", "BUILD", "BEFORE", "RECEIVED", "TIME", "NOTE"]
    assert [row.split()[:6] for row in rows] == [
        [f"s{number}", "alpha", ALPHA.digest[:12], "-", "10", "kB"] for number in (1, 2, 3)
    ]
    assert len(cli.json("models").data) == 3


def test_json_is_a_line_for_each_event_and_the_last_is_the_report(cli: Cli, serve: Serve) -> None:
    fakes = fleet(cli, serve, 2)
    told = events(cli.json("pull", "alpha", "--on", "s1", "--on", "2").stdout)
    kinds = [event["event"] for event in told]
    assert kinds.count("result") == 2
    assert kinds[-1] == "end"
    progress = next(event for event in told if event["event"] == "progress")
    assert list(progress) == [
        *("event", "server", "model", "status", "completed", "total", "received")
    ]
    result = next(event for event in told if event["event"] == "result")
    assert list(result) == [
        *("event", "server", "model", "digest", "before"),
        *("completed", "total", "received", "ms", "error"),
    ]
    end = told[-1]
    assert list(end) == ["event", "results", "failed", "builds"]
    assert end["failed"] == 0
    assert end["builds"] == [{"model": "alpha", "digest": ALPHA.digest, "servers": ["s1", "s2"]}]
    received = sum(row["received"] for row in end["results"])
    assert received == sum(fake.fakes[0].registry.received for fake in fakes) == 20_000


def test_builds_that_differ_are_exit_7_with_a_table(cli: Cli, serve: Serve) -> None:
    fakes = fleet(cli, serve, 2)
    fakes[1].call(lambda: fakes[1].fakes[0].registry.offer(NEW_ALPHA))
    ran = cli("pull", "alpha", "--all")
    assert ran.exit_code == 7
    assert f"note: build {ALPHA.digest[:12]} of alpha is on s1\n" in ran.stderr
    assert f"note: build {NEW_ALPHA.digest[:12]} of alpha is on s2\n" in ran.stderr
    assert len(ran.stdout.splitlines()) == 3


def test_another_build_than_the_demanded_one_is_exit_7_of_one_server_too(
    cli: Cli, serve: Serve
) -> None:
    fleet(cli, serve, 1, NEW_ALPHA)
    ran = cli("pull", "alpha", "--on", "s1", "--digest", ALPHA.digest[:12])
    assert ran.exit_code == 7
    assert "model_mismatch" in ran.stdout
    assert f"not {ALPHA.digest[:12]}" in ran.stderr


def test_pinned_build_is_demanded_unless_another_one_is(cli: Cli, serve: Serve) -> None:
    fleet(cli, serve, 1, NEW_ALPHA)
    assert cli("pin", "set", "alpha", "--digest", ALPHA.digest).exit_code == 0
    assert cli("pull", "alpha", "--on", "s1").exit_code == 7
    assert cli("pull", "alpha", "--on", "s1", "--digest", NEW_ALPHA.digest).exit_code == 0


def test_one_server_that_fails_is_the_commands_own_failure(cli: Cli, serve: Serve) -> None:
    fleet(cli, serve, 1)
    ran = cli("pull", "beta", "--on", "s1")
    assert (ran.exit_code, ran.stdout) == (3, "")
    assert ran.stderr.startswith("error: server s1 finds no model 'beta' in the registry\n")


def test_server_that_is_away_costs_its_own_row_only(cli: Cli, serve: Serve) -> None:
    fleet(cli, serve, 2)
    add(cli, "away", NOWHERE)
    ran = cli("pull", "alpha", "--all")
    assert ran.exit_code == 7
    rows = [row.split() for row in ran.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == ["s1", "s2", "away"]
    assert rows[2][-1] == "server_unreachable"
    assert "note: server away (http://127.0.0.1:9) cannot be reached" in ran.stderr


def test_names_of_registries_go_out_as_they_are(cli: Cli, serve: Serve) -> None:
    name = "localhost:5000/team/alpha:Q4"
    [fake] = fleet(cli, serve, 1, SimulatedModel(name))
    assert cli("pull", name, "--on", "s1").exit_code == 0
    [request] = fake.call(lambda: fake.fakes[0].requests_to("/api/pull"))
    assert request.body == {"model": name, "stream": True}


BAD = {
    "no server": (["alpha"], "no server is named"),
    "a glob": (["al*", "--all"], "'al*' is a glob, and this takes one model"),
    "a digest in the name": (["alpha@sha256:12", "--all"], "'alpha@sha256:12' names a digest"),
    "a digest that is none": (["alpha", "--all", "--digest", "12"], "digest '12' is not 12 to 64"),
    "none at once": (["alpha", "--all", "--parallel", "0"], "must be 1 or more"),
    "names and all": (["alpha", "--all", "--on", "s1"], "are both given"),
    "an empty name": (["", "--all"], "the model name is empty"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_mistake_is_one_line_and_nobody_is_asked(
    sqlite_cli: Cli, serve: Serve, mistake: str
) -> None:
    [fake] = fleet(sqlite_cli, serve, 1)
    words, message = BAD[mistake]
    ran = sqlite_cli("pull", *words)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert message in ran.stderr.splitlines()[0]
    assert fake.requests() == []


def test_unknown_server_is_not_found(sqlite_cli: Cli) -> None:
    assert sqlite_cli.json("pull", "alpha", "--on", "nobody").failure == (3, "server_not_found")


def hold_at(fake: FakeOllamaThread, share: float) -> asyncio.Event:
    """Let the pull of a server come so far and no further; the event says that it has."""
    reached = asyncio.Event()

    async def hold(layer: Layer, completed: int) -> None:
        if completed >= layer.size * share:
            reached.set()
            await asyncio.Event().wait()

    fake.call(lambda: setattr(fake.fakes[0].registry, "before_piece", hold))
    return reached


def test_ctrl_c_says_what_is_unfinished_and_the_next_run_goes_on(
    cli: Cli, serve: Serve, spawn: Spawn
) -> None:
    fakes = fleet(cli, serve, 2)
    held = [hold_at(fake, 0.5) for fake in fakes]
    process = spawn("pull", "alpha", "--all", "-o", "json")
    for server in ("s1", "s2"):
        process.until_stdout(f'"name": "{server}"'.encode())
    for fake, reached in zip(fakes, held, strict=True):
        fake.run(reached.wait(), 50)
    process.interrupt()
    ran = process.ended()
    assert ran.exit_code == 130
    assert re.search(
        r"note: not finished: s1 \(\d+ %\), s2 \(\d+ %\); the same command", ran.stderr
    )
    assert "Traceback" not in ran.stderr
    for fake in fakes:
        fake.run(fake.fakes[0].until(lambda fake=fake: bool(fake.fakes[0].abandoned)))
        fake.call(lambda fake=fake: setattr(fake.fakes[0].registry, "before_piece", None))
    end = events(cli.json("pull", "alpha", "--all").stdout)[-1]
    assert end["failed"] == 0
    assert all(0 < row["received"] < row["total"] == 10_000 for row in end["results"])


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_terminal_of_any_width_shows_every_server_and_the_sum(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn, columns: int
) -> None:
    fakes = fleet(sqlite_cli, serve, 2)
    hold_at(fakes[1], 0.5)
    process = spawn("pull", "alpha", "--all", terminals=["stderr"], columns=columns)
    process.until_stderr(b"1 of 2 done")
    fakes[1].call(lambda: setattr(fakes[1].fakes[0].registry, "before_piece", None))
    process.interrupt()
    screen = process.ended().stderr
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", screen)
    assert "s1 " in plain
    assert "s2 " in plain
    drawn = plain.partition("note: ")[0]
    assert max(map(len, re.split(r"[\r\n]+", drawn))) <= columns
    assert ("\u2501" in drawn) == (columns >= 60)


def test_dumb_terminal_and_pipe_get_no_escapes(sqlite_cli: Cli, serve: Serve, spawn: Spawn) -> None:
    fleet(sqlite_cli, serve, 2)
    ran = spawn(
        "pull", "alpha", "--all", terminals=["stdout", "stderr"], environ={"TERM": "dumb"}
    ).ended()
    assert ran.exit_code == 0
    assert "\x1b" not in ran.stderr


def test_closed_pipe_ends_a_pull_quietly(sqlite_cli: Cli, serve: Serve, spawn: Spawn) -> None:
    [fake] = fleet(sqlite_cli, serve, 1)
    lines = b"".join(pull_progress("alpha"))
    fake.call(lambda: fake.fakes[0].script("/api/pull", Answer(200, lines)))
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = spawn("pull", "alpha", "--on", "s1", "-o", "json", stdout=write_end)
    os.close(write_end)
    ran = process.ended()
    assert ran.exit_code == 141
    assert "Traceback" not in ran.stderr


def test_more_servers_than_lines_are_never_drawn_beyond_the_screen(
    sqlite_cli: Cli, spawn: Spawn
) -> None:
    """Thirty on a terminal of 24 lines: those that run come first, and one line is about all."""
    fakes = FakeOllamaThread(*[FakeOllama(registry=Registry([ALPHA])) for _ in range(30)])
    with fakes:
        reached = asyncio.Event()

        async def hold(layer: Layer, completed: int) -> None:
            reached.set()
            await asyncio.Event().wait()

        for number, fake in enumerate(fakes.fakes, 1):
            add(sqlite_cli, f"s{number}", fake.url)
            fake.registry.before_piece = hold
        process = spawn("pull", "alpha", "--all", terminals=["stderr"])
        process.until_stderr(b"0 of 30 done")
        fakes.run(reached.wait(), 50)
        process.interrupt()
        screen = process.ended().stderr.partition("note: ")[0]
    frames = re.split(r"(?:\r?\x1b\[\dA\x1b\[2K|\r\x1b\[2K)+", screen)
    assert max(frame.count("\n") for frame in frames) < 24
    assert "30 done" in screen
