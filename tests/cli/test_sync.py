"""`ollama-admin sync`"""

import json

import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Registry
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import SECONDS, Cli
from tests.cli.test_diff import discovered
from tests.fake_ollama import Silence
from tests.fake_ollama_thread import FakeOllamaThread

ALPHA, BETA = SimulatedModel("alpha", size=10_000), SimulatedModel("beta", size=10_000)


def start(serve: Serve, *models: SimulatedModel) -> FakeOllamaThread:
    return serve(*models, registry=Registry([ALPHA, BETA]))


def test_servers_pull_what_another_one_holds(cli: Cli, serve: Serve) -> None:
    one, two = start(serve, ALPHA, BETA), start(serve, BETA)
    discovered(cli, one=one.url, two=two.url)
    ran = cli("sync", "--from", "one", "--to", "two")
    assert ran.exit_code == 0, ran
    assert [" ".join(line.split()) for line in ran.stdout.splitlines()] == [
        "SERVER MODEL BEFORE BUILD NOTE",
        f"two alpha:latest - {ALPHA.digest[:12]} pulled",
    ]
    assert ran.stderr.endswith("note: 1 model is already as one has them\n")
    assert cli("diff", "one", "two").exit_code == 0


def test_a_dry_run_shows_what_would_be_done(cli: Cli, serve: Serve) -> None:
    one, two = start(serve, ALPHA), start(serve, BETA)
    discovered(cli, one=one.url, two=two.url)
    ran = cli("sync", "--from", "one", "--to", "two", "--dry-run")
    assert ran.exit_code == 0
    _, first, second = ran.stdout.splitlines()
    assert first.split()[-2:] == ["to", "pull"]
    assert second.endswith("kept: --prune deletes it")
    document = cli.json("sync", "--from", "one", "--to", "two", "--dry-run", "--prune").data
    assert [each["action"] for each in document["results"]] == ["pull", "remove"]
    assert [each["is_done"] for each in document["results"]] == [False, False]
    assert two.call(lambda: list(two.fakes[0].models)) == ["beta:latest"]


def test_a_glob_that_matches_nothing_anywhere_exits_3(cli: Cli, serve: Serve) -> None:
    one, two = start(serve, ALPHA), start(serve, BETA)
    discovered(cli, one=one.url, two=two.url)
    ran = cli("sync", "--from", "one", "--to", "two", "--model", "alfa*")
    assert (ran.exit_code, ran.stdout) == (3, "")
    assert ran.stderr == (
        "error: server one has no model 'alfa*'\n"
        "hint: see what it has with: ollama-admin models one\n"
    )
    ran = cli("sync", "--from", "one", "--to", "two", "--model", "beta*")
    assert (ran.exit_code, "kept: --prune deletes it" in ran.stdout) == (0, True)


def test_prune_asks_and_deletes_nothing_without_a_yes(cli: Cli, serve: Serve) -> None:
    one, two = start(serve, ALPHA), start(serve, ALPHA, BETA)
    discovered(cli, one=one.url, two=two.url)
    words = ("sync", "--from", "one", "--to", "two", "--prune")
    assert cli.json(*words).failure == (2, "invalid_input")
    assert "note: only two has beta:latest" in cli(*words).stderr
    assert two.call(lambda: len(two.fakes[0].models)) == 2
    ran = cli(*words, "--yes")
    assert ran.exit_code == 0
    assert ran.stdout.splitlines()[1].split()[-1] == "removed"
    assert two.call(lambda: list(two.fakes[0].models)) == ["alpha:latest"]


def test_json_is_a_line_for_each_event(cli: Cli, serve: Serve) -> None:
    one, two = start(serve, ALPHA), start(serve)
    discovered(cli, one=one.url, two=two.url)
    ran = cli.json("sync", "--from", "one", "--all")
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [events[0]["event"], events[-2]["event"], events[-1]["event"]] == [
        *("progress", "result", "end")
    ]
    assert events[-1]["results"][0]["digest"] == ALPHA.digest


def test_a_registry_that_moved_on_is_7(cli: Cli, serve: Serve) -> None:
    one, two = start(serve, SimulatedModel("alpha", build="old")), start(serve)
    discovered(cli, one=one.url, two=two.url)
    ran = cli("sync", "--from", "one", "--to", "two")
    assert ran.exit_code == 7
    assert ran.stdout.splitlines()[1].split()[-1] == "model_mismatch"
    assert "the registry's name stands for another build by now" in ran.stderr


@pytest.mark.parametrize(
    ("words", "failure"),
    [
        (("--from", "one"), (2, "invalid_input")),
        (("--to", "one"), (2, "invalid_input")),
        (("--from", "one", "--to", "one"), (2, "invalid_input")),
        (("--from", "one", "--to", "two", "--all"), (2, "invalid_input")),
        (("--from", "one", "--to", "nobody"), (3, "server_not_found")),
        (("--from", "nobody", "--to", "one"), (3, "server_not_found")),
        (("--from", "two", "--to", "one", "--prune", "--yes"), (4, "conflict")),
        (("--from", "one", "--to", "two", "--parallel", "0"), (2, "invalid_input")),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_changed(
    sqlite_cli: Cli, serve: Serve, words: tuple[str, ...], failure: tuple[int, str]
) -> None:
    one, two = start(serve, ALPHA), start(serve)
    discovered(sqlite_cli, one=one.url, two=two.url)
    assert sqlite_cli.json("sync", *words).failure == failure
    changed = {"/api/pull", "/api/delete"}
    assert changed.isdisjoint(request.path for request in [*one.requests(), *two.requests()])


def test_interrupted_it_stops_and_says_what_is_not_finished(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn
) -> None:
    one, two = start(serve, ALPHA), start(serve)
    discovered(sqlite_cli, one=one.url, two=two.url)
    silence = Silence()
    two.fakes[0].script_always("/api/pull", silence)
    syncing = spawn("sync", "--from", "one", "--to", "two")
    two.run(silence.arrived.wait(), SECONDS)
    syncing.interrupt()
    ran = syncing.ended()
    assert ran.exit_code == 130
    assert "not finished: two" in ran.stderr
    two.run(two.fakes[0].client_left.wait(), SECONDS)
