"""Groups of servers on the command line: labels, and what is done with several servers."""

import json

import pytest

from tests.cli.conftest import Serve, Spawn
from tests.cli.running import Cli
from tests.cli.test_servers import hold_slot

NOWHERE = "http://127.0.0.1:9"


def test_servers_are_added_listed_and_checked_by_label(cli: Cli) -> None:
    cli("server", "add", "one", NOWHERE, "--no-check", "--label", "gpu=a100", "--label", "room=2")
    cli("server", "add", "two", "http://127.0.0.1:8", "--no-check", "--label", "gpu=t4")
    assert [
        row["name"] for row in cli("-o", "json", "server", "list", "--label", "gpu=a100").data
    ] == ["one"]
    checked = cli("-o", "json", "server", "check", "--label", "gpu=t4")
    assert checked.exit_code == 7
    assert [each["server"]["name"] for each in json.loads(checked.stdout)["results"]] == ["two"]
    shown = cli("server", "show", "one").stdout
    assert "gpu=a100, room=2" in shown


def test_update_sets_and_takes_away_labels(cli: Cli) -> None:
    cli("server", "add", "one", NOWHERE, "--no-check", "--label", "gpu=a100", "--label", "room=2")
    changed = cli("server", "update", "one", "--label", "gpu=h100", "--remove-label", "room")
    assert "labels: gpu=a100, room=2 -> gpu=h100" in changed.stdout
    assert cli("-o", "json", "server", "show", "one").data["labels"] == {"gpu": "h100"}
    cli("server", "update", "one", "--clear", "labels")
    assert cli("-o", "json", "server", "show", "one").data["labels"] == {}


def test_a_label_is_not_set_and_taken_away_at_once(cli: Cli) -> None:
    cli("server", "add", "one", NOWHERE, "--no-check", "--label", "gpu=a100")
    result = cli("server", "update", "one", "--label", "gpu=h100", "--remove-label", "gpu")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: label 'gpu' is both given and removed\n")
    assert cli("-o", "json", "server", "show", "one").data["labels"] == {"gpu": "a100"}


def test_a_list_of_servers_with_a_label_that_none_has_is_empty_and_says_so(cli: Cli) -> None:
    cli("server", "add", "one", NOWHERE, "--no-check", "--label", "gpu=a100")
    result = cli("server", "list", "--label", "gpu=a10")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "note: no such servers; see all with: ollama-admin server list\n"
    assert cli("-o", "json", "server", "list", "--label", "gpu=a10").data == []


def test_a_label_that_no_server_has_exits_3_and_names_the_nearest(cli: Cli) -> None:
    cli("server", "add", "one", NOWHERE, "--no-check", "--label", "gpu=a100")
    for command in (("server", "check"), ("discover",)):
        result = cli(*command, "--label", "gpu=a10")
        assert result.exit_code == 3
        assert result.stderr == ("error: no server has label gpu=a10\nhint: nearest: gpu=a100\n")


def test_a_name_and_a_label_together_exit_2(cli: Cli) -> None:
    result = cli("server", "check", "one", "--label", "gpu=a100")
    assert (result.exit_code, "servers and --label are both given" in result.stderr) == (2, True)


def test_a_server_is_drained_and_resumed(cli: Cli) -> None:
    cli("server", "add", "one", NOWHERE, "--no-check")
    drained = cli("server", "drain", "one", "--timeout", "5m")
    assert drained.exit_code == 0
    assert drained.stdout == f"drained server 1, one: {NOWHERE}\n"
    assert "unknown, draining" in cli("server", "list").stdout
    shown = cli.json("server", "show", "one").data
    assert (shown["is_draining"], shown["is_active"]) == (True, True)
    assert cli.json("server", "resume", "one").data["is_draining"] is False


@pytest.mark.parametrize("timeout", ["0", "0s"])
def test_draining_says_what_still_runs_and_exits_4_when_time_is_over(
    cli: Cli, database_url: str, timeout: str
) -> None:
    cli("server", "add", "one", NOWHERE, "--no-check")
    hold_slot(database_url)
    drained = cli("server", "drain", "one", "--timeout", timeout)
    assert drained.exit_code == 4
    assert drained.stderr == (
        "note: 1 request still runs at server one\n"
        "error: 1 request runs at server one after 0 s: still draining\n"
        "hint: wait again with: ollama-admin server drain one, or let it answer with: "
        "ollama-admin server resume one\n"
    )
    assert cli.json("server", "show", "one").data["is_draining"] is True


def test_draining_that_is_interrupted_says_that_it_goes_on(
    cli: Cli, spawn: Spawn, database_url: str
) -> None:
    cli("server", "add", "one", NOWHERE, "--no-check")
    hold_slot(database_url)
    process = spawn("server", "drain", "one")
    process.until_stderr(b"1 request still runs")
    process.interrupt()
    ran = process.ended()
    assert (ran.exit_code, ran.stdout) == (130, "")
    assert ran.stderr.splitlines()[-1] == (
        "note: server one is still draining; let it answer again with: "
        "ollama-admin server resume one"
    )
    assert cli.json("server", "show", "one").data["is_draining"] is True


def test_a_time_that_is_none_exits_2(cli: Cli) -> None:
    assert cli.json("server", "drain", "one", "--timeout", "long").failure[0] == 2


@pytest.mark.parametrize("command", ["generate", "embed"])
def test_only_a_server_with_the_label_answers(cli: Cli, serve: Serve, command: str) -> None:
    for name, gpu in (("one", "t4"), ("two", "a100")):
        cli("server", "add", name, serve("alpha").url, "--discover", "--label", f"gpu={gpu}")
    asked = (command, "-m", "alpha", "hi", "--label")
    assert cli.json(*asked, "gpu=a100").data["server"]["name"] == "two"
    assert cli.json(*asked, "gpu=h100").failure == (3, "model_not_found")
    assert cli.json(*asked, "gpu=a100", "-s", "two").failure == (2, "invalid_input")


def test_a_conversation_stays_with_servers_of_its_label(cli: Cli, serve: Serve) -> None:
    for name, gpu in (("one", "t4"), ("two", "a100")):
        cli("server", "add", name, serve("alpha").url, "--discover", "--label", f"gpu={gpu}")
    ran = cli("chat", "alpha", "--label", "gpu=a100", stdin="/set\n/explain\n/server one\n/set\n")
    assert ran.stderr.splitlines() == [
        "model alpha",
        "label gpu=a100",
        "model alpha",
        "server one",
    ]
    assert "it has no label gpu=a100" in ran.stdout


def test_models_are_listed_of_servers_with_a_label(cli: Cli, serve: Serve) -> None:
    cli("server", "add", "one", serve("alpha").url, "--discover", "--label", "gpu=a100")
    cli("server", "add", "two", serve("beta").url, "--discover", "--label", "gpu=t4")
    assert [row["name"] for row in cli.json("models", "--label", "gpu=t4").data] == ["beta:latest"]
    grouped = cli.json("models", "--by-model", "--label", "gpu=a100").data
    assert [row["name"] for row in grouped] == ["alpha:latest"]
    assert cli.json("models", "--label", "gpu=h100").failure == (3, "server_not_found")
    assert cli.json("models", "one", "--label", "gpu=t4").failure == (2, "invalid_input")
