"""Groups of servers on the command line: labels, and what is done with several servers."""

import json

from tests.cli.running import Cli

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
    assert "labels: gpu a100, room 2 -> gpu h100" in changed.stdout
    assert cli("-o", "json", "server", "show", "one").data["labels"] == {"gpu": "h100"}
    cli("server", "update", "one", "--clear", "labels")
    assert cli("-o", "json", "server", "show", "one").data["labels"] == {}


def test_a_label_that_no_server_has_exits_3_and_names_the_nearest(cli: Cli) -> None:
    cli("server", "add", "one", NOWHERE, "--no-check", "--label", "gpu=a100")
    for command in (("server", "check"), ("discover",)):
        result = cli(*command, "--label", "gpu=a10")
        assert result.exit_code == 3
        assert result.stderr == ("error: no server has label gpu=a10\nhint: nearest: gpu=a100\n")


def test_a_name_and_a_label_together_exit_2(cli: Cli) -> None:
    result = cli("server", "check", "one", "--label", "gpu=a100")
    assert (result.exit_code, "servers and --label are both given" in result.stderr) == (2, True)
