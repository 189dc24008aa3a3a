"""`ollama-admin serve`, as processes of their own."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from ollama_admin.simulator.http import Connection, RecordedRequest
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import HoldAt
from tests.api.conftest import Serve
from tests.api.service import AUTHORIZED, SECONDS, TOKEN, UNVERIFIED
from tests.cli.running import Cli, Process
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread

Spawn = Callable[..., Process]


def started(spawn: Spawn, url: str, *words: str, **environ: str | None) -> tuple[Process, str]:
    """A process that listens, and where."""
    variables = {"OLLAMA_ADMIN_DATABASE_URL": url, "OLLAMA_ADMIN_API_TOKEN": TOKEN, **environ}
    process = spawn("serve", "--port", "0", *words, environ=variables)
    process.until_stderr(b"/docs")
    found = re.search(rb"listening on (https?://\S+),", process.stderr_so_far)
    assert found is not None
    return process, found[1].decode()


def ask(url: str, method: str, path: str, body: Any = None, token: str = TOKEN) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.request(
        method,
        url + path,
        json=body,
        headers=headers,
        verify=UNVERIFIED,
        trust_env=False,
        timeout=SECONDS,
    )


class Counting(FakeOllama):
    """Counts the generations that run at the same time; one has ended before its last record is
    sent.
    """

    def __init__(self, *models: SimulatedModel, **more: Any) -> None:
        super().__init__(*models, before_token=self._count, **more)
        self.now = self.most = 0

    async def simulate(self, connection: Connection, request: RecordedRequest) -> None:
        if self.local_path(request) == "/api/generate":
            self.now += 1
            self.most = max(self.most, self.now)
        await super().simulate(connection, request)

    async def _count(self, index: int) -> None:
        self.now -= index == 2


def test_two_processes_share_the_limits_of_servers(
    migrated_postgres_url: str, spawn: Spawn
) -> None:
    fake = Counting(SimulatedModel("alpha", says="one two three"), token_delay=0.03)
    with FakeOllamaThread(fake) as fakes:
        urls = [started(spawn, migrated_postgres_url)[1] for _ in range(2)]
        ask(
            urls[0],
            "POST",
            "/api/servers",
            {"name": "one", "url": fakes.url, "max_concurrent": 3},
        )
        assert ask(urls[1], "POST", "/api/discover").json()["failed"] == 0

        def generate(number: int) -> httpx.Response:
            body = {"model": "alpha", "prompt": "hi", "stream": bool(number % 3)}
            return ask(urls[number % 2], "POST", "/api/generate", body)

        with ThreadPoolExecutor(40) as threads:
            answers = list(threads.map(generate, range(40)))
        assert [answer.status_code for answer in answers] == [200] * 40
        assert all(json.loads(answer.text.splitlines()[-1])["done"] for answer in answers)
        assert 2 <= fakes.call(lambda: fake.most) <= 3
        while ask(urls[0], "GET", "/api/servers").json()[0]["slots_in_use"]:  # kept for a second
            time.sleep(0.05)


def test_it_says_where_it_listens_whose_token_it_takes_and_what_it_refuses(
    sqlite_url: str, spawn: Spawn
) -> None:
    process, url = started(
        spawn, sqlite_url, "--allow-host", "API.example", OLLAMA_ADMIN_DYNAMIC_SERVERS="registered"
    )
    ask(url, "GET", "/api/servers?capability=canary")
    process.interrupt()
    ran = process.ended()
    assert (ran.exit_code, ran.stdout) == (0, "")
    notes = [
        line.removeprefix("note: ") for line in ran.stderr.splitlines() if line.startswith("note: ")
    ]
    assert notes == [
        "the token is the one in OLLAMA_ADMIN_API_TOKEN",
        (
            "every request needs the token as its key; those to the REST API also need one of "
            "these host names: 127.0.0.1, ::1, api.example, localhost"
        ),
        "link-local, multicast, unspecified and metadata addresses are never connected to",
        "requests may name registered servers only",
        f"clients of Ollama: OLLAMA_HOST={url}/k/KEY, or {url} with the key as a bearer token",
        f"clients of OpenAI: {url}/v1, of Anthropic: {url}, with the key as their API key",
        f"people with a browser: {url}/ui/, with a key to sign in",
        f"listening on {url}, documentation at {url}/docs",
    ]
    [line] = [line for line in ran.stderr.splitlines() if not line.startswith("note: ")]
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [0-9a-f]{16} GET /api/servers 200 \d+ ms", line
    )
    assert TOKEN not in ran.stderr


def test_a_token_is_made_and_shown_once(sqlite_url: str, spawn: Spawn) -> None:
    process, url = started(spawn, sqlite_url, OLLAMA_ADMIN_API_TOKEN=None)
    found = re.search(
        r"the token of this run, shown once: (\S{43}) ", process.stderr_so_far.decode()
    )
    assert found is not None
    assert ask(url, "GET", "/api/servers", token=found[1]).status_code == 200
    assert ask(url, "GET", "/api/servers", token=found[1][:-1]).status_code == 401
    process.terminate()
    ran = process.ended()
    assert (ran.exit_code, ran.stderr.count(found[1])) == (0, 1)


@pytest.mark.parametrize("token", ["", "with space", "caf\xe9", "line\n"])
def test_a_token_that_no_header_can_carry_is_refused(
    sqlite_cli: Cli, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_API_TOKEN", token)
    ran = sqlite_cli.json("serve", "--port", "0")
    assert ran.failure == (2, "invalid_input")
    assert token.strip() not in ran.stderr or not token.strip()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--port", "TAKEN"), "cannot listen on 127.0.0.1 port"),
        (("--host", "no.such.host.invalid"), "cannot listen on no.such.host.invalid port"),
        (("--port", "0", "--grace", "-1"), "the grace must be 0 seconds or more"),
    ],
)
def test_a_place_that_cannot_be_had_is_an_error(
    sqlite_cli: Cli, words: tuple[str, ...], message: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = sqlite_cli.json("serve", *(port if word == "TAKEN" else word for word in words))
    assert ran.failure == (2, "invalid_input")
    assert message in ran.error["message"]


HIDING = """
import sys

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nowhere())
from ollama_admin.cli.app import main
sys.argv = ["ollama-admin", "-o", "json", "serve", "--port", "0"]
main()
"""
WITHOUT = f"HIDDEN = ('fastapi', 'uvicorn', 'starlette'){HIDING}"
WITHOUT_UVLOOP = f"HIDDEN = ('uvloop',){HIDING}"


def test_without_the_extra_one_error_names_what_to_install(sqlite_url: str) -> None:
    environ = os.environ | {"OLLAMA_ADMIN_DATABASE_URL": sqlite_url}
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, env=environ
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert (
        json.loads(ran.stderr)["error"]["hint"]
        == "install them from its folder: pip install '.[server]'"
    )


def test_it_runs_on_uvloop(sqlite_url: str, spawn: Spawn) -> None:
    process, _ = started(spawn, sqlite_url)
    assert "/uvloop/" in Path(f"/proc/{process.number}/maps").read_text()


def test_without_uvloop_the_loop_of_asyncio_serves(sqlite_url: str) -> None:
    environ = os.environ | {"OLLAMA_ADMIN_DATABASE_URL": sqlite_url}
    with subprocess.Popen(
        [sys.executable, "-c", WITHOUT_UVLOOP], stderr=subprocess.PIPE, text=True, env=environ
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == (
            "note: uvloop is not installed: serving on asyncio's own loop, which is slower\n"
        )
        found = None
        while found is None:
            found = re.search(r"listening on (https?://\S+),", process.stderr.readline())
        assert ask(found[1], "GET", "/healthz").status_code == 200
        process.terminate()
        assert process.wait(SECONDS) == 0


def test_a_second_sign_to_stop_does_not_wait_for_answers(
    sqlite_url: str, spawn: Spawn, fakes: Serve
) -> None:
    hold = HoldAt(1)
    fake = fakes(SimulatedModel("alpha", says="one two"), before_token=hold)
    process, url = started(spawn, sqlite_url, "--grace", "600")
    body = {"model": "alpha", "prompt": "hi", "server_url": fake.url}
    with httpx.stream(
        "POST", f"{url}/api/generate", json=body, headers=AUTHORIZED, trust_env=False
    ) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines))["response"] == "one"
        fake.run(hold.reached.wait(), SECONDS)
        process.interrupt()
        stopping = threading.Timer(0.5, process.interrupt)
        stopping.start()
        assert json.loads(next(lines))["code"] == "server_stopping"
    ran = process.ended()
    assert ran.exit_code == 0
    assert "Traceback" not in ran.stderr
