"""Connections of clients that are many, slow or silent, and bodies that nobody asked for."""

import json
import resource
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from ollama_admin.api.connections import Seldom
from ollama_admin.gateway.limits import VALUE_SIZE, Limits
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import HoldAt
from tests.api.conftest import Serve, register
from tests.api.service import SECONDS, Service, accepted, answer_of, protocols, read_all, request
from tests.api.test_guard import NEEDS_DATABASE, OPEN
from tests.api.test_leaving import asked, until
from tests.api.test_serve import Spawn, ask, started

LIST = request("GET", "/api/servers")


def test_no_part_of_an_answer_waits_until_the_part_before_it_is_acknowledged(
    shared_api: Service,
) -> None:
    with shared_api.client() as client:
        assert client.get("/healthz").status_code == 200
        until(lambda: len(accepted(shared_api.port)) == 1)  # those of other tests have ended
        [end] = accepted(shared_api.port)
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


# many connections


def test_idle_connections_make_room_for_new_ones(sqlite_url: str) -> None:
    with Service(sqlite_url, limits=Limits(connections=20)) as service, ExitStack() as stack:
        idle = [stack.enter_context(service.connect()) for _ in range(60)]
        assert answer_of(service.raw(LIST))[0] == 200
        assert len(accepted(service.port)) <= 20
        assert read_all(idle[0]) == b""


def test_requests_without_the_token_make_room_too(sqlite_url: str) -> None:
    with Service(sqlite_url, limits=Limits(connections=5)) as service, ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(service.connect())
            connection.sendall(
                request("POST", "/api/servers", Content_Length="9", Authorization="")
            )
        assert answer_of(service.raw(LIST))[0] == 200


def test_running_answers_make_no_room_and_new_connections_wait(
    sqlite_url: str, fakes: Serve
) -> None:
    hold = HoldAt(1)
    fake = fakes(SimulatedModel("alpha", says="one two"), before_token=hold)
    with Service(sqlite_url, limits=Limits(connections=1)) as service:
        register(service, fake)
        with service.connect() as answering, ThreadPoolExecutor(1) as threads:
            answering.sendall(asked())
            fake.run(hold.reached.wait(), SECONDS)
            waiting = threads.submit(service.raw, LIST)
            until(lambda: any("connections are busy" in line for line in service.logged))
            assert not waiting.done()
            fake.call(hold.release.set)
            assert b'"done":true' in read_all(answering)
            assert answer_of(waiting.result(SECONDS))[0] == 200


@pytest.mark.parametrize("soft", [60, 260])
def test_more_idle_connections_than_descriptors_keep_nobody_out(
    sqlite_url: str, spawn: Spawn, soft: int
) -> None:
    def limit(pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, 260))

    process, url = started(limited(spawn, limit), sqlite_url)
    port = int(url.rpartition(":")[2])
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        for _ in range(3):
            assert ask(url, "GET", "/api/servers").status_code == 200
    process.terminate()
    ran = process.ended()
    assert ran.exit_code == 0
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr) < 10_000


def limited(spawn: Spawn, limit: Callable[[int], None]) -> Spawn:
    """Processes that are limited before they read which limits they have."""

    def start(*words: str, **how: object) -> object:
        process = spawn(*words, **how)
        limit(process.pid)
        return process

    return start  # type: ignore[return-value]


def test_without_a_descriptor_it_waits_for_one_and_says_so_a_few_times(
    sqlite_url: str, spawn: Spawn
) -> None:
    process, url = started(spawn, sqlite_url)
    assert ask(url, "GET", "/api/servers").status_code == 200
    port = int(url.rpartition(":")[2])
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    taken = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (taken + 1, hard))
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        process.until_stderr(b"a connection cannot be accepted: Too many open files\n")
        began = processor_ticks(process.pid)
        with socket.create_connection(("127.0.0.1", port)) as probe:
            probe.settimeout(1)
            with pytest.raises(TimeoutError):
                probe.recv(1)
        assert processor_ticks(process.pid) - began < 50  # of 100: it does not spin
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        assert ask(url, "GET", "/api/servers").status_code == 200
    process.terminate()
    ran = process.ended()
    assert ran.exit_code == 0
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr) < 10_000


