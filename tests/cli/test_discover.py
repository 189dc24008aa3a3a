"""`ollama-admin discover`"""

import json

import pytest

from ollama_admin.simulator.model import SimulatedModel
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import SECONDS, Cli
from tests.fake_ollama import Answer, Silence

NOWHERE = "http://127.0.0.1:9"
RESULT_KEYS = ["server", "added", "changed", "unchanged", "vanished", "pruned", "off_pin", "error"]


def add(cli: Cli, name: str, url: str, *options: str) -> None:
    assert cli("server", "add", name, url, "--no-check", *options).exit_code == 0


def results(cli: Cli, *words: str) -> list[dict[str, object]]:
    return cli.json("discover", *words).data["results"]


def test_discovery_stores_what_a_server_holds(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha", "beta:2b")
    add(cli, "one", fake.url)
    document = cli.json("discover").data
    assert list(document) == ["results", "failed"]
    [result] = document["results"]
    assert list(result) == RESULT_KEYS
    assert sorted(result.pop("added")) == ["alpha:latest", "beta:2b"]
    assert result == {
        "server": {"id": 1, "name": "one", "url": fake.url},
        "changed": [],
        "unchanged": 0,
        "vanished": [],
        "pruned": 0,
        "off_pin": [],
        "error": None,
    }


def test_second_discovery_tells_what_changed(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha", "beta", "gamma")
    add(cli, "one", fake.url)
    results(cli)
    old, new = SimulatedModel("alpha").digest, SimulatedModel("alpha", build="2")
    fake.call(lambda: (fake.fakes[0].point("alpha", new), fake.fakes[0].remove("beta")))
    [result] = results(cli)
    assert result["changed"] == [{"name": "alpha:latest", "from": old, "to": new.digest}]
    assert (result["added"], result["unchanged"], result["vanished"]) == ([], 1, ["beta:latest"])
    ran = cli("discover")
    assert ran.stdout.splitlines()[1].split() == ["one", "0", "0", "2", "0", "-"]


def test_changed_build_is_told_on_stderr(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    add(cli, "one", fake.url)
    results(cli)
    old, new = SimulatedModel("alpha").digest, SimulatedModel("alpha", build="2")
    fake.call(lambda: fake.fakes[0].point("alpha", new))
    ran = cli("discover")
    heading, row = ran.stdout.splitlines()
    assert heading.split() == ["SERVER", "ADDED", "CHANGED", "SAME", "VANISHED", "NOTE"]
    assert row.split() == ["one", "0", "1", "0", "0", "-"]
    assert (
        ran.stderr
        == f"note: alpha:latest on one is now another build: {old[:12]} -> {new.digest[:12]}\n"
    )


def test_prune_deletes_the_rows_of_vanished_models(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha", "beta")
    add(cli, "one", fake.url)
    results(cli)
    fake.call(lambda: fake.fakes[0].remove("beta"))
    assert results(cli)[0]["pruned"] == 0
    assert len(cli.json("models", "--all").data) == 2
    assert results(cli, "--prune")[0]["pruned"] == 1
    assert [model["name"] for model in cli.json("models", "--all").data] == ["alpha:latest"]


def test_prune_is_told_in_the_table(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha", "beta")
    add(cli, "one", fake.url)
    results(cli)
    fake.call(lambda: fake.fakes[0].remove("beta"))
    assert cli("discover", "--prune").stdout.splitlines()[1].split() == [
        "one",
        "0",
        "0",
        "1",
        "1",
        "1",
        "pruned",
    ]


def test_dead_server_costs_the_others_nothing_and_keeps_its_models(cli: Cli, serve: Serve) -> None:
    up, dying = serve("alpha"), serve("beta")
    add(cli, "up", up.url)
    add(cli, "dying", dying.url)
    results(cli)
    dying.fakes[0].script_always("/api/version", Answer(502, "<html>bad gateway</html>"))
    ran = cli.json("discover")
    assert ran.exit_code == 7
    document = json.loads(ran.stdout)
    assert document["failed"] == 1
    fine, failed = document["results"]
    assert (fine["unchanged"], fine["error"]) == (1, None)
    assert list(failed["error"]) == ["code", "message", "hint"]
    assert failed["error"]["code"] == "upstream_error"
    assert [model["name"] for model in cli.json("models").data] == ["alpha:latest", "beta:latest"]


def test_failure_is_a_row_of_the_table(cli: Cli, serve: Serve) -> None:
    add(cli, "up", serve("alpha").url)
    add(cli, "down", NOWHERE)
    ran = cli("discover")
    assert ran.exit_code == 7
    _, up, down = ran.stdout.splitlines()
    assert up.split() == ["up", "1", "0", "0", "0", "-"]
    assert down.split() == ["down", "-", "-", "-", "-", "server_unreachable"]
    assert ran.stderr.startswith(
        "note: server down (http://127.0.0.1:9) cannot be reached: connection refused"
    )


def test_the_one_server_asked_for_fails_the_command_itself(cli: Cli) -> None:
    add(cli, "down", NOWHERE)
    assert cli.json("discover", "down").failure == (6, "server_unreachable")
    ran = cli("discover", "down")
    assert (ran.exit_code, ran.stdout) == (6, "")
    assert ran.stderr.startswith(
        "error: server down (http://127.0.0.1:9) cannot be reached: connection refused"
    )


def test_without_arguments_all_active_servers_are_asked(cli: Cli, serve: Serve) -> None:
    on, off = serve("alpha"), serve("beta")
    add(cli, "on", on.url)
    add(cli, "off", off.url, "--inactive")
    assert [result["server"]["name"] for result in results(cli)] == ["on"]
    assert off.requests() == []
    assert [result["server"]["name"] for result in results(cli, "off", "ON", "1")] == ["off", "on"]
    assert [result["server"]["name"] for result in results(cli, "--all")] == ["on", "off"]


def test_discovery_of_no_servers_is_a_note(cli: Cli) -> None:
    assert cli.json("discover").data == {"results": [], "failed": 0}
    ran = cli("discover")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "ollama-admin server add" in ran.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("one", "--all"),
        ("--timeout", "0"),
        ("--timeout", "-1"),
        ("--timeout", "nan"),
        ("--timeout", "soon"),
        ("--concurrency", "0"),
        ("--concurrency", "-1"),
        ("--concurrency", "1.5"),
    ],
)
def test_bad_option_is_refused_before_anything_is_asked(
    sqlite_cli: Cli, serve: Serve, words: tuple[str, ...]
) -> None:
    fake = serve("alpha")
    add(sqlite_cli, "one", fake.url)
    assert sqlite_cli.json("discover", *words).failure == (2, "invalid_input")
    assert fake.requests() == []


def test_unknown_server_is_not_found_and_no_other_is_asked(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    add(cli, "one", fake.url)
    assert cli.json("discover", "one", "two").failure == (3, "server_not_found")
    assert fake.requests() == []


def test_timeout_bounds_the_wait_for_a_silent_server(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    add(cli, "one", fake.url)
    fake.fakes[0].script_always("/api/version", Silence())
    ran = cli.json("discover", "one", "--timeout", "0.2")
    assert ran.failure == (6, "server_unreachable")
    assert "0.2 s" in ran.error["message"]
    assert [request.path for request in fake.requests()] == ["/api/version"]


def test_concurrency_bounds_how_many_are_asked_at_once(cli: Cli, serve: Serve) -> None:
    for number in range(3):
        add(cli, f"server {number}", serve("alpha").url)
    assert len(results(cli, "--concurrency", "1")) == 3
    assert len(results(cli, "--concurrency", "2")) == 3


def test_models_of_a_server_that_is_not_ollama_are_names_without_digests(
    cli: Cli, serve: Serve
) -> None:
    add(cli, "other", f"{serve('org/Model.gguf', version=None).url}/v1")
    assert results(cli)[0]["added"] == ["org/Model.gguf"]
    [model] = cli.json("models").data
    assert (model["name"], model["digest"], model["capabilities"]) == ("org/Model.gguf", None, None)


def test_progress_is_shown_on_a_terminal_and_the_cursor_comes_back(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn
) -> None:
    add(sqlite_cli, "one", serve("alpha").url)
    ran = spawn("discover", terminals=("stderr",)).ended()
    assert ran.exit_code == 0
    assert "asking servers" in ran.stderr
    assert ran.stderr.rindex("\x1b[?25h") > ran.stderr.rindex("\x1b[?25l")
    assert ran.stdout.splitlines()[1].split() == ["one", "1", "0", "0", "0", "-"]


def test_interrupted_discovery_ends_at_once_and_keeps_what_was_stored(
    cli: Cli, serve: Serve, spawn: Spawn
) -> None:
    quick, silent = serve("alpha"), serve("beta")
    add(cli, "quick", quick.url)
    add(cli, "silent", silent.url)
    silence = Silence()
    silent.fakes[0].script_always("/api/tags", silence)
    process = spawn("discover", terminals=("stderr",))
    process.until_stderr(b"quick")  # the bar names the server whose rows have just been stored
    silent.run(silence.arrived.wait(), SECONDS)
    process.interrupt()
    ran = process.ended()
    assert (ran.exit_code, ran.stdout) == (130, "")
    assert "Traceback" not in ran.stderr
    assert ran.stderr.rindex("\x1b[?25h") > ran.stderr.rindex("\x1b[?25l")
    silent.run(silent.fakes[0].client_left.wait(), SECONDS)
    assert [model["name"] for model in cli.json("models", "--all").data] == ["alpha:latest"]
    assert cli.json("server", "show", "silent").data["status"] == "unknown"


def test_terminated_discovery_ends_with_143(sqlite_cli: Cli, serve: Serve, spawn: Spawn) -> None:
    fake = serve("alpha")
    add(sqlite_cli, "one", fake.url)
    silence = Silence()
    fake.fakes[0].script_always("/api/version", silence)
    process = spawn("-o", "json", "discover")
    fake.run(silence.arrived.wait(), SECONDS)
    process.terminate()
    ran = process.ended()
    assert (ran.exit_code, ran.stdout, ran.stderr) == (143, "", "")
    fake.run(fake.fakes[0].client_left.wait(), SECONDS)
