"""`serve --workers`: several processes at one socket, which end together."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from ollama_admin.simulator.model import SimulatedModel
from tests.api.service import SECONDS
from tests.api.test_serve import Counting, Spawn, ask, started
from tests.cli.running import Process
from tests.fake_ollama import FakeOllama, Silence
from tests.fake_ollama_thread import FakeOllamaThread

WORKERS = ("--workers", "2")


def children(process: Process) -> list[int]:
    """The workers of a service."""
    listed = Path(f"/proc/{process.number}/task/{process.number}/children").read_text()
    return [int(number) for number in listed.split()]


def generate(url: str) -> httpx.Response:
    return ask(url, "POST", "/api/generate", {"model": "alpha", "prompt": "hi", "stream": False})


def until_gone(numbers: list[int]) -> None:
    ends = time.monotonic() + SECONDS
    while any(Path(f"/proc/{number}/fd").exists() and is_alive(number) for number in numbers):
        assert time.monotonic() < ends
        time.sleep(0.02)


def is_alive(number: int) -> bool:
    """Whether it runs: an orphan that nobody waits for stays in the list."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_share_the_requests_and_the_limits(
    migrated_postgres_url: str, spawn: Spawn
) -> None:
    fake = Counting(SimulatedModel("alpha", says="one two three"), token_delay=0.03)
    with FakeOllamaThread(fake) as fakes:
        _, url = started(spawn, migrated_postgres_url, *WORKERS)
        server = {"name": "one", "url": fakes.url, "max_concurrent": 3}
        ask(url, "POST", "/api/servers", server)
        assert ask(url, "POST", "/api/discover").json()["failed"] == 0
        with ThreadPoolExecutor(40) as threads:
            answers = list(threads.map(lambda _: generate(url), range(60)))
        assert {answer.status_code for answer in answers} == {200}
        assert fakes.call(lambda: fake.most) <= 3
        assert len({answer.headers["x-request-id"][:8] for answer in answers}) == 2


def test_a_worker_that_was_killed_is_replaced(sqlite_url: str, spawn: Spawn) -> None:
    process, url = started(spawn, sqlite_url, *WORKERS)
    first, second = children(process)
    os.kill(second, signal.SIGKILL)
    process.until_stderr(b"takes its place\n")
    ends = time.monotonic() + SECONDS
    while len(children(process)) < 2:
        assert time.monotonic() < ends
    assert first in children(process)
    assert ask(url, "GET", "/api/servers").status_code == 200
    process.terminate()
    ran = process.ended()
    assert (ran.exit_code, ran.stderr.count("listening on")) == (0, 1)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_answers_come_to_their_end_when_all_processes_are_asked_to_end(
    sqlite_url: str, spawn: Spawn, sign: signal.Signals
) -> None:
    """As a terminal and a service manager ask."""
    fake = Counting(SimulatedModel("alpha", says="one two three"), token_delay=0.3)
    with FakeOllamaThread(fake) as fakes, ThreadPoolExecutor(1) as threads:
        process, url = started(spawn, sqlite_url, *WORKERS)
        ask(url, "POST", "/api/servers", {"name": "one", "url": fakes.url})
        ask(url, "POST", "/api/discover")
        answer = threads.submit(generate, url)
        ends = time.monotonic() + SECONDS
        while not fakes.call(lambda: fake.now):
            assert time.monotonic() < ends
        workers = children(process)
        for number in [*workers, process.number]:
            os.kill(number, sign)
        assert answer.result().json()["response"] == "one two three"
        assert process.ended().exit_code == 0
        until_gone(workers)


def test_workers_end_with_the_process_that_looks_after_them(sqlite_url: str, spawn: Spawn) -> None:
    process, _ = started(spawn, sqlite_url, *WORKERS)
    workers = children(process)
    os.kill(process.number, signal.SIGKILL)
    until_gone(workers)


def test_requests_of_all_workers_are_told_and_ended_by_any_of_them(
    sqlite_url: str, spawn: Spawn
) -> None:
    fake = FakeOllama(SimulatedModel("alpha"))
    silence = Silence()
    fake.script_always("/api/generate", silence)
    with FakeOllamaThread(fake) as fakes:
        process, url = started(spawn, sqlite_url, *WORKERS)
        server = {"name": "one", "url": fakes.url, "max_concurrent": 8}
        ask(url, "POST", "/api/servers", server)
        assert ask(url, "POST", "/api/discover").json()["failed"] == 0
        with ThreadPoolExecutor(8) as threads:
            answers = [threads.submit(generate, url) for _ in range(6)]
            seen = [on_their_way(url) for _ in range(20)]
            while len(seen[-1]) < 6:
                seen.append(on_their_way(url))
            assert len({request[:8] for request in seen[-1]}) == 2
            assert [on_their_way(url) for _ in range(10)] == [seen[-1]] * 10
            for request in seen[-1]:
                ended = ask(url, "POST", f"/api/requests/{request}/cancel")
                assert (ended.status_code, ended.json()["id"]) == (200, request)
            assert {answer.result(SECONDS).status_code for answer in answers} == {499}
        assert ask(url, "POST", f"/api/requests/{seen[-1][0]}/cancel").status_code == 404
        os.kill(children(process)[0], signal.SIGKILL)
        process.until_stderr(b"takes its place\n")
        assert on_their_way(url) == []


def on_their_way(url: str) -> list[str]:
    requests = ask(url, "GET", "/api/fleet/activity").json()["requests"]
    return [request["id"] for request in requests]
