"""No variable and no `.env` file but our own settings changes what a command does."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from ollama_admin.simulator.model import SimulatedModel
from tests.cli.running import Cli, Process, commands
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread

# Each command as a user types it; FAKE is the server that is named. Nothing listens at the https
# URL, but to ask there the certificates are loaded.
RUNS: dict[tuple[str, ...], list[list[str]]] = {
    ("server", "add"): [["two", "10.0.0.2", "--no-check"], ["two", "FAKE/prefix", "--discover"]],
    ("server", "list"): [[], ["-o", "json"]],
    ("server", "show"): [["one"], ["one", "-o", "json"]],
    ("server", "update"): [["one", "--priority", "3", "--check"]],
    ("server", "remove"): [["one", "--yes"]],
    ("server", "enable"): [["one"]],
    ("server", "disable"): [["one"]],
    ("server", "set-default"): [["one"]],
    ("server", "check"): [[], ["-o", "json"]],
    ("discover",): [[], ["one", "-o", "json"]],
    ("models",): [[], ["--by-model"], ["-o", "json"]],
    ("generate",): [
        ["hi"],
        ["hi", "-m", "beta"],
        ["hi", "-s", "one", "--no-stream"],
        ["hi", "--server-url", "FAKE", "-m", "alpha"],
        ["hi", "--server-url", "FAKE/v1", "-m", "alpha"],
        ["hi", "--server-url", "https://127.0.0.1:9", "-m", "alpha"],
        ["hi", "-m", "missing"],
    ],
    ("pin", "set"): [["alpha"], ["alpha", "--server", "one", "-o", "json"], ["missing"]],
    ("pin", "list"): [[], ["-o", "json"]],
    ("pin", "remove"): [["alpha"]],
    ("server", "drain"): [["one", "--timeout", "1"]],
    ("server", "resume"): [["one"]],
    ("ps",): [[], ["one", "-o", "json"]],
    ("top",): [["--once"]],
    ("show",): [["alpha"], ["missing"]],
    ("diff",): [["one", "one"]],
    ("validate",): [["fleet.yaml"]],
    ("plan",): [["fleet.yaml"]],
    ("apply",): [["fleet.yaml", "--yes"]],
    ("export",): [[], ["--to", "env"]],
    ("outdated",): [["alpha", "--registry", "FAKE"]],
    ("sync",): [
        ["--from", "one", "--to", "one", "--dry-run"],
        ["--from", "missing", "--to", "one"],
    ],
    ("pull",): [["alpha", "--on", "one"], ["missing", "--on", "one"]],
    ("load",): [["alpha", "--on", "one"]],
    ("unload",): [["alpha", "--on", "one"]],
    ("cp",): [["alpha", "gamma", "--on", "one"]],
    ("rm",): [["missing", "--on", "one", "--yes"]],
    ("embed",): [["a text", "-m", "alpha"]],
    ("chat",): [["-m", "alpha"]],
    ("key", "add"): [["team"]],
    ("key", "list"): [[]],
    ("key", "show"): [["1"]],
    ("key", "update"): [["1", "--weight", "2"]],
    ("key", "rotate"): [["1"]],
    ("key", "revoke"): [["1"]],
    ("key", "remove"): [["1", "--yes"]],
    ("audit", "list"): [["--refused"]],
    ("usage",): [[]],
    ("receipts", "list"): [[], ["-o", "json"]],
    ("receipts", "show"): [["1"]],
    ("receipts", "stats"): [[], ["-o", "json"]],
    ("receipts", "prune"): [["--yes"]],
    ("audit", "prune"): [["--yes"]],
    ("import-env",): [["legacy.env"], ["legacy.env", "--dry-run"], ["legacy.env", "--discover"]],
    ("migrate",): [[], ["--check"], ["--status"]],
    ("db", "copy"): [["sqlite:///missing.db", "sqlite:///new.db"]],
    ("db", "backup"): [["new.db", "--yes"]],
    ("db", "restore"): [["missing.db", "--yes"]],
    ("secrets", "status"): [[], ["-o", "json"]],
    ("secrets", "rotate"): [["-o", "json"]],
    ("secrets", "generate-key"): [[]],
    ("doctor",): [[]],
    ("serve",): [["--grace", "-1"]],  # refused at once; one that serves is tried below
    ("demo",): [[]],
}
OF_THEIR_OWN = {
    ("demo",),
    ("doctor",),
    ("secrets", "generate-key"),
    ("key", "add"),
    ("key", "rotate"),
}  # say something else each time, or name the traps
CASES = [
    (*command, *words)
    for command, runs in RUNS.items()
    for words in runs
    if command not in OF_THEIR_OWN
]

VARIABLES = [
    *(
        "OLLAMA_HOST",
        "OLLAMA_BASE_URL",
        "OLLAMA_URL",
        "OLLAMA_URL_1",
        "OLLAMA_API_BASE",
        "OPENAI_BASE_URL",
    ),
    *(
        "OPENAI_API_BASE",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ),
]


@dataclass(frozen=True, slots=True)
class Trap:
    """The server that every variable names."""

    server: FakeOllamaThread
    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        others = {
            "OLLAMA_MODEL": "trap",
            "OLLAMA_DEFAULT_MODEL": "trap",
            "OLLAMA_API_KEY": "trap",
            "OPENAI_API_KEY": "trap",
            "NO_PROXY": "",
            "SSL_CERT_FILE": str(self.folder / "missing.pem"),
            "SSL_CERT_DIR": str(self.folder / "missing"),
            "NETRC": str(self.folder / "netrc"),
        }
        return dict.fromkeys(VARIABLES, self.server.url) | others

    def set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Into the environment, into `.env` (with a database besides), and a password for every
        machine.
        """
        for name, value in self.environ.items():
            monkeypatch.setenv(name, value)
        lines = [f"{name}={value}\n" for name, value in self.environ.items()]
        database = f"OLLAMA_ADMIN_DATABASE_URL=sqlite:///{self.folder / 'trap.db'}\n"
        (self.folder / ".env").write_text("".join([*lines, database]))
        for netrc in (self.folder / "netrc", self.folder / "home" / ".netrc"):
            netrc.write_text(
                "machine 127.0.0.1 login trap password trap\ndefault login trap password trap\n"
            )

    def assert_untouched(self) -> None:
        assert self.server.requests() == []
        assert not (self.folder / "trap.db").exists()


