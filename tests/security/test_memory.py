"""What a server makes us keep of an answer is bounded, by every door: each is a process of its own
that reads its own peak of memory, which may grow by 50 MiB in all.
"""

import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from ollama_admin.cli import app
from ollama_admin.client import Client
from ollama_admin.errors import AdminError
from ollama_admin.rules.answers import ANSWER_LIMIT
from tests.api.service import TOKEN, UNVERIFIED
from tests.api.test_serve import started
from tests.cli.conftest import Spawn
from tests.fake_ollama import Answer, FakeOllama, Fault, Silence, SimulatedModel
from tests.fake_ollama_thread import FakeOllamaThread
from tests.gateway.upstream import RELAYED
from tests.security.test_limits import CHUNKED, GROWTH, Endless, chunk, peak

GENERATE, CHAT = "/api/generate", "/api/chat"
PROMPT = {"prompt": "hi"}
TALK = {"messages": [{"role": "user", "content": "hi"}]}
TOOLS = {"tools": [{"type": "function", "function": {"name": "f"}}]}
CALLS = {"tool_calls": [{"function": {"name": "f", "arguments": {"a": "z" * 100_000}}}]}
EMPTY_CALLS = {"tool_calls": [{"function": {"name": "f", "arguments": [[]] * 50_000}}]}
CHOICES = [{"token": "x", "logprob": -0.5, "bytes": [120]}] * 20
LOGPROBS = {"logprobs": [{"token": "x", "logprob": -0.5, "top_logprobs": CHOICES}] * 40}
SECONDS = 60.0
CHUNKED_LINES = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Type: application/x-ndjson\r\n\r\n")
READ = 80 * 2**20  # bytes of an answer that are relayed; then its client leaves
OK, INTERRUPTED, UPSTREAM = "ok", "stream_interrupted", "upstream_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """A record that comes for ever, or `times` and then the end; `outcome` is how a request ends
    that asks so.
    """

    outcome: str
    record: Mapping[str, Any]
    asks: Mapping[str, Any] = field(default_factory=lambda: PROMPT)
    times: int | None = None

    def fault(self) -> Fault:
        line = self.line(done=False)
        if self.times is None:
            return Endless(CHUNKED_LINES, chunk(line * (1 + 65536 // len(line))))
        whole = line * self.times + self.line(done=True, done_reason="stop")
        return Answer(200, whole, content_type="application/x-ndjson")

    def line(self, **more: Any) -> bytes:
        said = {"response": "", **self.record}
        record = {"model": "alpha:latest", "created_at": "2026-01-01T00:00:00Z", **said, **more}
        if path_of(self.asks) == CHAT:
            record["message"] = {"role": "assistant", "content": record.pop("response")}
            record["message"] |= {
                key: record.pop(key) for key in ("tool_calls", "thinking") if key in record
            }
        return json.dumps(record).encode() + b"\n"


def text(character: str, times: int) -> dict[str, Any]:
    return {"response": character * times}


SAID = {
    "endless text": Attack(outcome=INTERRUPTED, record=text("x", 10_000)),
    "endless wide characters": Attack(outcome=INTERRUPTED, record=text("\N{ROCKET}", 1000)),
    "endless thinking": Attack(outcome=INTERRUPTED, record={"thinking": "\N{ROCKET}" * 1000}),
    "calls of tools that nobody offered": Attack(outcome=UPSTREAM, record=CALLS),
    "as much text as is kept": Attack(
        outcome=OK, record=text("x", 2**16), times=ANSWER_LIMIT // 2**16 - 1
    ),
    "as many wide characters": Attack(
        outcome=OK, record=text("\N{ROCKET}", 2**12), times=ANSWER_LIMIT // 2**12 // 12 - 1
    ),
    "as many control characters": Attack(
        outcome=OK, record=text("\x01", 2**12), times=ANSWER_LIMIT // 2**12 // 6 - 1
    ),
    "a record as long as one may be": Attack(
        outcome=INTERRUPTED, record=text("\x01", ANSWER_LIMIT // 6 - 100), times=1
    ),
    "a record of as many values as one may hold": Attack(
        outcome=OK, record={"context": [{}] * 145_000}, times=2
    ),
}
CALLED = {
    "endless calls of tools": Attack(outcome=INTERRUPTED, record=CALLS, asks=TALK | TOOLS),
    "endless empty calls of tools": Attack(
        outcome=INTERRUPTED, record=EMPTY_CALLS, asks=TALK | TOOLS
    ),
    "calls that nobody offered in a talk": Attack(outcome=UPSTREAM, record=CALLS, asks=TALK),
    "as many calls as are kept": Attack(
        outcome=OK, record=CALLS, asks=TALK | TOOLS, times=ANSWER_LIMIT // 100_200 - 1
    ),
    "log probabilities that nobody asked for": Attack(outcome=OK, record=LOGPROBS, times=400),
}
GATHERED = {
    "endless log probabilities": Attack(
        outcome=INTERRUPTED, record=LOGPROBS, asks=PROMPT | {"logprobs": True}
    ),
    "as many log probabilities as are kept": Attack(
        outcome=OK,
        record=LOGPROBS | text("x", 2**16),
        asks=PROMPT | {"logprobs": True},
        times=ANSWER_LIMIT // 2**16 - 1,
    ),
}
SMALL = {"small records": Attack(outcome=INTERRUPTED, record=text("\N{ROCKET}", 1))}
DOORS = {"cli": ["--stream"], "cli at once": ["--no-stream"], "client": []}


JSON, LINES, EVENTS = "application/json", "application/x-ndjson", "text/event-stream"


def filled(text: bytes, size: int, **more: Any) -> bytes:
    """A document with so many bytes of that text in it."""
    document = json.dumps({"model": "alpha", "done": True, **more, "response": "@"}).encode()
    return document.replace(b"@", text * (size // len(text)))


MIB = 2**20
CUT = 0  # instead of a status: the answer has begun, and ended too early
# Bytes that the allocator keeps, of threads that read at the same time: with eight at once 47 to
# 56 MiB in all were measured.
ARENAS = 12 * MIB
Questions = Mapping[str, tuple[str, dict[str, Any]]]


@pytest.fixture(autouse=True)
def nothing_large_is_left() -> Iterator[None]:
    """What the servers of a test send would stay until garbage is next looked for."""
    yield
    gc.collect()


@pytest.mark.parametrize("door", DOORS)
def test_an_answer_is_kept_within_50_mib(door: str, tmp_path: Path) -> None:
    asked_in_a_process(door, SAID | CALLED if door == "client" else SAID, tmp_path)


@pytest.mark.parametrize("stream", [True, False])
def test_a_served_answer_is_kept_within_50_mib(stream: bool, tmp_path: Path, spawn: Spawn) -> None:
    asked_of_a_service(
        SAID | CALLED | ({} if stream else GATHERED), stream, f"sqlite:///{tmp_path}/x.db", spawn
    )


def test_whole_answers_of_many_at_once_are_kept_within_50_mib(tmp_path: Path, spawn: Spawn) -> None:
    """And none longer than it is on its way, though the list that would prove it never comes."""
    answers = whole_answers()
    process, at = started(spawn, f"sqlite:///{tmp_path}/x.db")
    with FakeOllamaThread(FakeOllama(SimulatedModel("alpha"))) as fake:
        ask_api(at, "POST", "/api/servers", {"name": "one", "url": fake.url, "max_concurrent": 16})
        ask_api(at, "POST", "/api/discover")
        for path in {path for path, _, _ in answers.values()}:
            wholly(at, path)
        before, peaks = peak(process.number), {}
        fake.call(partial(fake.fakes[0].script_always, "/api/tags", Silence()))
        for name, (path, body, media_type) in answers.items():
            answer = Answer(200, body, content_type=media_type)
            fake.call(partial(fake.fakes[0].script_always, path, answer))
            with ThreadPoolExecutor(8) as executor:
                statuses = list(executor.map(lambda _, path=path: wholly(at, path), range(16)))
            assert set(statuses) <= {CUT, 200, 502, 503}, name
            peaks[name] = peak(process.number)
    assert max(peaks.values()) - before < GROWTH + ARENAS, peaks


def whole_answers() -> dict[str, tuple[str, bytes, str]]:
    """The path, body and type of answers that are kept to their end, or until it shows that they
    are none: 84 MB in all.
    """
    long_event = b"data: " + filled(b"x", 4 * MIB - 1000, usage={"prompt_tokens": 1}) + b"\n\n"
    events = long_event * 4 + b"data: [DONE]\n\n"
    wide = "\N{ROCKET}"
    return {
        "text": (GENERATE, filled(b"x", 8 * MIB - 1000), JSON),
        "a wide letter": (GENERATE, wide.encode() + filled(b"x", 8 * MIB - 1000), JSON),
        "an escaped one": (GENERATE, filled(b"x", 8 * MIB - 1000, x=wide), JSON),
        "values": (GENERATE, filled(b"x", 9, context=[{}] * 140_000), JSON),
        "too much": (GENERATE, filled(b"x", 9 * MIB), JSON),
        "a long line": (GENERATE, b"x" * (4 * MIB - 1000), LINES),
        "counts in long events": ("/v1/chat/completions", events, EVENTS),
        "a shown model": ("/api/show", filled(b"x", 8 * MIB - 1000), JSON),
    }


def wholly(at: str, path: str) -> int:
    """The status of an answer that is read to its end, `CUT` where that comes too early."""
    return ask_api(at, "POST", path, {"model": "alpha", "stream": False, **RELAYED.get(path, {})})


def ask_api(at: str, method: str, path: str, body: Any = None) -> int:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(verify=UNVERIFIED, trust_env=False, timeout=SECONDS) as client:
        try:
            return client.request(method, at + path, json=body, headers=headers).status_code
        except httpx.RemoteProtocolError:
            return CUT


@pytest.mark.chaos
@pytest.mark.parametrize("door", ["client", "cli"])
def test_many_small_records_are_kept_within_50_mib(door: str, tmp_path: Path) -> None:
    asked_in_a_process(door, SMALL, tmp_path)


@pytest.mark.chaos
def test_many_small_records_are_served_within_50_mib(tmp_path: Path, spawn: Spawn) -> None:
    asked_of_a_service(SMALL, False, f"sqlite:///{tmp_path}/x.db", spawn)


def asked_in_a_process(door: str, attacks: Mapping[str, Attack], folder: Path) -> None:
    with ExitStack() as stack:
        urls = attackers(stack, attacks)
        questions = {name: (url, asks_of(attacks, name)) for name, url in urls.items()}
        command = [sys.executable, "-m", "tests.security.test_memory", door, json.dumps(questions)]
        environ = os.environ | {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "OLLAMA_ADMIN_DATABASE_URL": f"sqlite:///{folder}/x.db",
        }
        done = subprocess.run(command, env=environ, capture_output=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes, peaks = json.loads(done.stderr.splitlines()[-1])
    compare(attacks, outcomes, peaks)


def asked_of_a_service(
    attacks: Mapping[str, Attack], stream: bool, database: str, spawn: Spawn
) -> None:
    """A relayed answer is read on for `READ` bytes: it goes through, and nothing of it is kept."""
    process, at = started(spawn, database)
    read, peaks = {}, {}
    with ExitStack() as stack:
        for name, url in attackers(stack, attacks).items():
            asks = asks_of(attacks, name)
            body = {"model": "alpha", "server_url": url, "stream": stream, **asks}
            read[name] = relayed(at, path_of(asks), body)
            peaks[name] = peak(process.number)
    endless = [name for name, attack in attacks.items() if attack.times is None]
    assert {name: read[name] > READ for name in endless} == dict.fromkeys(endless, True)
    assert all(read[name] > 0 for name in attacks)
    assert max(peaks.values()) - peaks["good"] < GROWTH, peaks


def relayed(at: str, path: str, body: Mapping[str, Any]) -> int:
    """How many bytes of an answer come, until it ends or there are more than `READ`."""
    size = 0
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with (
        httpx.Client(verify=UNVERIFIED, trust_env=False, timeout=SECONDS) as client,
        client.stream("POST", at + path, json=body, headers=headers) as answer,
    ):
        for piece in answer.iter_raw():
            size += len(piece)
            if size > READ:
                break
    return size


def attackers(stack: ExitStack, attacks: Mapping[str, Attack]) -> dict[str, str]:
    """The URLs of servers that attack so; the first one, `good`, does not."""
    names = ("good", *attacks)
    thread = FakeOllamaThread(*(FakeOllama(SimulatedModel("alpha")) for _ in names))
    stack.enter_context(thread)
    for name, fake in zip(names, thread.fakes, strict=True):
        if name in attacks:
            attack = attacks[name]
            thread.call(partial(fake.script_always, path_of(attack.asks), attack.fault()))
    return {name: fake.url for name, fake in zip(names, thread.fakes, strict=True)}


def asks_of(attacks: Mapping[str, Attack], name: str) -> Mapping[str, Any]:
    return attacks[name].asks if name in attacks else PROMPT


def path_of(asks: Mapping[str, Any]) -> str:
    return CHAT if "messages" in asks else GENERATE


def compare(
    attacks: Mapping[str, Attack], outcomes: Mapping[str, str], peaks: Mapping[str, int]
) -> None:
    """Each attack must end as it says; memory never falls, so that each adds to those before it."""
    expected = {"good": OK} | {name: attack.outcome for name, attack in attacks.items()}
    assert outcomes == expected
    assert max(peaks.values()) - peaks["good"] < GROWTH, peaks


async def ask_a_client(questions: Questions) -> None:
    outcomes, peaks = {}, {}
    async with Client() as client:
        for name, (url, asks) in questions.items():
            outcomes[name] = OK
            try:
                await client.generate(model="alpha", server_url=url, **asks)
            except AdminError as error:
                outcomes[name] = error.code
            peaks[name] = peak()
    print(json.dumps([outcomes, peaks]), file=sys.stderr)


def ask_the_command_line(questions: Questions, words: Sequence[str]) -> None:
    outcomes, peaks = {}, {}
    for name, (url, asks) in questions.items():
        sys.argv = ["ollama-admin", "generate", asks["prompt"], "-m", "alpha"]
        sys.argv += ["--server-url", url, "-o", "json", *words]
        errors = sys.stderr
        sys.stderr = StringIO()
        with suppress(SystemExit):
            app.main()
        said, sys.stderr = sys.stderr.getvalue(), errors
        outcomes[name] = json.loads(said.splitlines()[-1])["error"]["code"] if said else OK
        peaks[name] = peak()
    print(json.dumps([outcomes, peaks]), file=sys.stderr)


if __name__ == "__main__":
    door, asked = sys.argv[1], json.loads(sys.argv[2])
    if door == "client":
        asyncio.run(ask_a_client(asked))
    else:
        ask_the_command_line(asked, DOORS[door])
