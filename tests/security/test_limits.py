"""A hostile server costs bounded time and memory: each fault ends at the deadline that was set, as
an error.
"""

import asyncio
import functools
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.errors import AdminError, ServerUnreachable, StreamInterrupted, UpstreamError
from ollama_admin.ollama.connecting import Times
from ollama_admin.ollama.response import LINE_LIMIT
from ollama_admin.simulator.http import NDJSON, Connection, RecordedRequest
from tests.fake_ollama import Answer, Drip, FakeOllama, Fault, Huge, Raw, SimulatedModel
from tests.fake_ollama_thread import FakeOllamaThread

MIB = 2**20
GROWTH = 50 * MIB
DEADLINE = (
    1.0  # seconds that these tests give to a metadata call, to a first byte, and between two pieces
)
SLACK = 10.0  # seconds more that a busy machine may take
TIMES = Times(connect=DEADLINE, metadata=DEADLINE, first_byte=DEADLINE, idle=DEADLINE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PATHS = {"metadata": "/api/tags", "stream": "/api/generate"}


@functools.cache
def bomb() -> bytes:
    """300 MiB of zeros in 300 kB."""
    return gzip.compress(bytes(300 * MIB))


@dataclass(frozen=True, slots=True)
class Endless(Fault):
    """A head, then one block over and over, until the client leaves."""

    head: bytes
    block: bytes
    every: float = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def play(self, fake: FakeOllama, client: Connection, request: RecordedRequest) -> None:
        try:
            await client.write(self.head)
            while True:
                await client.write(self.block)
                await asyncio.sleep(self.every)
        finally:
            self.left.set()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def filled(unit: bytes, begin: bytes = b"[", end: bytes = b"0]") -> bytes:
    """A line of JSON that is as long as one may be, and holds as much as that can."""
    return b'{"models":' + begin + unit * (LINE_LIMIT // len(unit) - 10) + end + b"}"


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
RECORD = json.dumps({"model": "alpha:latest", "response": "x", "done": False}).encode()
NOTHING = RECORD.replace(b'"x"', b'""') + b"\n"
FAULTS: Mapping[str, Callable[[], Fault]] = {
    "a gzip bomb": lambda: Answer(200, bomb(), headers={"Content-Encoding": "gzip"}),
    "a gzip bomb that is an error": lambda: Answer(
        500, bomb(), headers={"Content-Encoding": "gzip"}
    ),
    "a gzip bomb called something else": lambda: Answer(
        200, bomb(), headers={"Content-Encoding": "deflate, gzip"}
    ),
    "a gzip bomb that is not declared": lambda: Answer(200, bomb()),
    "a line of 200 MB": lambda: Huge(
        head=b'{"models": "', unit=b"x" * 65536, times=3200, content_type=NDJSON
    ),
    "an endless body": lambda: Endless(CHUNKED, chunk(b"x" * 65536)),
    "an endless error": lambda: Endless(CHUNKED.replace(b"200 OK", b"500 Oh"), chunk(b"x" * 65536)),
    "endless blank lines": lambda: Endless(CHUNKED, chunk(b"\n" * 65536)),
    "an endless head": lambda: Endless(HEAD, b"X-More: " + b"x" * 8192 + b"\r\n"),
    "endless records of nothing": lambda: Endless(CHUNKED, chunk(NOTHING * 100)),
    "endless chunks of one byte": lambda: Endless(CHUNKED, chunk(b" ")),
    "a byte every 0.3 s": lambda: Drip(
        HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000, every=0.3
    ),
    "a body byte every 0.3 s": lambda: Endless(CHUNKED, chunk(b" "), every=0.3),
    "a flood of interim answers": lambda: Endless(
        b"", b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 100
    ),
    "a header of 1 MB": lambda: Raw(
        (HEAD + b"X-Long: " + b"x" * 10**6 + b"\r\nContent-Length: 2\r\n\r\n{}",)
    ),
    "a wrong length": lambda: Raw((HEAD + b"Content-Length: 2000\r\n\r\n{}",)),
    "a length and chunks": lambda: Raw(
        (HEAD + b"Content-Length: 9\r\nTransfer-Encoding: gzip, chunked\r\n\r\n{}",)
    ),
    "a bad chunk": lambda: Raw((CHUNKED + b"zz\r\n{}\r\n",)),
    "an endless chunk size": lambda: Endless(CHUNKED, b"0" * 8192),
    "a list of empty values": lambda: Answer(200, filled(b"{},")),
    "a list of values in objects": lambda: Answer(200, filled(b'{"":0},')),
    "a text of wide characters": lambda: Answer(200, filled(b"x", b'"\xf0\x9f\x9a\x80', b'"')),
    "no head": lambda: Raw((b'{"models": []}',)),
    "another protocol": lambda: Raw((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",)),
}


async def failure(
    server: FakeOllama, where: str, fault: Fault, folder: Path
) -> tuple[AdminError, float]:
    """How a call of that kind fails at this fault, and after how many seconds."""
    server.script_always(PATHS[where], fault)
    async with Client(database_url=f"sqlite:///{folder}/x.db", environ={}, times=TIMES) as client:
        await client.servers.add(name="gpu", url=server.url)
        started = time.monotonic()
        if where == "stream":
            ask = client.generate(
                prompt="hi", model="alpha", server_url=server.url, timeout=2 * DEADLINE
            )
            with pytest.raises(AdminError) as caught:
                await ask
            return caught.value, time.monotonic() - started
        result = (await client.discover(["gpu"]))[0]
        assert result.error is not None
        return result.error, time.monotonic() - started


@pytest.mark.parametrize("where", PATHS)
@pytest.mark.parametrize("name", FAULTS)
async def test_a_hostile_answer_is_an_error_at_the_deadline(
    name: str, where: str, tmp_path: Path
) -> None:
    fault = FAULTS[name]()
    async with FakeOllama(SimulatedModel("alpha")) as server:
        error, seconds = await failure(server, where, fault, tmp_path)
        if isinstance(fault, Endless):
            await asyncio.wait_for(fault.left.wait(), SLACK)  # nothing of it goes on
    assert isinstance(error, UpstreamError)
    assert seconds < 3 * DEADLINE + SLACK
    assert len(error.message) < 1000


@pytest.mark.parametrize("count", [100, 200])
async def test_many_headers_are_read_or_refused_and_never_wait(count: int, tmp_path: Path) -> None:
    many = b"".join(b"X-%d: y\r\n" % number for number in range(count))
    body = b'{"version": "0.33.0"}'
    answer = Raw((HEAD + many + b"Content-Length: %d\r\n\r\n" % len(body) + body,))
    async with FakeOllama(SimulatedModel("alpha")) as server:
        server.script_always("/api/version", answer)
        async with Client(
            database_url=f"sqlite:///{tmp_path}/x.db", environ={}, times=TIMES
        ) as client:
            await client.servers.add(name="gpu", url=server.url)
            (checked,) = await client.servers.check(["gpu"])
    assert checked.error is None or isinstance(checked.error, UpstreamError)
    assert checked.ms < (DEADLINE + SLACK) * 1000


async def test_a_metadata_call_ends_at_the_deadline_it_is_given_and_not_later(
    tmp_path: Path,
) -> None:
    async with FakeOllama(SimulatedModel("alpha")) as server:
        server.script_always("/api/version", Endless(CHUNKED, chunk(b" "), every=0.3))
        async with Client(database_url=f"sqlite:///{tmp_path}/x.db", environ={}) as client:
            await client.servers.add(name="gpu", url=server.url)
            for given in (0.5, 1.5):
                started = time.monotonic()
                (result,) = await client.discover(["gpu"], timeout=given)
                assert isinstance(result.error, ServerUnreachable)
                assert f"timed out after {given:g} s without an answer" in result.error.message
                assert given <= time.monotonic() - started < given + SLACK


async def test_an_answer_that_drips_ends_with_the_time_given_for_the_whole(tmp_path: Path) -> None:
    async with FakeOllama(SimulatedModel("alpha")) as server:
        server.script_always("/api/generate", Endless(CHUNKED, chunk(RECORD + b"\n"), every=0.3))
        async with Client(database_url=f"sqlite:///{tmp_path}/x.db", environ={}) as client:
            started = time.monotonic()
            with pytest.raises(StreamInterrupted, match=r"timed out after 1\.5 s"):
                await client.generate(
                    prompt="hi", model="alpha", server_url=server.url, timeout=1.5
                )
            assert 1.5 <= time.monotonic() - started < 1.5 + SLACK


async def test_an_answer_without_an_end_is_cut_off(tmp_path: Path) -> None:
    long = RECORD.replace(b'"x"', b'"%s"' % (b"x" * 10_000))
    async with FakeOllama(SimulatedModel("alpha")) as server:
        server.script_always("/api/generate", Endless(CHUNKED, chunk(long + b"\n")))
        async with Client(database_url=f"sqlite:///{tmp_path}/x.db", environ={}) as client:
            with pytest.raises(StreamInterrupted, match="longer than 4 MiB"):
                await client.generate(prompt="hi", model="alpha", server_url=server.url)


def test_the_memory_of_a_process_is_not_that_of_the_one_that_starts_it() -> None:
    packed = bytearray(b"x" * 200 * MIB)
    command = [sys.executable, "-c", "from tests.security.test_limits import peak; print(peak())"]
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert int(done.stdout) < len(packed)


# Memory, in a process of its own that does nothing else


MEASURED = (
    "a gzip bomb",
    "a line of 200 MB",
    "an endless body",
    "endless records of nothing",
    "a list of values in objects",
    "a body byte every 0.3 s",
)
MEASURED_LONG = (  # by `make chaos`
    "a gzip bomb that is not declared",
    "an endless error",
    "an endless head",
    "endless chunks of one byte",
    "a list of empty values",
    "a text of wide characters",
    "a flood of interim answers",
)


@pytest.mark.parametrize("where", ["metadata", "stream"])
@pytest.mark.parametrize(
    "name", [*MEASURED, *(pytest.param(name, marks=pytest.mark.chaos) for name in MEASURED_LONG)]
)
def test_a_hostile_answer_grows_the_process_by_less_than_50_mib(
    name: str, where: str, tmp_path: Path
) -> None:
    with FakeOllamaThread(FakeOllama(SimulatedModel("alpha"))) as thread:
        fault = FAULTS[name]()
        thread.call(lambda: thread.fakes[0].script_always(PATHS[where], fault))
        command = [
            sys.executable,
            "-m",
            "tests.security.test_limits",
            thread.url,
            where,
            str(tmp_path),
        ]
        environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["error"] in ("upstream_error", "server_unreachable", "stream_interrupted")
    assert measured["growth"] < GROWTH, measured
    assert measured["seconds"] < 3 * DEADLINE + SLACK, measured


async def measure(url: str, where: str, folder: str) -> dict[str, Any]:
    """Ask once with everything loaded, then again at the fault; how far the peak of memory
    moved.
    """
    async with (
        FakeOllama(SimulatedModel("alpha")) as good,
        Client(database_url=f"sqlite:///{folder}/x.db", environ={}, times=TIMES) as client,
    ):
        names = {good.url: "good", url: "bad"}
        for at, name in names.items():
            await client.servers.add(name=name, url=at)

        async def error_of(at: str) -> AdminError | None:
            if where != "stream":
                return (await client.discover([names[at]]))[0].error
            try:
                await client.generate(
                    prompt="hi", model="alpha", server_url=at, timeout=2 * DEADLINE
                )
            except AdminError as error:
                return error
            return None

        while await error_of(good.url) is not None:
            pass  # a busy machine took longer than the deadline to load everything
        before, started = peak(), time.monotonic()
        error = await error_of(url)
        assert error is not None
        return {
            "error": error.code,
            "growth": peak() - before,
            "seconds": time.monotonic() - started,
        }


def peak(process: int | str = "self") -> int:
    """Bytes of memory that a process has had at most.

    Not `ru_maxrss`: that begins with the peak of the process that started this one, which has
    packed the bomb.
    """
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(*sys.argv[1:]))))
