"""Each verb at three simulated servers and a real llama.cpp, of which one is killed meanwhile: by
command, from Python and over HTTP it costs its own row and no other.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.documents import document
from ollama_admin.simulator.http import Connection, RecordedRequest
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Registry
from tests.api.service import Service
from tests.cli.running import Cli
from tests.fake_ollama import FakeOllama, Fault
from tests.fake_ollama_thread import FakeOllamaThread
from tests.llama_server import LlamaServer

pytestmark = pytest.mark.system

ASKED = ("one", "two", "three", "llama")
KILLED = "two"
ON = [word for name in ASKED for word in ("--on", name)]
WHERE = {"servers": list(ASKED)}
Rows = Mapping[str, bool]  # whether each server did what was asked


@dataclass(slots=True)
class Killed(Fault):
    """The server stops with the request in hand."""

    stopping: asyncio.Task[None] | None = field(default=None)

    async def play(self, fake: FakeOllama, client: Connection, request: RecordedRequest) -> None:
        self.stopping = asyncio.get_running_loop().create_task(fake.stop())
        await asyncio.Event().wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """`dies_at` is the call with which the server is killed. The model of each door is one of its
    own, for what one door removes the next one would miss.
    """

    dies_at: str
    words: Callable[[str], Sequence[str]]
    python: Callable[[Client, str], Any]
    rest: Callable[[str], tuple[str, str, Any]]
    model: str = "held"
    able: tuple[str, ...] = ("one", "three")

    @property
    def tells_events(self) -> bool:
        """Whether a line is printed for each event, and the report as the last."""
        return self.dies_at == "/api/pull"


def verb(name: str, dies_at: str, model: str = "held") -> Verb:
    """A change of one model at servers."""
    method = {"rm": "remove"}.get(name, name)
    return Verb(
        dies_at=dies_at,
        words=lambda model: [name, model, *ON, *(["--yes"] if name == "rm" else [])],
        python=lambda client, model: getattr(client.fleet, method)(model, ASKED),
        rest=lambda model: ("POST", f"/api/fleet/{method}", WHERE | {"model": model}),
        model=model,
    )


VERBS = {
    "check": Verb(
        dies_at="/api/version",
        words=lambda _: ["server", "check", *ASKED],
        python=lambda client, _: client.servers.check(ASKED),
        rest=lambda _: ("EACH", "check", None),
        able=("one", "three", "llama"),
    ),
    "discover": Verb(
        dies_at="/api/tags",
        words=lambda _: ["discover", *ASKED],
        python=lambda client, _: client.discover(ASKED),
        rest=lambda _: ("POST", "/api/discover", None),
        able=("one", "three", "llama"),
    ),
    "ps": Verb(
        dies_at="/api/ps",
        words=lambda _: ["ps", *ASKED],
        python=lambda client, _: client.fleet.ps(ASKED),
        rest=lambda _: ("GET", "/api/fleet/ps?" + "&".join(f"server={n}" for n in ASKED), None),
        able=("one", "three", "llama"),
    ),
    "pull": verb("pull", "/api/pull", model="new"),
    "rm": verb("rm", "/api/delete"),
    "load": verb("load", "/api/generate"),
    "unload": verb("unload", "/api/ps"),
    "cp": Verb(
        dies_at="/api/copy",
        words=lambda model: ["cp", model, f"{model}:2", *ON],
        python=lambda client, model: client.fleet.copy(model, f"{model}:2", ASKED),
        rest=lambda model: (
            "POST",
            "/api/fleet/copy",
            WHERE | {"source": model, "destination": f"{model}:2"},
        ),
    ),
    "sync": Verb(
        dies_at="/api/pull",
        words=lambda model: [
            *("sync", "--from", "one", "--to", "two", "--to", "three", "--model", model, "--yes")
        ],
        python=lambda client, model: client.fleet.sync("one", ["two", "three"], model=model),
        rest=lambda model: (
            "POST",
            "/api/fleet/sync",
            {"source": "one", "servers": ["two", "three"], "model": model},
        ),
        model="first",
        able=("three",),
    ),
}


@pytest.fixture
def fleet(
    api: Service, llama_servers: tuple[LlamaServer, LlamaServer]
) -> Iterator[FakeOllamaThread]:
    held, new, first = (
        [SimulatedModel(f"{name}{door}") for door in range(3)] for name in ("held", "new", "first")
    )
    fakes = [FakeOllama(*held, registry=Registry(new + first)) for _ in range(3)]
    for model in first:
        fakes[0].models[f"{model.name}:latest"] = model
    with FakeOllamaThread(*fakes) as thread:
        for name, fake in zip(ASKED[:3], fakes, strict=True):
            api.ask("POST", "/api/servers", {"name": name, "url": fake.url})
        api.ask("POST", "/api/servers", {"name": "llama", "url": f"{llama_servers[0].url}/v1"})
        assert api.ask("POST", "/api/discover").json()["failed"] == 0
        yield thread


def by_command(_: Service, verb: Verb, model: str) -> Rows:
    ran = Cli().json(*verb.words(model))
    assert ran.exit_code == 7, ran
    if verb.tells_events:
        return rows_of(json.loads(ran.stdout.splitlines()[-1]))
    return rows_of(ran.json_of_any_end)


def by_python(service: Service, verb: Verb, model: str) -> Rows:
    assert service.opened is not None
    done = document(service.run(verb.python(service.opened, model)))
    return rows_of(done if isinstance(done, dict) else {"results": done})


def over_http(service: Service, verb: Verb, model: str) -> Rows:
    method, path, body = verb.rest(model)
    if method == "EACH":
        paths = [f"/api/servers/{id_}/{path}" for id_ in range(1, len(ASKED) + 1)]
        done = [service.ask("POST", path).json()["results"][0] for path in paths]
        return rows_of({"results": done})
    answer = service.ask(method, path, body)
    assert answer.status_code == 200, answer.text
    return rows_of(json.loads(answer.text.splitlines()[-1]))


def rows_of(report: Mapping[str, Any]) -> Rows:
    results = report.get("results") or report["pulled"]
    return {row["server"]["name"]: row["error"] is None for row in results}


@pytest.mark.parametrize("name", VERBS)
def test_a_server_that_is_killed_costs_its_own_row_by_each_door(
    api: Service,
    database_url: str,
    fleet: FakeOllamaThread,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", database_url)
    verb, victim = VERBS[name], fleet.fakes[1]
    for door, asked in enumerate((by_command, by_python, over_http)):
        model = f"{verb.model}{door}"
        if name == "unload":
            assert api.ask("POST", "/api/fleet/load", WHERE | {"model": model}).status_code == 200
        fleet.call(lambda: victim.script(verb.dies_at, Killed()))
        rows = asked(api, verb, model)
        assert {server for server, is_done in rows.items() if is_done} == set(verb.able), asked
        assert rows[KILLED] is False
        assert api.opened is not None
        api.run(api.opened._resources.health.settle())  # it is written behind the answer
        listed = {row["name"]: row["status"] for row in api.ask("GET", "/api/servers").json()}
        assert listed[KILLED] == "offline"
        fleet.call(victim.clear_script)
        fleet.run(victim.__aenter__())
        assert api.ask("POST", "/api/servers/2/check").json()["failed"] == 0
