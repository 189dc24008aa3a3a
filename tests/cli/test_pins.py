"""`ollama-admin pin ...`, and the marks that a pin leaves elsewhere"""

import re

import pytest

from ollama_admin.simulator.model import SimulatedModel
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import Cli

OLD, NEW = SimulatedModel("alpha"), SimulatedModel("alpha", build="2")
BETA = SimulatedModel("Beta:7b")
PIN_KEYS = ["name", "digest", "created_at", "updated_at", "managed_by"]
NOBODYS = "ab" * 32


@pytest.fixture
def fleet(cli: Cli, serve: Serve) -> Cli:
    """`old` and `new` have different builds of alpha, both have the same Beta:7b; nothing is
    pinned.
    """
    add(cli, "old", serve(OLD, BETA).url)
    add(cli, "new", serve(NEW, BETA).url)
    assert cli("discover").exit_code == 0
    return cli


def add(cli: Cli, name: str, url: str, *options: str) -> None:
    assert cli("server", "add", name, url, "--no-check", *options).exit_code == 0


# set


def test_pin_is_shown_with_every_column(fleet: Cli) -> None:
    pin = fleet.json("pin", "set", "beta:7b").data
    assert list(pin) == PIN_KEYS
    assert (pin["name"], pin["digest"], pin["created_at"]) == (
        "Beta:7b",
        BETA.digest,
        pin["updated_at"],
    )


def test_name_whose_builds_differ_is_not_pinned_and_the_error_shows_who_has_what(
    fleet: Cli,
) -> None:
    ran = fleet("pin", "set", "alpha")
    assert (ran.exit_code, ran.stdout) == (4, "")
    assert f"old {OLD.digest[:12]}, new {NEW.digest[:12]}" in ran.stderr
    assert "--server S" in ran.stderr
    assert fleet.json("pin", "set", "alpha").failure == (4, "conflict")
    assert fleet.json("pin", "list").data == []


def test_setting_again_replaces_and_says_what_was_there(fleet: Cli) -> None:
    old, new = OLD.digest[:12], NEW.digest[:12]
    assert (
        fleet("pin", "set", "alpha", "--server", "old").stdout == f"pinned alpha:latest to {old}\n"
    )
    assert (
        fleet("pin", "set", "Alpha", "--server", "2").stdout
        == f"pinned alpha:latest to {new} (was {old})\n"
    )
    assert (
        fleet("pin", "set", "alpha", "--digest", new).stdout
        == f"pinned alpha:latest to {new} (as before)\n"
    )
    assert [pin["digest"] for pin in fleet.json("pin", "list").data] == [NEW.digest]


def test_whole_digest_that_no_server_has_is_pinned_with_a_note(fleet: Cli) -> None:
    ran = fleet("pin", "set", "alpha", "--digest", f"sha256:{NOBODYS}")
    assert (ran.exit_code, ran.stdout) == (0, f"pinned alpha:latest to {NOBODYS[:12]}\n")
    assert (
        ran.stderr
        == f"note: no active server is known to have build {NOBODYS[:12]} of alpha:latest\n"
    )


@pytest.mark.parametrize(
    ("words", "failure"),
    [
        (("set", "gamma"), (3, "model_not_found")),
        (("set", "beta:7b", "--server", "nobody"), (3, "server_not_found")),
        (("set", "alpha", "--digest", "ab" * 6), (3, "model_not_found")),
        (("set", "alpha", "--digest", "abc"), (2, "invalid_input")),
        (("set", "alpha", "--digest", NOBODYS, "--server", "old"), (2, "invalid_input")),
        (("set", ""), (2, "invalid_input")),
        (("set", "a\x1bb"), (2, "invalid_input")),
        (("set",), (2, "invalid_input")),
        (("remove", "alpha"), (3, "not_found")),
        (("remove", " "), (2, "invalid_input")),
    ],
)
def test_what_cannot_be_done_is_an_error(
    fleet: Cli, words: tuple[str, ...], failure: tuple[int, str]
) -> None:
    assert fleet.json("pin", *words).failure == failure
    assert fleet.json("pin", "list").data == []


# list and remove


def test_pins_are_listed_with_how_many_servers_agree_and_differ(fleet: Cli) -> None:
    fleet("pin", "set", "alpha", "--server", "new")
    fleet("pin", "set", "beta:7b")
    pins = fleet.json("pin", "list").data
    assert [list(pin) for pin in pins] == [[*PIN_KEYS, "agree", "differ"]] * 2
    assert {pin["name"]: (pin["agree"], pin["differ"]) for pin in pins} == {
        "alpha:latest": (1, 1),
        "Beta:7b": (2, 0),
    }
    heading, beta, alpha = sorted(fleet("pin", "list").stdout.splitlines(), key=str.swapcase)[::-1]
    assert heading.split() == ["NAME", "DIGEST", "AGREE", "DIFFER", "SET"]
    assert beta.split()[:4] == ["Beta:7b", BETA.digest[:12], "2", "0"]
    assert alpha.split()[:4] == ["alpha:latest", NEW.digest[:12], "1", "1"]


