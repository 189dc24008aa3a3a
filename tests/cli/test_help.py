"""Pages of help: what somebody sees who knows nothing yet."""

import re

import pytest

from ollama_admin.cli.help import EXAMPLES
from ollama_admin.domain.times import keep_alive_of
from tests.cli.running import Cli, commands
from tests.test_readme import parse, words_of

GROUPS = ("server", "pin", "key", "audit", "receipts", "db", "secrets")
PAGES = {"", *GROUPS, *map(" ".join, commands())}


@pytest.mark.parametrize("words", [(), *((group,) for group in GROUPS)], ids=" ".join)
def test_command_that_holds_others_shows_its_help_alone(
    sqlite_cli: Cli, words: tuple[str, ...]
) -> None:
    ran = sqlite_cli(*words)
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout == sqlite_cli(*words, "--help").stdout


def test_every_page_has_examples_and_no_other_has() -> None:
    assert set(EXAMPLES) == PAGES
    assert all(EXAMPLES.values())


@pytest.mark.parametrize("path", sorted(PAGES))
def test_page_shows_its_examples_and_no_types_of_python(sqlite_cli: Cli, path: str) -> None:
    page = sqlite_cli(*path.split(), "--help").stdout
    examples = page.partition("\nExamples:\n")[2]
    assert [line.strip() for line in examples.splitlines()] == list(EXAMPLES[path])
    assert not re.search(r"<(list|str|int|float|bool|Path)\b|\{", page)


@pytest.mark.parametrize("path", sorted(PAGES))
def test_examples_are_of_their_command_and_parse(path: str) -> None:
    for line in EXAMPLES[path]:
        words = words_of(line)
        assert words[: len(path.split())] == path.split()
        parse(words)


def test_options_of_generate_stand_in_groups(sqlite_cli: Cli) -> None:
    page = sqlite_cli("generate", "--help").stdout
    headings = re.findall(r"^([A-Z].*):$", page, re.MULTILINE)
    assert headings == [
        *("Arguments", "Who answers", "What to say", "How long", "Which build"),
        *("What may happen", "Output", "Options", "Credentials", "Examples"),
    ]
    largest = max(len(re.findall(r"^  -", part, re.MULTILINE)) for part in page.split("\n\n"))
    assert largest <= 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("generate", "--wait", "soon", "hi"),
            "'soon' is not a length of time such as 30, 5m or 2h",
        ),
        (("discover", "--concurrency", "many"), "'many' is not a whole number"),
        (("serve", "--port", "70000"), "'70000' is not a whole number from 0 to 65535"),
        (("serve", "--workers", "0"), "'0' is not a whole number of 1 or more"),
        (("-o", "xml", "server", "list"), "'xml' is not one of table, json"),
        (("server", "add", "a", "b", "--auth", "x"), "is not one of none, basic, bearer, api_key"),
    ],
)
def test_value_that_is_refused_is_told_in_plain_words(
    sqlite_cli: Cli, words: tuple[str, ...], message: str
) -> None:
    ran = sqlite_cli(*words)
    assert ran.exit_code == 2
    assert ran.stderr.splitlines()[0].endswith(message)
    assert "Input should" not in ran.stderr


@pytest.mark.parametrize("path", sorted(set(map(" ".join, commands())) - {"demo"}))
def test_option_without_its_value_names_the_page_of_its_own_command(
    sqlite_cli: Cli, path: str
) -> None:
    ran = sqlite_cli(*path.split(), "--output")
    assert ran.stderr.splitlines()[1] == f"hint: see: ollama-admin {path} --help"


# lengths of time

LENGTHS_OF_TIME = {
    ("generate", "--timeout"),
    ("generate", "--wait"),
    ("chat", "--timeout"),
    ("chat", "--wait"),
    ("embed", "--timeout"),
    ("embed", "--wait"),
    ("discover", "--timeout"),
    ("server drain", "--timeout"),
    ("serve", "--grace"),
    ("migrate", "--wait"),
    ("migrate", "--lock-timeout"),
    ("top", "--every"),
    ("key rotate", "--overlap"),
}


def test_a_length_of_time_is_spelt_in_one_way_everywhere() -> None:
    seconds = {"30": 30, "0.5": 0.5, "45s": 45, "5m": 300, "2h": 7200, "1d": 86_400}
    checked = set()
    for words, command in commands().items():
        name = " ".join(words)
        for parameter in command.params:
            if (name, parameter.opts[-1]) not in LENGTHS_OF_TIME:
                is_number = parameter.type_descriptor.annotation is float
                assert not is_number, f"{name} {parameter.opts}"
                continue
            checked.add((name, parameter.opts[-1]))
            assert parameter.metavar == "D"
            for text, value in seconds.items():
                assert parameter.process_value(None, text) == value
    assert checked == LENGTHS_OF_TIME


@pytest.mark.parametrize(("text", "value"), [("30", 30), ("5m", "5m"), ("1d", 86_400), ("-1", -1)])
def test_a_day_is_a_day_for_ollama_too_which_knows_none(text: str, value: int | str) -> None:
    assert keep_alive_of(text) == value
