"""The log of `serve` as JSON lines: the id of the request in each, a prompt or a key in none."""

import json
import re
from typing import Any

import httpx

from ollama_admin.simulator.model import SimulatedModel
from tests.api.service import TOKEN
from tests.api.test_serve import Spawn, ask, started
from tests.api.test_workers import WORKERS
from tests.cli.running import Cli, Process
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread

JSON_LINES = ("--log-format", "json")
PROMPT = "a-canary-of-a-prompt"


def lines(process: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.ended().stderr.splitlines()]


def test_each_line_is_an_object_with_the_id_of_its_request(sqlite_url: str, spawn: Spawn) -> None:
    with FakeOllamaThread(FakeOllama(SimulatedModel("alpha", says="yes"))) as fakes:
        process, url = started(spawn, sqlite_url, *JSON_LINES)
        server = {"name": "one", "url": fakes.url}
        ids = [ask(url, "POST", "/api/servers", server).headers["x-request-id"]]
        ask(url, "POST", "/api/discover")
        made = ask(url, "POST", "/api/keys", {"name": "team", "can": ["ask"]}).json()["key"]
        body = {"model": "alpha", "messages": [{"role": "user", "content": PROMPT}]}
        answers = [
            httpx.post(f"{url}/k/{made}/v1/chat/completions", json=body),
            httpx.post(f"{url}/k/{made}/v1/chat/completions", json=body | {"model": "beta"}),
            httpx.get(f"{url}/api/servers", headers={"Authorization": f"Bearer {made}x"}),
            httpx.get(f"{url}/{made}%0a%1b[2J", headers={"Authorization": f"Bearer {made}"}),
        ]
        ids += [answer.headers["x-request-id"] for answer in answers]
        process.terminate()
        told = lines(process)
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:]{8}\.\d{6}Z", line["time"]) for line in told)
    requests = {line["request_id"]: line for line in told if line["event"] == "request"}
    assert [requests[id_]["status"] for id_ in ids] == [201, 200, 404, 401, 404]
    assert requests[ids[1]].items() >= {"method": "POST", "path": "/v1/chat/completions"}.items()
    assert all(line["ms"] >= 0 for line in requests.values())
    assert any("listening on" in line["message"] for line in told if line["event"] == "note")
    written = process.ended().stderr
    for secret in (PROMPT, made.rpartition("_")[2], TOKEN, "\x1b"):
        assert secret not in written


def test_workers_write_whole_lines(sqlite_url: str, spawn: Spawn) -> None:
    process, url = started(spawn, sqlite_url, *WORKERS, *JSON_LINES)
    ids = [ask(url, "GET", "/api/servers").headers["x-request-id"] for _ in range(30)]
    process.terminate()
    told = [line["request_id"] for line in lines(process) if line["event"] == "request"]
    assert sorted(told) == sorted(ids)


def test_a_token_that_would_stand_in_the_log_is_not_made(sqlite_cli: Cli) -> None:
    ran = sqlite_cli("serve", "--port", "0", *JSON_LINES)
    assert ran.exit_code == 2
    assert "choose one with OLLAMA_ADMIN_API_TOKEN" in ran.stderr