def test_no_pins_are_an_empty_list_and_a_note(cli: Cli) -> None:
    ran = cli("pin", "list")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert ran.stderr == "note: no pins; set one with: ollama-admin pin set NAME\n"
    assert cli.json("pin", "list").data == []


def test_pin_is_removed_by_any_spelling_of_its_name(fleet: Cli) -> None:
    fleet("pin", "set", "beta:7b")
    assert fleet.json("pin", "remove", "library/BETA:7B").data == {
        "removed": {"name": "Beta:7b", "digest": BETA.digest}
    }
    assert fleet("pin", "remove", "Beta:7b").exit_code == 3
    fleet("pin", "set", "beta:7b")
    assert (
        fleet("pin", "remove", "Beta:7b").stdout
        == f"removed the pin of Beta:7b to {BETA.digest[:12]}\n"
    )


# marks


def test_models_carry_the_pinned_digest_of_their_name(fleet: Cli) -> None:
    assert {model["pinned"] for model in fleet.json("models").data} == {None}
    fleet("pin", "set", "alpha", "--server", "new")
    pinned = {
        (model["server"], model["name"]): model["pinned"] for model in fleet.json("models").data
    }
    assert pinned == {
        ("old", "alpha:latest"): NEW.digest,
        ("new", "alpha:latest"): NEW.digest,
        ("old", "Beta:7b"): None,
        ("new", "Beta:7b"): None,
    }
    groups = {group["name"]: group["pinned"] for group in fleet.json("models", "--by-model").data}
    assert groups == {"alpha:latest": NEW.digest, "Beta:7b": None}


def test_tables_of_models_mark_builds_that_differ_from_the_pin(fleet: Cli) -> None:
    fleet("pin", "set", "alpha", "--server", "new")
    heading, *rows = [line.split() for line in fleet("models").stdout.splitlines()]
    assert heading[:4] == ["NAME", "SERVER", "DIGEST", "PIN"]
    marks = {(row[0], row[1]): row[3:5] if row[3] == "≠" else row[3] for row in rows}
    assert marks == {
        ("alpha:latest", "old"): ["≠", NEW.digest[:12]],
        ("alpha:latest", "new"): "same",
        ("Beta:7b", "old"): "-",
        ("Beta:7b", "new"): "-",
    }
    table = fleet("models", "--by-model").stdout
    assert f"≠ {NEW.digest[:12]}  old {OLD.digest[:12]} ≠ pin, new {NEW.digest[:12]}\n" in table


def test_tables_of_models_have_no_column_of_pins_while_nothing_differs(fleet: Cli) -> None:
    fleet("pin", "set", "beta:7b")
    assert "PIN" not in fleet("models").stdout
    assert "PIN" not in fleet("models", "--by-model").stdout


def test_mark_is_whole_on_a_narrow_terminal(fleet: Cli, spawn: Spawn) -> None:
    fleet("pin", "set", "alpha", "--server", "new")
    for words in (["models"], ["models", "--by-model"]):
        shown = spawn(*words, terminals=("stdout",), columns=80).ended().stdout
        assert f"≠ {NEW.digest[:12]}" in shown
        lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
        assert all(len(line) <= 80 for line in lines)


def test_build_that_only_differs_from_the_pin_is_marked_by_name(cli: Cli, serve: Serve) -> None:
    add(cli, "old", serve(OLD).url)
    cli("discover")
    cli("pin", "set", "alpha", "--digest", NEW.digest)
    row = cli("models", "--by-model").stdout.splitlines()[1]
    assert row.split() == [
        "alpha:latest",
        "1",
        OLD.digest[:12],
        "≠",
        NEW.digest[:12],
        "old",
        "≠",
        "pin",
    ]


def test_discovery_tells_which_builds_are_not_the_pinned_ones(fleet: Cli) -> None:
    fleet("pin", "set", "alpha", "--server", "new")
    off_pin = {
        result["server"]["name"]: result["off_pin"]
        for result in fleet.json("discover").data["results"]
    }
    assert off_pin == {
        "old": [{"name": "alpha:latest", "digest": OLD.digest, "pinned": NEW.digest}],
        "new": [],
    }
    ran = fleet("discover")
    assert ran.exit_code == 0
    shown = f"{OLD.digest[:12]}, not the pinned {NEW.digest[:12]}"
    assert ran.stderr == f"note: alpha:latest on old is build {shown}\n"
