"""`ollama-admin key ...`"""

import json

import pytest

from tests.cli.running import Cli

KEY_FIELDS = [
    *("id", "name", "public_id", "can", "models", "servers", "networks"),
    *("allow_remote", "allow_truncate", "anonymous", "is_active"),
    *("max_concurrent", "weight", "requests_per_minute", "tokens_per_day"),
    *("expires_at", "last_used_at", "note", "old_secret_expires_at", "created_at", "updated_at"),
    "managed_by",
]


def test_key_is_shown_once_alone_on_stdout(cli: Cli) -> None:
    ran = cli("key", "add", "team")
    assert ran.exit_code == 0
    assert ran.stdout.startswith("oadm_")
    [text] = ran.stdout.splitlines()
    assert len(text) == 57
    assert text not in ran.stderr
    lines = ran.stderr.splitlines()
    assert lines[0] == "note: added key 1, team; its text is shown this once"
    for client in ("OLLAMA_HOST=", "OPENAI_API_KEY=", "ANTHROPIC_AUTH_TOKEN="):
        assert client in ran.stderr
    for words in (["list"], ["show", "team"], ["show", "1", "-o", "json"], ["list", "-o", "json"]):
        assert text[14:] not in cli("key", *words).stdout


def test_json_of_a_key_has_every_field_and_its_text_this_once(cli: Cli) -> None:
    added = cli.json(
        *("key", "add", "team", "--can", "read", "--can", "ask", "--model", "qwen*"),
        *("--model", "llama3.2", "--server", "gpu-*", "--allow-remote", "--network", "10.0.0.0/8"),
        *("--weight", "3", "--expires-at", "2999-01-31", "--note", "of the team"),
    ).data
    assert list(added) == [*KEY_FIELDS, "key"]
    text = added.pop("key")
    assert text.startswith(f"oadm_{added['public_id']}_")
    assert added == cli.json("key", "show", "team").data
    shown = {name: added[name] for name in ("can", "models", "servers", "networks", "weight")}
    assert shown == {
        "can": ["ask", "read"],
        "models": ["qwen*", "llama3.2"],
        "servers": ["gpu-*"],
        "networks": ["10.0.0.0/8"],
        "weight": 3,
    }
    assert (added["expires_at"], added["allow_remote"]) == ("2999-01-31T00:00:00Z", True)
    assert cli.json("key", "list").data == [added]


def test_list_marks_revoked_keys(cli: Cli) -> None:
    for name in ("beta", "alpha"):
        cli("key", "add", name)
    assert cli("key", "revoke", "beta").stdout == "revoked key 1, beta\n"
    heading, first, second = [line.split() for line in cli("key", "list").stdout.splitlines()]
    assert heading[:7] == ["ID", "NAME", "CAN", "MODELS", "SERVERS", "STATE", "USED"]
    assert first[:7] == ["2", "alpha", "ask", "all", "all", "active", "-"]
    assert second[:7] == ["1", "beta", "ask", "all", "all", "revoked", "-"]
    ids = [key["id"] for key in cli.json("key", "list", "--sort", "id").data]
    assert ids == [1, 2]


def test_no_keys_are_an_empty_list_and_a_note(cli: Cli) -> None:
    ran = cli("key", "list")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert ran.stderr == "note: no keys; add one with: ollama-admin key add NAME\n"
    assert cli.json("key", "list").data == []


def test_update_says_what_it_was_and_what_it_is(cli: Cli) -> None:
    cli("key", "add", "team", "--model", "a*", "--note", "x")
    ran = cli("key", "update", "team", "--can", "admin", "--clear", "models", "--name", "boss")
    assert ran.stdout == (
        "changed key 1, boss\n  name: team -> boss\n  can: ask -> admin\n  models: a* -> -\n"
    )
    assert (
        cli("key", "update", "boss", "--name", "boss").stdout == "nothing changed in key 1, boss\n"
    )
    refused = cli.json("key", "update", "boss", "--can", "ask")
    assert refused.failure == (4, "conflict")
    assert cli("key", "update", "boss", "--can", "ask", "--force").exit_code == 0


def test_rotated_key_has_another_text(cli: Cli) -> None:
    first = cli("key", "add", "team").stdout
    ran = cli("key", "rotate", "team", "--overlap", "7d")
    assert ran.stdout[:14] == first[:14]
    assert ran.stdout[14:] != first[14:]
    assert "note: the old text is taken until 20" in ran.stderr


def test_last_administrator_stays_unless_forced(cli: Cli) -> None:
    cli("key", "add", "boss", "--can", "admin")
    for words in (("revoke", "boss"), ("remove", "boss", "--yes")):
        ran = cli("key", *words)
        assert ran.exit_code == 4
        assert ran.stderr == (
            "error: boss is the last key that may administrate\n"
            "hint: add another one first: ollama-admin key add NAME --can admin; or insist with "
            "--force\n"
        )
    removed = cli("-o", "json", "key", "remove", "boss", "--yes", "--force")
    assert json.loads(removed.stdout) == {"removed": {"id": 1, "name": "boss"}}


def test_remove_asks(cli: Cli) -> None:
    cli("key", "add", "team")
    assert cli.json("key", "remove", "team").failure == (2, "invalid_input")
    assert cli("key", "remove", "team", "--yes").stdout == "removed key 1, team\n"
    assert cli.json("key", "show", "team").failure == (3, "not_found")


WRONG = {
    ("add", "team", "--can", "x"): "a right in 'x' is not known",
    ("add", "team", "--expires-at", "2020-01-01"): "the time '2020-01-01' is over",
    ("add", "team", "--expires-at", "soon"): "'soon' is neither a date or time nor an age",
    ("add", "team", "--network", "here"): "'here' is not a network",
    ("add", "team", "--weight", "0"): "weight must be a whole number from 1",
    ("add", "team", "--anonymous"): "names no network",
    ("rotate", "old", "--overlap", "31d"): "an overlap is from 0 to 30 days",
    ("rotate", "old", "--overlap", "x"): "'x' is not a length of time",
    ("update", "old"): "no change was given",
    ("update", "old", "--clear", "can"): "'can' cannot be cleared",
    ("add", "old"): "the name 'old' is taken",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_input_changes_nothing_and_is_said(cli: Cli, words: tuple[str, ...]) -> None:
    cli("key", "add", "old")
    before = cli.json("key", "list").data
    ran = cli("key", *words)
    assert ran.exit_code in (2, 4)
    assert ran.stderr.startswith("error: ")
    assert WRONG[words] in ran.stderr
    assert cli.json("key", "list").data == before
