"""Servers that stop, come back or are drained while a service relays calls to them."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from ollama_admin.services.health import HealthBook
from ollama_admin.settings import Settings
from ollama_admin.store.engines import open_engine
from ollama_admin.store.tables import servers
from tests.api.conftest import Serve, prefer, register
from tests.api.service import SECONDS, Service
from tests.api.test_serve import Spawn, ask, started
from tests.fake_ollama import Held
from tests.fake_ollama_thread import FakeOllamaThread

ASKED = {"model": "alpha", "prompt": "hi", "stream": False}
OFTEN = {"OLLAMA_ADMIN_CHECK_EVERY": "1s"}


@pytest.fixture
def services(database_url: str) -> Iterator[Callable[..., Service]]:
    """Starts a service on the one database."""
    with ExitStack() as stack:

        def start(**options: object) -> Service:
            return stack.enter_context(Service(database_url, **options))  # type: ignore[arg-type]

        yield start


def stop_the_clock(service: Service, now: datetime) -> None:
    """What failed once is asked last for ever, by this service."""
    assert service.opened is not None
    resources = service.opened._resources
    resources.__dict__["health"] = HealthBook(
        resources.db, service.logged.append, now=lambda: now, draw=lambda: 0.5
    )


def answered_by(service: Service) -> str:
    answer = service.ask("POST", "/api/generate", ASKED)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-ollama-admin-server"]


def tries(service: Service) -> int:
    answer = service.ask("POST", "/api/generate", ASKED)
    assert answer.status_code == 200, answer.text
    return service.receipt(answer.headers["x-request-id"]).attempts


def eventually(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.1)


def stop(fake: FakeOllamaThread) -> None:
    fake.run(fake.fakes[0].stop())


def start(fake: FakeOllamaThread) -> None:
    fake.run(fake.fakes[0].__aenter__())


def test_a_server_that_stopped_is_tried_once_and_no_more_in_any_process(
    services: Callable[..., Service], fakes: Serve
) -> None:
    one, two = fakes("alpha"), fakes("alpha")
    first, second = services(), services()
    now = datetime.now(UTC) + timedelta(hours=1)
    stop_the_clock(second, now)
    # later than all that the other one has seen, and within the time in which it is asked last
    stop_the_clock(first, now + timedelta(milliseconds=1))
    prefer(first, register(first, one, two, max_concurrent=4)[0])
    eventually(lambda: {answered_by(first), answered_by(second)} == {"one"})
    stop(one)
    assert tries(first) == 2
    assert tries(first) == 1
    eventually(lambda: tries(second) == 1)
    assert [tries(second) for _ in range(3)] == [1, 1, 1]
    listed = first.ask("GET", "/api/servers/1").json()
    assert (listed["status"], listed["failures"]) == ("offline", 1)


def test_of_two_processes_one_request_tries_a_server_that_has_failed(
    database_url: str, fakes: Serve, spawn: Spawn
) -> None:
    one, two = fakes("alpha"), fakes("alpha")
    quiet = {"OLLAMA_ADMIN_CHECK_EVERY": "off", "OLLAMA_ADMIN_PS_EVERY": "off"}
    urls = [started(spawn, database_url, **quiet)[1] for _ in range(2)]
    for name, fake, priority in (("one", one, 1), ("two", two, 0)):
        row = {"name": name, "url": fake.url, "priority": priority, "max_concurrent": 20}
        assert ask(urls[0], "POST", "/api/servers", row).status_code == 201
    assert ask(urls[1], "POST", "/api/discover").json()["failed"] == 0
    fail_long_ago(database_url, "one")
    held = Held()
    one.call(lambda: one.fakes[0].script_always("/api/generate", held))

    def answering(number: int) -> str:
        answer = ask(urls[number % 2], "POST", "/api/generate", ASKED)
        if answer.headers["x-ollama-admin-server"] == "two":
            others.release()
        return answer.headers["x-ollama-admin-server"]

    others = threading.Semaphore(0)
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(answering, number) for number in range(8)]
        try:
            assert all(others.acquire(timeout=SECONDS) for _ in range(7))
        finally:
            one.call(held.release.set)
        assert sorted(answer.result() for answer in answers) == ["one"] + ["two"] * 7


def fail_long_ago(database_url: str, name: str) -> None:
    """Say of a server that it failed, and that the time in which it is asked last is over."""
    now = datetime.now(UTC)
    values = {
        "status": "offline",
        "status_at": now,
        "failures": 3,
        "asked_last_until": now - timedelta(seconds=1),
    }
    engine = open_engine(Settings.read({}, database_url))
    with engine.begin() as connection:
        connection.execute(update(servers).where(servers.c.name == name).values(values))
    engine.dispose()


def test_the_list_is_true_and_a_server_that_is_back_is_used_again(
    services: Callable[..., Service], fakes: Serve
) -> None:
    one, two = fakes("alpha"), fakes("alpha")
    service = services(environ=OFTEN)
    prefer(service, register(service, one, two, max_concurrent=4)[0])
    eventually(lambda: answered_by(service) == "one")

    def status() -> str:
        return str(service.ask("GET", "/api/servers/1").json()["status"])

    stop(one)
    eventually(lambda: status() == "offline")
    assert answered_by(service) == "two"
    start(one)
    eventually(lambda: status() == "online")
    eventually(lambda: answered_by(service) == "one")


def test_a_drained_server_gets_nothing_from_any_process(
    services: Callable[..., Service], fakes: Serve
) -> None:
    one, two = fakes("alpha"), fakes("alpha")
    first, second = services(), services()
    prefer(first, register(first, one, two, max_concurrent=4)[0])
    eventually(lambda: {answered_by(first), answered_by(second)} == {"one"})
    drained = first.ask("POST", "/api/servers/1/drain").json()
    assert (drained["is_draining"], drained["is_active"]) == (True, True)
    eventually(lambda: {answered_by(first), answered_by(second)} == {"two"})
    for service in (first, second):
        refused = service.ask("POST", "/servers/one/api/generate", ASKED)
        assert (refused.status_code, "is draining" in refused.text) == (503, True)
    assert first.ask("POST", "/api/servers/1/resume").json()["is_draining"] is False
    eventually(lambda: {answered_by(first), answered_by(second)} == {"one"})


def test_draining_waits_as_long_as_its_body_says(
    services: Callable[..., Service], fakes: Serve
) -> None:
    one, service = fakes("alpha"), services()
    register(service, one)
    held = Held()
    one.call(lambda: one.fakes[0].script("/api/generate", held))
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(answered_by, service)
        one.run(asyncio.wait_for(held.arrived.wait(), SECONDS))
        late = service.ask("POST", "/api/servers/1/drain", {"timeout": 0})
        assert (late.status_code, late.json()["error"]["code"]) == (409, "conflict")
        assert "1 request runs at server one" in late.json()["error"]["message"]
        one.call(held.release.set)
        assert answer.result() == "one"
    drained = service.ask("POST", "/api/servers/1/drain", {"timeout": 60})
    assert (drained.status_code, drained.json()["slots_in_use"]) == (200, 0)
    for body in ({"timeout": -1}, {"timeout": 601}, {"timeout": "5m"}, {"wait": 1}):
        assert service.ask("POST", "/api/servers/1/drain", body).status_code == 422
