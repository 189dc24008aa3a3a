"""Clients that leave, and a server that stops: nothing runs on upstream, and no slot is kept."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from ollama_admin.gateway.limits import Limits
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import HoldAt
from tests.api.conftest import Serve, register
from tests.api.service import AUTHORIZED, SECONDS, Service, accepted, protocols, read_all, request
from tests.cli.running import Process
from tests.fake_ollama import Silence
from tests.fake_ollama_thread import FakeOllamaThread

GENERATE = "/api/generate"
ASK = {"model": "alpha", "prompt": "hi"}
TALKER = SimulatedModel("alpha", says="one two", endless=True, context_length=100_000)


def asked(**more: Any) -> bytes:
    return request("POST", GENERATE, json.dumps(ASK | more).encode())


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < ends, "it never came true"
        time.sleep(0.01)


def in_use(service: Service) -> int:
    [server] = service.ask("GET", "/api/servers").json()
    return int(server["slots_in_use"])


def leave_and_see_all_given_back(
    service: Service, fake: FakeOllamaThread, connection: socket.socket
) -> None:
    """Upstream hears of it though the answer has not ended, and the slot is free."""
    connection.close()
    fake.run(fake.fakes[0].client_left.wait(), SECONDS)
    until(lambda: in_use(service) == 0)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("token", [0, 2])
def test_a_client_that_leaves_ends_the_generation_and_gives_its_slot_back(
    api: Service, fakes: Serve, token: int, stream: bool
) -> None:
    hold = HoldAt(token)
    fake = fakes(SimulatedModel("alpha", says="one two three"), before_token=hold)
    register(api, fake)
    with api.connect() as connection:
        connection.sendall(asked(stream=stream))
        fake.run(hold.reached.wait(), SECONDS)
        assert in_use(api) == 1
        leave_and_see_all_given_back(api, fake, connection)


def test_a_client_that_leaves_before_the_head_of_the_upstream_answer_ends_it_too(
    sqlite_api: Service, fakes: Serve
) -> None:
    fake, silence = fakes("alpha"), Silence()
    register(sqlite_api, fake)
    fake.call(lambda: fake.fakes[0].script(GENERATE, silence))
    with sqlite_api.connect() as connection:
        connection.sendall(asked())
        fake.run(silence.arrived.wait(), SECONDS)
        leave_and_see_all_given_back(sqlite_api, fake, connection)


def test_a_client_that_leaves_the_queue_takes_no_slot(sqlite_api: Service, fakes: Serve) -> None:
    hold = HoldAt(0)
    fake = fakes("alpha", before_token=hold)
    register(sqlite_api, fake)
    with sqlite_api.connect() as first, sqlite_api.connect() as second:
        first.sendall(asked())
        fake.run(hold.reached.wait(), SECONDS)
        second.sendall(asked())
        slots = sqlite_api.opened._resources.slots
        until(lambda: slots.waiting(1) == 1)
        second.close()
        until(lambda: slots.waiting(1) == 0)
        fake.call(hold.release.set)
        assert b'"done":true' in read_all(first)
    until(lambda: in_use(sqlite_api) == 0)
    assert len(fake.fakes[0].requests_to(GENERATE)) == 1


@pytest.mark.parametrize("clients", [40, pytest.param(1000, marks=pytest.mark.chaos)])
def test_clients_that_leave_at_any_time_leave_no_slot_behind(
    api: Service, fakes: Serve, clients: int
) -> None:
    fake = fakes(TALKER, token_delay=0.002, context=100_000)
    [one] = register(api, fake, max_concurrent=4)
    for number in range(clients):
        with api.connect() as connection:
            connection.sendall(asked() if number % 4 else asked()[: number % 200 - 240])
            connection.settimeout(0.001 * (number % 10) + 0.001)
            with contextlib.suppress(TimeoutError):
                connection.recv(1 + number % 50)
    until(lambda: in_use(api) == 0)
    assert (
        api.ask("POST", GENERATE, {**ASK, "options": {"num_predict": 2}, "server": one}).status_code
        == 200
    )


def flood() -> SimulatedModel:
    """Says more than all buffers on the way take."""
    return SimulatedModel("alpha", says=f"{'x' * 2000} y", endless=True, context_length=10**6)


def ask_and_read_nothing(service: Service) -> socket.socket:
    connection = service.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall(asked())
    return connection


def test_a_client_that_reads_nothing_is_given_up_after_a_while(
    sqlite_url: str, fakes: Serve
) -> None:
    """Its connection too, which would keep the service from stopping for all of the grace."""
    fake = fakes(flood(), context=10**6)
    with Service(sqlite_url, limits=Limits(write_idle=0.3), grace=10 * SECONDS) as service:
        register(service, fake)
        with ask_and_read_nothing(service):
            fake.run(fake.fakes[0].client_left.wait(), SECONDS)
            until(lambda: in_use(service) == 0)
            until(lambda: not accepted(service.port))
            service.stop()
            service.ended()


def test_a_client_that_reads_nothing_holds_up_no_stop(
    sqlite_url: str, fakes: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    fake = fakes(flood(), context=10**6)
    with Service(sqlite_url, grace=0.1) as service:
        register(service, fake)
        with ask_and_read_nothing(service):
            until(lambda: is_held_back(service))
            service.stop()
            service.ended()
            assert protocols(service.port) == []
    assert caplog.records == []
    assert not [line for line in service.logged if "Traceback" in line]
    with Service(sqlite_url) as service:
        assert in_use(service) == 0


def is_held_back(service: Service) -> bool:
    """Whether there is something that the service has not been able to send."""
    return any(
        protocol.flow is not None and protocol.flow.write_paused
        for protocol in protocols(service.port)
    )


def test_the_sign_to_stop_lets_running_answers_end_and_refuses_new_connections(
    sqlite_url: str, fakes: Serve
) -> None:
    hold = HoldAt(1)
    fake = fakes(SimulatedModel("alpha", says="one two three"), before_token=hold)
    with Service(sqlite_url, grace=SECONDS) as service:
        register(service, fake)
        with service.connect() as connection:
            connection.sendall(asked())
            fake.run(hold.reached.wait(), SECONDS)
            service.stop()
            until(lambda: not is_open(service))
            fake.call(hold.release.set)
            body = read_all(connection)
        assert body.endswith(b"\r\n0\r\n\r\n")
        assert b'"done":true' in body
        service.ended()


@pytest.mark.parametrize("token", [0, 1])
def test_answers_whose_time_is_over_are_told_so_and_cancelled_upstream(
    sqlite_url: str, fakes: Serve, token: int
) -> None:
    hold = HoldAt(token)
    fake = fakes(SimulatedModel("alpha", says="one two three"), before_token=hold)
    with Service(sqlite_url, grace=0.1) as service:
        register(service, fake)
        with service.connect() as connection:
            connection.sendall(asked())
            fake.run(hold.reached.wait(), SECONDS)
            service.stop()
            body = read_all(connection)
        assert body.startswith(b"HTTP/1.1 503" if token == 0 else b"HTTP/1.1 200")
        assert b'"code": "server_stopping"' in body.replace(b'":"', b'": "')
        fake.run(fake.fakes[0].client_left.wait(), SECONDS)
        service.ended()
    with Service(sqlite_url) as service:
        assert in_use(service) == 0


def is_open(service: Service) -> bool:
    try:
        service.connect().close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize("end", [Process.terminate, Process.hang_up])
def test_sigterm_and_sighup_drain_and_exit_0(
    sqlite_url: str, fakes: Serve, spawn: Callable[..., Process], end: Callable[[Process], None]
) -> None:
    hold = HoldAt(1)
    fake = fakes(SimulatedModel("alpha", says="one two three"), before_token=hold)
    environ = {
        "OLLAMA_ADMIN_DATABASE_URL": sqlite_url,
        "OLLAMA_ADMIN_API_TOKEN": AUTHORIZED["Authorization"][7:],
    }
    with Service(sqlite_url) as service:
        register(service, fake)
    process = spawn("serve", "--port", "0", environ=environ)
    process.until_stderr(b"/docs\n")
    port = int(
        process.stderr_so_far.partition(b"listening on http://127.0.0.1:")[2].partition(b",")[0]
    )
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(asked())
        fake.run(hold.reached.wait(), SECONDS)
        end(process)
        threading.Timer(0.5, lambda: fake.call(hold.release.set)).start()
        assert b'"done":true' in read_all(connection)
    ran = process.ended()
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "POST /api/generate 200" in ran.stderr
    assert "Traceback" not in ran.stderr
