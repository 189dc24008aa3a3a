"""The map is true: what the documentation calls the steps of the program are the steps it takes."""

import re
import shutil
import signal
import urllib.request
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Registry
from tests import tracing
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread
from tests.tracing import Entry

ROOT = Path(__file__).parents[1]
PROMISES = (ROOT / "docs" / "promise.md", ROOT / "docs" / "ru" / "promise.md")
ARCHITECTURE = ROOT / "docs" / "architecture.md"
TOKEN = "a-token-of-this-test-alone"

MOST_FILE_CHANGES = 80  # of one answer by the one server that may give it
NAMED = re.compile(r"`(ollama_admin/[\w/]+\.py)`:\s+((?:`[A-Za-z_][\w.]*`(?:, |,? and |,? и )?)+)")

pytestmark = pytest.mark.timeout(180)


class Traces:
    """What one run of each command entered; each is run once."""

    def __init__(self, folder: Path, database: Path, url: str, open_url: str) -> None:
        self._environ = {
            "OLLAMA_ADMIN_DATABASE_URL": f"sqlite:///{database}",
            "OLLAMA_ADMIN_API_TOKEN": TOKEN,
        }
        self._folder = folder
        self.of("server", "add", "gpu", url, "--auth", "bearer", "--secret-env", "SECRET")
        self.of("server", "add", "open", open_url)
        self.discover = self.of("discover")
        self.generate = self.of("generate", "-m", "alpha", "hi")

    def of(self, *words: str, code: int = 0) -> list[Entry]:
        environ = self._environ | {"SECRET": "a-secret"}
        return tracing.traced(*words, folder=self._folder, environ=environ, code=code)

    def fleet_file(self) -> str:
        """A file with one server more."""
        path = self._folder / "fleet.yaml"
        path.write_text("version: 1\nowner: team\nservers:\n  - {name: new, url: 'http://n:1'}\n")
        return str(path)

    def migrate(self) -> list[Entry]:
        """Of `migrate`, on a database that has no tables yet."""
        environ = {"OLLAMA_ADMIN_DATABASE_URL": f"sqlite:///{self._folder}/new.db"}
        return tracing.traced("migrate", folder=self._folder, environ=environ)

    def serve(self) -> list[Entry]:
        """Of `serve`, with one answer by `/api/generate`."""
        program = tracing.start("serve", "--port", "0", folder=self._folder, environ=self._environ)
        assert program.stderr is not None
        lines = iter(program.stderr.readline, "")
        url = next(line for line in lines if "listening on" in line).split("listening on ")[1]
        request = urllib.request.Request(
            f"{url.split(',')[0].strip()}/api/generate",
            data=b'{"model":"alpha","prompt":"hi"}',
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            assert b'"done":true' in answer.read()
        program.send_signal(signal.SIGTERM)
        program.communicate()
        assert program.returncode == 0
        return tracing.read(self._folder / "trace.json")


@pytest.fixture(scope="module")
def traces(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite_file: Path
) -> Iterator[Traces]:
    folder = tmp_path_factory.mktemp("traces")
    database = Path(shutil.copy(migrated_sqlite_file, folder / "one.db"))
    registry = Registry([SimulatedModel("alpha")])
    fakes = [FakeOllama(SimulatedModel(name), registry=registry) for name in ("alpha", "beta")]
    with FakeOllamaThread(fakes[0]) as one, FakeOllamaThread(fakes[1]) as other:
        yield Traces(folder, database, one.url, other.url)


def named(text: str) -> list[tuple[str, str]]:
    """The functions that a text names, each with its file, in their order."""
    pairs = []
    for match in NAMED.finditer(text):
        pairs += [(match[1], name) for name in re.findall(r"`([\w.]+)`", match[2])]
    return pairs


def is_entered(file: str, name: str, entries: Sequence[Entry]) -> bool:
    """Whether a function was entered, or a method of a class."""
    return any(
        entry.file == file and (entry.function == name or entry.function.startswith(f"{name}."))
        for entry in entries
    )


@pytest.mark.parametrize("path", PROMISES, ids=lambda path: path.parent.name)
def test_the_six_steps_of_a_command_are_what_generate_does(path: Path, traces: Traces) -> None:
    text = path.read_text(encoding="utf-8")
    steps = re.findall(r"^[1-6]\. (.*?)(?=^[1-6]\. |\n\n)", text, re.MULTILINE | re.DOTALL)
    steps = [step for step in steps if "ollama_admin/" in step]
    assert len(steps) == 6
    firsts = [named(step)[0] for step in steps]
    entered = [(entry.file, entry.function) for entry in traces.generate]
    assert [entered.index(first) for first in firsts] == sorted(map(entered.index, firsts))
    missing = [
        pair for step in steps for pair in named(step) if not is_entered(*pair, traces.generate)
    ]
    assert missing == []


@pytest.mark.parametrize("path", PROMISES, ids=lambda path: path.parent.name)
def test_what_is_said_to_judge_is_what_judges(path: Path, traces: Traces) -> None:
    text = path.read_text(encoding="utf-8")
    judges = named(text[text.index("`ollama_admin/rules/answers.py`") :])[:2]
    assert [name for _, name in judges] == ["Answer.take", "judge"]
    assert all(is_entered(*judge, traces.generate) for judge in judges)


def test_every_function_that_the_architecture_names_is_entered(traces: Traces) -> None:
    """By some command that is run here; only what is data, and so never entered, is left out."""
    text = ARCHITECTURE.read_text(encoding="utf-8")
    entries = traces.generate + traces.discover + traces.serve() + traces.migrate()
    entries += traces.of("server", "list") + traces.of("doctor")
    entries += traces.of("pull", "alpha", "--on", "open", "-o", "json")
    entries += traces.of("diff", "gpu", "open", code=7)
    entries += traces.of("sync", "--from", "open", "--to", "gpu", "--dry-run")
    entries += traces.of("outdated", "--registry", "http://127.0.0.1:9", code=6)
    entries += traces.of("ps", "open") + traces.of("show", "alpha")
    entries += traces.of("unload", "alpha", "--on", "open")
    entries += traces.of("apply", traces.fleet_file(), "--yes")
    entries += traces.of("export") + traces.of("export", "--to", "litellm")
    entries += traces.of("generate", "--explain", "-m", "alpha")
    entries += traces.of("generate", "-s", "gpu", "-m", "nothing", "hi", code=3)
    data = {"Question", "Route", "Terms", "Caller", "Patience", "Response", "RequestOptions"}
    missing = [
        (file, name)
        for file, name in named(text)
        if name not in data and not is_entered(file, name, entries)
    ]
    assert missing == []


def test_server_list_goes_down_as_the_architecture_says(traces: Traces) -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    paragraph = text[text.index("`server list` is") :].partition("\n\n")[0]
    entered = [(entry.file, entry.function) for entry in traces.of("server", "list")]
    steps = [entered.index(pair) for pair in named(paragraph.partition("[How a\ncommand runs]")[0])]
    assert len(steps) == 4
    assert steps == sorted(steps)


def test_one_answer_changes_file_as_seldom_as_a_reader_can_follow(traces: Traces) -> None:
    """Of a client that has answered before, without credentials: what is loaded and opened once is
    no part of it. Nor is what comes in between on a busy machine, so the fewest of some count.
    """

    def changes() -> int:
        entries = traces.of("--client", "beta")
        files = [entry.file for entry in entries if entry.is_step and entry.is_main]
        return sum(one != other for one, other in pairwise(files))

    assert min(changes() for _ in range(3)) < MOST_FILE_CHANGES


def test_the_name_of_the_model_is_taken_apart_once(traces: Traces) -> None:
    parses = [entry.function for entry in traces.generate if entry.function == "_split_tag"]
    assert len(parses) == 1
