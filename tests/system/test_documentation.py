"""What the pages of `docs/` show is typed as it stands there, each page as one story.

`RUN` and `NOT_RUN` in `tests/test_readme.py` say which blocks that are, and why others are not.
"""

import asyncio
import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from ollama_admin.client import Client
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Registry
from tests.api.service import TOKEN, Service
from tests.certificates import Authority
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread
from tests.model_registry import ModelRegistry, encoded, manifest_of
from tests.postgres import PostgresServer
from tests.system.shell import environment, typed
from tests.test_readme import blocks_of, sections_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

MODEL = "llama3.2:3b"
SERVE = "http://127.0.0.1:8421"
SECRET_KEY = "k" * 43 + "="
BEGIN = """
ollama-admin server add first {first}
ollama-admin server add second {second}
ollama-admin discover
ollama-admin generate --model "$MODEL" Hello
"""


class Story:
    """A folder with two servers that hold the same models, in which shell scripts are run."""

    def __init__(self, folder: Path, database: Path, first: str, second: str) -> None:
        self.folder = folder
        self.database = database
        self.environ = {
            "OLLAMA_ADMIN_DATABASE_URL": f"sqlite:///{database}",
            "OLLAMA_ADMIN_SECRET_KEY": SECRET_KEY,
            "OLLAMA_ADMIN_API_TOKEN": TOKEN,
            "MODEL": MODEL,
        }
        self.begin = BEGIN.format(first=first, second=second)

    def run(self, *blocks: str) -> str:
        """What the blocks print, typed one after the other; each command must end with 0."""
        return typed("".join([self.begin, *blocks]), self.folder, self.environ)


@pytest.fixture
def story(tmp_path: Path, migrated_sqlite_file: Path) -> Iterator[Story]:
    database = Path(shutil.copy(migrated_sqlite_file, tmp_path / "one.db"))
    models = [SimulatedModel(MODEL, says="Rayleigh"), SimulatedModel("qwen3:8b")]
    registry = Registry(models)
    fakes = [FakeOllama(*models, registry=registry) for _ in range(2)]
    with FakeOllamaThread(fakes[0]) as one, FakeOllamaThread(fakes[1]) as other:
        yield Story(tmp_path, database, one.url, other.url)


def put(text: str, what: str, instead: str) -> str:
    assert what in text, what
    return text.replace(what, instead)


def test_pins(story: Story) -> None:
    out = story.run(*blocks_of("docs/promise.md", "Pins"))
    assert "removed" in out


def test_groups_and_differences(story: Story) -> None:
    """With a registry of the test in place of ollama.com, and a `serve` at another port."""
    fleet = sections_of("docs/fleet.md")
    groups, drain = fleet["Groups"]
    [top] = fleet["What is going on"]
    [differences] = fleet["Differences"]
    bodies = {f"library/{name}": encoded(manifest_of(name)) for name in (MODEL, "qwen3:8b")}
    registry = FakeOllamaThread(ModelRegistry(**bodies))
    with registry, Service(f"sqlite:///{story.database}") as service:
        differences = put(differences, "https://mirror.example", registry.url)
        # the builds of the registry are others: exit code 7
        differences = re.sub(
            r"(?m)^(ollama-admin outdated)(?: +#.*)$", rf"\1 --registry {registry.url}", differences
        )
        differences = re.sub(r"(?m)^(ollama-admin outdated.*)$", r"\1 || test $? = 7", differences)
        out = story.run(groups, drain, put(top, SERVE, service.url), differences)
    assert "gpu=a100" in out
    assert "Rayleigh" in out


def test_keys_audit_and_receipts(story: Story) -> None:
    keys = sections_of("docs/keys.md")
    scrape = blocks_of("docs/metrics.md", "Scrape")
    out = story.run(*keys["Keys"], *keys["Audit"], *keys["Receipts"], *scrape)
    assert out.count("oadm_") >= 5  # four keys, and the other text of one
    assert '"action": "key.add"' in out


def test_the_fleet_as_a_file(story: Story) -> None:
    """The fleet that is there becomes a file, in the words of both pages; `apply` is told yes."""
    [summary] = blocks_of("docs/fleet.md", "The fleet as a file")
    checks, begin = blocks_of("docs/as-code.md", "The fleet as a file")
    checks = put(checks, "apply fleet.yaml ", "apply fleet.yaml --yes ")
    summary = put(summary, "apply fleet.yaml --pull ", "apply fleet.yaml --pull --yes ")
    out = story.run(summary, begin, checks)
    assert "error:" not in out
    assert "nothing to do: the fleet is as the file says" in out
    asked_over_http_and_from_python(story)


def asked_over_http_and_from_python(story: Story) -> None:
    [over_http] = blocks_of("docs/as-code.md", "Over HTTP and from Python")
    [in_python] = sections_of("docs/as-code.md", "python")["Over HTTP and from Python"]
    with Service(f"sqlite:///{story.database}") as service:
        shell = {
            "AUTH": f"Authorization: Bearer {TOKEN}",
            "JSON": "Content-Type: application/json",
            "URL": service.url,
        }
        assert '"fingerprint"' in typed(over_http, story.folder, shell)
    example = "async def run(client, text):\n" + textwrap.indent(in_python, "    ")
    names: dict[str, object] = {}
    exec(example + "    return applied\n", names)

    async def applied() -> object:
        async with Client(database_url=f"sqlite:///{story.database}", environ={}) as client:
            return await names["run"](client, "version: 1\nowner: nobody\n")  # type: ignore[operator]

    assert asyncio.run(applied()) is not None


def test_certificates_of_a_server(story: Story) -> None:
    authority = Authority(story.folder, "test")
    issued = authority.issue("me")
    authority.file.rename(story.folder / "ca.pem")
    issued.key.rename(story.folder / "me.key")
    out = story.run(*blocks_of("docs/secrets.md", "Certificates and proxies of a server"))
    assert "error:" not in out


def test_a_database_is_made_and_copied(
    tmp_path: Path,
    empty_postgres_url: str,
    postgres_server: PostgresServer,
    migrated_sqlite_file: Path,
) -> None:
    example = "postgresql://user:password@localhost:5432/ollama_admin"
    begin, another_key = blocks_of("docs/database.md", "PostgreSQL")
    [copy] = blocks_of("docs/database.md", "Copies and backups")
    out = typed(put(begin, example, empty_postgres_url) + another_key, tmp_path, {})
    assert "the schema is at" in out
    source = shutil.copy(migrated_sqlite_file, tmp_path / "old.db")
    copy = put(copy, "sqlite:////var/lib/ollama-admin/ollama-admin.db", f"sqlite:///{source}")
    target = postgres_server.create_database()
    assert "copied and compared" in typed(put(copy, example, target), tmp_path, {})


def test_serve_is_one_url(story: Story) -> None:
    """The block without the line that installs, and at a port that is free."""
    [block] = blocks_of("docs/serve.md", "One URL for programs")
    install, _, script = block.partition("\n")
    assert install == "pip install '.[server]'"
    script = put(script, "ollama-admin serve", "exec ollama-admin serve --port 0")
    with subprocess.Popen(
        ["/bin/sh", "-e", "-c", script],
        cwd=story.folder,
        env=environment(story.folder) | story.environ,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert any("listening on" in line for line in iter(process.stderr.readline, ""))
        process.terminate()
        process.communicate()
    assert process.returncode == 0