@pytest.fixture
def fake() -> Iterator[FakeOllamaThread]:
    with FakeOllamaThread(FakeOllama(SimulatedModel("alpha"), SimulatedModel("beta"))) as thread:
        yield thread


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Trap]:
    held = (SimulatedModel(name, says="I am the trap") for name in ("trap", "alpha", "beta"))
    with FakeOllamaThread(FakeOllama(*held)) as thread:
        yield Trap(thread, tmp_path)


@pytest.fixture
def prepared(
    migrated_sqlite_file: Path,
    fake: FakeOllamaThread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], None]:
    """Puts the database back: server `one`, discovered, the default one."""
    database, backup = tmp_path / "one.db", tmp_path / "backup.db"
    shutil.copy(migrated_sqlite_file, database)
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", f"sqlite:///{database}")
    added = Cli()(
        "server", "add", "one", fake.url, "--default", "--default-model", "alpha", "--discover"
    )
    assert added.exit_code == 0, added
    shutil.copy(database, backup)
    (tmp_path / "fleet.yaml").write_text(
        "version: 1\nowner: team\nservers: [{name: two, url: http://10.0.0.2}]\n"
    )
    (tmp_path / "legacy.env").write_text(f"OLLAMA_HOST={fake.url}\nOLLAMA_MODEL=beta\n")
    return lambda: shutil.copy(backup, database)


def typed(words: tuple[str, ...], fake: FakeOllamaThread) -> list[str]:
    return [word.replace("FAKE", fake.url) for word in words]


def outcome(words: list[str]) -> tuple[int, str, str]:
    """What a run gives, but for what differs from run to run."""
    ran = Cli()(*words)
    return ran.exit_code, _timeless(ran.stdout), _timeless(ran.stderr)