def processor_ticks(pid: int) -> int:
    """Hundredths of a second of a processor that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_failure_that_comes_again_and_again_is_logged_a_few_times() -> None:
    lines: list[str] = []
    log = Seldom(lines.append, most=2)
    for number in range(1000):
        log(f"failure {number}")
    assert lines == ["failure 0", "failure 1"]


# bodies


def test_a_body_without_the_token_is_not_read(shared_api: Service) -> None:
    head = request("POST", "/api/generate", Authorization="", Content_Length=str(60 * 2**20))
    with shared_api.connect() as connection:
        connection.sendall(head.replace(b"Connection: close\r\n", b""))
        answer = read_all(connection)
    status, headers, _ = answer_of(answer)
    assert (status, headers["connection"]) == (401, "close")


def test_the_bodies_of_all_requests_together_have_a_limit(sqlite_url: str) -> None:
    body = json.dumps({"name": "gpu", "url": "10.0.0.1"}).encode().ljust(1100)
    limits = Limits(bodies=1000 + 2 * len(body) + 2 * VALUE_SIZE)
    with Service(sqlite_url, limits=limits) as service, service.connect() as first:
        half = request("POST", "/api/servers", b"x" * 1001, Content_Length="1002")
        first.sendall(half)
        until(lambda: reads_a_body(service))
        status, headers, document = answer_of(service.raw(request("POST", "/api/servers", body)))
        assert (status, document["error"]["code"]) == (503, "overloaded")
        assert headers["retry-after"].isdecimal()
        first.sendall(b"x")
        assert answer_of(read_all(first))[0] == 400
        assert answer_of(service.raw(request("POST", "/api/servers", body)))[0] == 201


def reads_a_body(service: Service) -> bool:
    """Whether a part of a body has been taken, and more is awaited."""
    return any(
        protocol.awaits_body and not protocol.cycle.body for protocol in protocols(service.port)
    )


def test_what_is_read_from_bodies_counts_too(sqlite_url: str) -> None:
    body = b'{"model": "a", "context": [' + b"1," * 1000 + b"1]}"
    with Service(sqlite_url, limits=Limits(bodies=VALUE_SIZE * 1000)) as service:
        assert answer_of(service.raw(request("POST", "/api/generate", body)))[0] == 413
        assert answer_of(service.raw(request("POST", "/api/generate", b'{"model": "a"}')))[0] == 404


@pytest.mark.parametrize(
    ("letter", "bytes_each"), [("a", 1), ("é", 2), ("\\u00e9", 2), ("😀", 4), ("\\ud83d\\ude00", 4)]
)
@pytest.mark.parametrize("path", ["/api/generate", "/v1/embeddings", "/api/route"])
def test_a_text_counts_as_the_memory_that_its_widest_letter_makes_it_take(
    sqlite_url: str, path: str, letter: str, bytes_each: int
) -> None:
    body = f'{{"model": "a", "prompt": "{letter}{"a" * 10_000}"}}'.encode()
    needed = len(body) * (1 + bytes_each) + 2 * VALUE_SIZE
    for room, is_refused in ((needed - 1, True), (needed, False)):
        with Service(sqlite_url, limits=Limits(bodies=room)) as service:
            status = answer_of(service.raw(request("POST", path, body)))[0]
        assert (status == 413) is is_refused  # it would never fit: to ask again is no use


# methods


@pytest.mark.parametrize(
    "path",
    sorted(
        {path.replace("{name}", "start.js") for path in OPEN}
        | {path for method, path in NEEDS_DATABASE if method == "GET"}
    ),
)
def test_head_is_get_without_the_body(shared_api: Service, path: str) -> None:
    first, _, rest = shared_api.raw(request("HEAD", path)).partition(b"\r\n\r\n")
    asked_whole, _, body = shared_api.raw(request("GET", path)).partition(b"\r\n\r\n")
    assert rest == b""
    assert first.split(b"\r\n")[0] == asked_whole.split(b"\r\n")[0]
    assert f"content-length: {len(body)}" in first.decode().lower()
