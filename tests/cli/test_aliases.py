"""Words that people of `ollama` type."""

import pytest

from tests.cli.conftest import Serve, Spawn
from tests.cli.running import Cli
from tests.cli.test_diff import discovered


@pytest.mark.parametrize("word", ["ls", "list"])
def test_a_list_of_models_has_three_names(cli: Cli, serve: Serve, word: str) -> None:
    discovered(cli, one=serve("alpha", "beta").url)
    assert cli(word, "--name", "a*").stdout == cli("models", "--name", "a*").stdout
    assert [model["name"] for model in cli.json(word).data] == ["alpha:latest", "beta:latest"]


def test_run_is_generate(cli: Cli, serve: Serve) -> None:
    discovered(cli, one=serve("alpha").url)
    assert cli("run", "alpha", "hi", "there").stdout == "I am alpha"
    assert cli("run", "-m", "alpha", stdin="hi").stdout == "I am alpha"


def test_run_without_a_prompt_is_chat_on_a_terminal(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn
) -> None:
    discovered(sqlite_cli, one=serve("alpha").url)
    talk = spawn("run", "alpha", terminals=("stdin", "stdout"), stdin=b"hi\n/bye\n")
    ran = talk.ended()
    assert ran.exit_code == 0
    assert "I am alpha" in ran.stdout
    ran = spawn("run", "alpha", "hi", terminals=("stdin", "stdout"), stdin=b"").ended()
    assert ran.stdout == "I am alpha\n"


def test_groups_know_ls_and_rm(cli: Cli, serve: Serve) -> None:
    discovered(cli, one=serve("alpha").url)
    assert cli("server", "ls").stdout == cli("server", "list").stdout
    assert cli("pin", "ls").exit_code == 0
    assert cli("server", "rm", "one", "--yes").exit_code == 0
    assert cli.json("server", "ls").data == []
    assert cli.json("secrets", "ls").failure == (2, "invalid_input")
    assert cli.json("rm", "one").failure == (2, "invalid_input")


def test_other_words_are_named_once_in_the_help(sqlite_cli: Cli) -> None:
    text = " ".join(sqlite_cli("--help").stdout.split())
    assert text.count("`ls` and `list` are `models`, and `run` is `generate`") == 1
    commands = text.partition("Commands: ")[2]
    assert " ls " not in commands
    assert " run " not in commands