def _timeless(text: str) -> str:
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
    text = re.sub(r"just now|\d+ seconds? ago", "AGE", text)
    text = re.sub(r"TIME +", "TIME ", text)  # the column is as wide as its longest time
    return re.sub(r'\d+ ms *|[\d.]+ s\b *|"ms": \d+', "MS ", text)


def test_every_command_is_tried() -> None:
    assert commands().keys() == RUNS.keys()


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_command_behaves_as_without_the_traps(
    prepared: Callable[[], None],
    fake: FakeOllamaThread,
    trap: Trap,
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    typed_words = typed(words, fake)
    expected = outcome(typed_words)
    asked = [
        (request.method, request.path, request.headers, request.raw) for request in fake.requests()
    ]
    prepared()
    trap.set(monkeypatch)
    before = len(fake.requests())
    assert outcome(typed_words) == expected
    again = [
        (request.method, request.path, request.headers, request.raw)
        for request in fake.requests()[before:]
    ]
    assert again == asked[len(asked) - len(again) :]
    assert not any("authorization" in request.headers for request in fake.requests())
    trap.assert_untouched()


def test_process_started_among_the_traps_answers_as_asked(
    prepared: Callable[[], None],
    fake: FakeOllamaThread,
    trap: Trap,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trap.set(monkeypatch)
    process = Process("generate", "-m", "beta", "hi")
    ran = process.ended()
    process.close()
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "I am alpha", "")
    assert [
        request.body["model"] for request in fake.requests() if request.path == "/api/generate"
    ] == ["beta:latest"]
    trap.assert_untouched()


def test_service_started_among_the_traps_answers_as_asked(
    prepared: Callable[[], None],
    fake: FakeOllamaThread,
    trap: Trap,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trap.set(monkeypatch)
    monkeypatch.setenv("OLLAMA_ADMIN_API_TOKEN", "token")
    process = Process("serve", "--port", "0")
    process.until_stderr(b"/docs\n")
    url = process.stderr_so_far.partition(b"listening on ")[2].partition(b",")[0].decode()
    body = {"model": "beta", "prompt": "hi", "stream": False}
    headers = {"Authorization": "Bearer token"}
    answer = httpx.post(
        f"{url}/api/generate", json=body, headers=headers, trust_env=False, timeout=50
    )
    process.terminate()
    ran = process.ended()
    process.close()
    assert (ran.exit_code, answer.json()["response"]) == (0, "I am alpha")
    assert answer.headers["x-ollama-admin-server"]
    assert [r.path for r in fake.requests()].count("/api/generate") == 1
    trap.assert_untouched()


def test_demo_among_the_traps_is_the_same_demo(
    trap: Trap, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    trap.set(monkeypatch)
    process = Process("demo")
    ran = process.ended()
    process.close()
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert "\nHello! This is qwen3-vl:8b, the model that was named.\n" in ran.stdout
    assert "trap" not in ran.stdout.replace(str(tmp_path), "")
    trap.assert_untouched()


def test_import_of_the_environment_is_the_one_that_reads_it(
    prepared: Callable[[], None], trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap.set(monkeypatch)
    assert trap.server.url in {server["url"] for server in _imported("--environ")}
    assert trap.server.url in {server["url"] for server in _imported()}
    assert trap.server.requests() == []


def _imported(*words: str) -> list[dict[str, str]]:
    Cli()("import-env", *words)
    return Cli().json("server", "list").data


def test_every_variable_is_set_in_both_spellings(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap.set(monkeypatch)
    for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        assert os.environ[proxy] == os.environ[proxy.lower()] == trap.server.url


def test_doctor_names_the_traps_and_asks_none_of_them(
    prepared: Callable[[], None], trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared()
    trap.set(monkeypatch)
    report = outcome(["doctor", "-o", "json"])
    assert all(
        f'"{name}"' in str(report)
        for name in ("OLLAMA_HOST", "HTTP_PROXY", "SSL_CERT_FILE", "OLLAMA_MODEL")
    )
    trap.assert_untouched()


def test_new_key_is_made_among_the_traps(
    prepared: Callable[[], None], trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared()
    trap.set(monkeypatch)
    assert outcome(["secrets", "generate-key"]) != outcome(["secrets", "generate-key"])
    trap.assert_untouched()
