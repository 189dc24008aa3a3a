"""One relayed call: what goes to the server, what comes back, and when it is no answer."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.answers import Proof, Stats
from ollama_admin.domain.callers import OWNER
from ollama_admin.domain.relayed import RelayedCall, RelayedHead
from ollama_admin.errors import (
    AdminError,
    ModelMismatch,
    StreamInterrupted,
    UpstreamError,
)
from ollama_admin.ollama.passing import Shape, passing
from ollama_admin.services.plans import Wish
from ollama_admin.services.relay import Refusal, RelayAnswer, ToldFailure
from tests.fake_ollama import Answer, FakeOllama, Held, SimulatedModel
from tests.rules.test_candidates import candidate
from tests.services.asking import CHAT, GENERATE, TAGS, V1_CHAT, register

ALPHA = SimulatedModel("alpha", says="one two")
WHOLE = b'"truncate":false,"shift":false,'
QUESTION = b' {"model":"alpha","messages":[{"role":"user","content":"hi"}]}'
PLACES = ((b"x-test", b"1"), (b"content-type", b"application/json"))


@dataclass(slots=True)
class Heard:
    """What a client was given, and how it ended."""

    heads: list[RelayedHead] = field(default_factory=list)
    data: bytes = b""
    error: Exception | None = None
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def keep(self, size: int) -> None:
        """There is room for all."""

    async def head(self, head: RelayedHead) -> None:
        self.heads.append(head)

    async def send(self, data: bytes) -> None:
        self.data += data

    async def end(self, data: bytes) -> None:
        self.data += data


async def heard(client: Client, wish: Wish | None = None, **differing: Any) -> Heard:
    result = differing.pop("result", None) or Heard()
    path = differing.pop("path", CHAT)
    values: dict[str, Any] = {
        "id": "r1",
        "method": "POST",
        "path": path,
        "target": path,
        "model": "alpha",
        "headers": PLACES,
        "body": QUESTION,
        "asks": True,
    }
    planned = await client.plans.of(wish or Wish("alpha"))
    try:
        await client.relay.run(RelayedCall(**(values | differing)), planned, result)
    except (AdminError, Refusal) as exc:
        result.error = exc
    return result


def lines(*records: dict[str, Any]) -> Answer:
    return Answer(200, b"".join(json.dumps(record).encode() + b"\n" for record in records))


PART = {"model": "alpha:latest", "message": {"content": "one"}, "done": False}
LAST = {"model": "alpha:latest", "message": {"content": ""}, "done": True, "done_reason": "stop"}


def streamed(*records: dict[str, Any]) -> Answer:
    answer = lines(*records)
    return Answer(200, answer.body, content_type="application/x-ndjson")


@pytest.fixture
async def fake(client: Client) -> AsyncIterator[FakeOllama]:
    async with FakeOllama(ALPHA) as fake:
        await register(client, fake)
        yield fake


async def last_receipt(client: Client) -> Any:
    await client._resources.lists.settle()
    await client._resources.recorder.aclose()
    return (await client.receipts.list())[0]


def test_an_answer_of_which_nothing_came_knows_its_time_alone() -> None:
    answer = RelayAnswer(candidate(), frozenset(("alpha",)), 100.0)
    assert (answer.is_begun, answer.is_remote, answer.is_estimated) == (False, False, False)
    assert (answer.server_started, answer.output_tokens) == (None, None)
    assert (answer.sent_at, answer.truncated) == (None, None)
    assert answer.stats(100.5) == Stats(total_ms=500)


def test_an_answer_that_came_knows_what_its_last_line_told() -> None:
    answer = RelayAnswer(candidate(), frozenset(("alpha",)), 100.0)
    answer.passing = passing(Shape.LINES, answer.accepted, holds=False)
    last = LAST | {"model": "alpha", "created_at": "2026-11-29T12:00:02Z"}
    told = {"total_duration": 2_000_000_000, "prompt_eval_count": 7, "remote_host": "https://far"}
    answer.passing.take(lines(last | told).body)
    assert answer.passing.end()
    assert answer.is_remote
    assert answer.server_started == datetime(2026, 11, 29, 12, tzinfo=UTC)
    assert (answer.is_estimated, answer.output_tokens) == (False, None)
    assert answer.stats(100.5) == Stats(total_ms=500, prompt_tokens=7)
    answer.pieces = 3
    assert (answer.is_estimated, answer.output_tokens) == (True, 3)
    assert answer.stats(100.5) == Stats(total_ms=500, prompt_tokens=7, output_tokens=3)


async def test_the_bytes_of_both_are_passed_on_but_for_what_keeps_the_prompt_whole(
    client: Client, fake: FakeOllama
) -> None:
    answer = streamed(PART, LAST)
    fake.script(CHAT, answer)
    result = await heard(client, target=f"{CHAT}?x=1")
    [sent] = fake.requests_to(CHAT)
    assert sent.raw == QUESTION[:2] + WHOLE + QUESTION[2:]
    assert sent.headers["x-test"] == "1"
    assert sent.query == "x=1"
    [head] = result.heads
    assert (head.status, head.server, head.server_url) == (200, "one", fake.url)
    assert head.digest == next(iter(fake.models.values())).digest
    assert (b"content-type", b"application/x-ndjson") in [
        (name.lower(), value) for name, value in head.headers
    ]
    assert (result.data, result.error) == (answer.body, None)
    receipt = await last_receipt(client)
    assert (receipt.outcome, receipt.proof, receipt.request_id) == ("ok", Proof.DIGEST, "r1")


@pytest.mark.parametrize(
    ("path", "allow_truncate", "inserted"),
    [
        (CHAT, False, WHOLE),
        (GENERATE, False, WHOLE),
        ("/api/embed", False, b'"truncate":false,'),
        (CHAT, True, b""),
        (V1_CHAT, False, b""),
        ("/api/embeddings", False, b""),
    ],
)
async def test_a_prompt_is_kept_whole_on_the_paths_that_can(
    client: Client, fake: FakeOllama, path: str, allow_truncate: bool, inserted: bytes
) -> None:
    fake.script(path, Answer(200, {"model": "alpha", "done": True}))
    await heard(client, path=path, allow_truncate=allow_truncate)
    [sent] = fake.requests_to(path)
    assert sent.raw == QUESTION[:2] + inserted + QUESTION[2:]


async def test_a_connection_that_breaks_in_the_middle_of_an_answer_interrupts_it(
    client: Client, fake: FakeOllama
) -> None:
    """The server was there: nobody is told that it cannot be reached."""
    part = streamed(PART).body
    port = int(fake.url.rpartition(":")[2])
    is_read = asyncio.Event()

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 999\r\n\r\n"
        )
        writer.write(part)
        await is_read.wait()
        writer.transport.abort()

    class Reading(Heard):
        async def send(self, data: bytes) -> None:
            await super().send(data)
            is_read.set()

    await fake.stop()
    async with await asyncio.start_server(break_off, "127.0.0.1", port):
        result = await heard(client, result=Reading())
    assert result.data == part
    assert isinstance(result.error, StreamInterrupted)
    assert "server one broke off in the middle of the answer" in str(result.error)
    receipt = await last_receipt(client)
    assert (receipt.outcome, receipt.attempts) == ("stream_interrupted", 1)
    assert (receipt.stats.output_tokens, receipt.estimated) == (1, True)


async def test_who_was_told_of_a_failure_by_the_answer_itself_is_not_told_again(
    client: Client, fake: FakeOllama
) -> None:
    part, failure = streamed(PART).body, lines({"error": "no memory"}).body
    port = int(fake.url.rpartition(":")[2])
    is_read = asyncio.Event()

    async def fail_later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n"
        )
        writer.write(head % len(part + failure) + part)
        await is_read.wait()
        writer.write(failure)
        writer.close()

    class Reading(Heard):
        async def send(self, data: bytes) -> None:
            await super().send(data)
            is_read.set()

    await fake.stop()
    result = Reading()
    async with await asyncio.start_server(fail_later, "127.0.0.1", port):
        with pytest.raises(ToldFailure, match="failed in the middle of the answer") as told:
            await heard(client, result=result)
    assert told.value.error.code == "stream_interrupted"
    assert result.data == part + failure
    assert (await last_receipt(client)).outcome == "stream_interrupted"


async def test_an_answer_to_half_a_prompt_is_none(client: Client, fake: FakeOllama) -> None:
    """Who has not been sent the whole of a prompt cannot have read it."""
    body = streamed(PART, LAST).body
    port = int(fake.url.rpartition(":")[2])
    long = QUESTION.replace(b"hi", b"x" * 30_000_000)

    async def answer_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n"
        )
        writer.write(head % len(body) + body)
        await is_over.wait()
        writer.transport.abort()

    await fake.stop()
    is_over = asyncio.Event()
    async with await asyncio.start_server(answer_early, "127.0.0.1", port):
        result = await heard(client, body=long)
        is_over.set()
    assert (result.heads, result.data) == ([], b"")
    assert "before it was sent the whole prompt" in str(result.error)
    assert (await last_receipt(client)).outcome == "upstream_error"


async def test_a_v1_server_is_sent_the_body_as_it_is(client: Client) -> None:
    async with FakeOllama(ALPHA) as fake:
        await client.servers.add(name="one", url=fake.url, api_version="v1")
        await client.discover()
        fake.script(CHAT, Answer(200, {"model": "alpha", "done": True}))
        assert (await heard(client)).error is None
        assert fake.requests_to(CHAT)[0].raw == QUESTION


@pytest.mark.parametrize("model", ["alpha", "alpha:latest"])
async def test_an_answer_may_carry_the_name_as_asked_or_as_listed(
    client: Client, fake: FakeOllama, model: str
) -> None:
    fake.script(CHAT, Answer(200, {"model": model, "done": True}))
    result = await heard(client)
    assert result.error is None
    assert json.loads(result.data)["model"] == model


async def test_another_name_is_refused_before_anything_is_shown(
    client: Client, fake: FakeOllama
) -> None:
    fake.script(CHAT, streamed({**PART, "model": "beta"}, LAST))
    result = await heard(client)
    assert type(result.error) is ModelMismatch
    assert (result.heads, result.data) == ([], b"")


async def test_a_name_is_required_where_each_answer_has_one(
    client: Client, fake: FakeOllama
) -> None:
    for path in (CHAT, GENERATE, V1_CHAT, "/v1/completions"):
        fake.script(path, Answer(200, {"done": True}))
        result = await heard(client, path=path)
        assert type(result.error) is ModelMismatch
        assert "does not say which model answered" in str(result.error)
        assert result.data == b""
    fake.script("/api/embed", Answer(200, {"embeddings": [[0.5]]}))
    assert (await heard(client, path="/api/embed")).error is None


async def test_a_status_of_the_server_is_the_client_s_with_its_body(
    client: Client, fake: FakeOllama
) -> None:
    fake.script(CHAT, Answer(400, {"error": "bad option"}, headers={"X-Their": "1"}))
    refusal = (await heard(client)).error
    assert type(refusal) is Refusal
    assert (refusal.status, json.loads(refusal.body)) == (400, {"error": "bad option"})
    assert (b"x-their", b"1") in [(name.lower(), value) for name, value in refusal.headers]
    assert "bad option" in refusal.error.message
    assert (await last_receipt(client)).outcome == refusal.error.code


async def test_a_server_that_is_busy_is_stood_in_for(client: Client, fake: FakeOllama) -> None:
    async with FakeOllama(ALPHA) as other:
        await client.servers.add(name="two", url=other.url)
        await client.discover()
        fake.script(CHAT, Answer(503, {"error": "busy"}))
        result = await heard(client)
        assert [head.server for head in result.heads] == ["two"]
        fake.script(CHAT, Answer(503, {"error": "busy"}))
        other.script(CHAT, Answer(400, {"error": "no more"}))
        refusal = (await heard(client)).error
    assert type(refusal) is Refusal
    assert json.loads(refusal.body) == {"error": "no more"}


async def test_a_refusal_is_forgotten_when_another_server_does_not_answer(
    client: Client, fake: FakeOllama
) -> None:
    """What the first server said is no answer to what became of the second."""
    async with FakeOllama(ALPHA) as other:
        await client.servers.add(name="two", url=other.url)
        await client.discover()
        fake.script(CHAT, Answer(503, {"error": "busy"}))
        other.script(CHAT, Answer(200, b""))
        error = (await heard(client)).error
    assert type(error) is UpstreamError
    assert "server two sent nothing that is an answer" in error.message


async def test_an_answer_without_its_end_is_an_interruption(
    client: Client, fake: FakeOllama
) -> None:
    fake.script(CHAT, streamed(PART))
    result = await heard(client)
    assert type(result.error) is StreamInterrupted
    assert len(result.heads) == 1
    assert json.loads(result.data) == PART
    assert (await last_receipt(client)).outcome == result.error.code


async def test_an_error_before_anything_is_shown_is_an_error_of_the_server(
    client: Client, fake: FakeOllama
) -> None:
    fake.script(CHAT, streamed({"error": "no memory"}))
    result = await heard(client)
    assert type(result.error) is UpstreamError
    assert result.error.message == "server one failed: no memory"
    assert (result.heads, result.data) == ([], b"")


async def test_an_error_in_the_middle_was_told_by_the_answer_itself(
    client: Client, fake: FakeOllama
) -> None:
    async with FakeOllama(ALPHA) as gap:  # not asked: what has begun is continued by nobody
        await client.servers.add(name="two", url=gap.url)
        await client.discover()
        fake.script(CHAT, streamed(PART, {"error": "no memory"}))
        result = await heard(client)
        assert not gap.requests_to(CHAT)
    assert type(result.error) is ToldFailure or type(result.error) is UpstreamError
    assert "no memory" in str(result.error)


@pytest.mark.parametrize("reason", ["load", "unload"])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_prompt_is_not_answered_by_loading_the_model(
    client: Client, fake: FakeOllama, reason: str, is_stream: bool
) -> None:
    record = {**LAST, "done_reason": reason}
    answer = streamed(record) if is_stream else Answer(200, record)
    fake.script(CHAT, answer, answer)
    result = await heard(client)
    assert type(result.error) is UpstreamError
    assert f"did not read the prompt, and says {reason!r}" in result.error.message
    assert result.data == b""
    assert (await heard(client, asks=False)).error is None


async def test_the_time_to_the_first_token_counts_from_when_the_request_is_sent(
    client: Client, fake: FakeOllama
) -> None:
    held = Held()
    fake.script(TAGS, held)
    wish = Wish("alpha", digest=next(iter(fake.models.values())).digest)
    asking = asyncio.create_task(heard(client, wish))
    await held.arrived.wait()
    arrived = time.monotonic()
    await asyncio.sleep(0.1)  # what is waited for before: a list, as a slot might be
    waited = round((time.monotonic() - arrived) * 1000)
    held.release.set()
    assert (await asking).error is None
    stats = (await last_receipt(client)).stats
    assert 0 <= stats.time_to_first_token_ms <= stats.total_ms - waited + 1  # both are rounded


async def test_a_remote_host_answers_nobody_who_has_not_allowed_it(
    client: Client, fake: FakeOllama
) -> None:
    fake.script(CHAT, streamed({**PART, "remote_host": "https://far"}, LAST))
    result = await heard(client)
    assert type(result.error) is ModelMismatch
    assert "handed the prompt for 'alpha' to a remote host" in result.error.message
    assert (result.heads, result.data) == ([], b"")


async def test_the_end_of_a_demanded_build_waits_for_its_proof(
    client: Client, fake: FakeOllama
) -> None:
    digest = next(iter(fake.models.values())).digest
    answer = streamed(PART, LAST)
    wish = Wish("alpha", digest=digest)
    fake.script(CHAT, answer, answer)
    result = await heard(client, wish)
    assert (result.data, result.error) == (answer.body, None)
    listed = {"models": [{"name": "alpha:latest", "digest": digest}]}
    fake.script(TAGS, Answer(200, listed), Answer(200, {"models": []}))
    result = await heard(client, wish)
    assert type(result.error) is ModelMismatch
    assert json.loads(result.data) == PART
    assert len(result.heads) == 1


async def test_what_is_held_back_of_a_whole_document_comes_with_its_head(
    client: Client, fake: FakeOllama
) -> None:
    fake.script(CHAT, Answer(200, {**LAST, "prompt_eval_count": 7, "eval_count": 2}))
    result = await heard(client)
    assert len(result.heads) == 1
    assert json.loads(result.data)["done"] is True
    stats = (await last_receipt(client)).stats
    assert (stats.prompt_tokens, stats.output_tokens) == (7, 2)
    assert 0 <= stats.total_ms < 600_000
    assert (
        stats.time_to_first_token_ms is None or 0 <= stats.time_to_first_token_ms <= stats.total_ms
    )


@pytest.mark.parametrize(
    ("told", "tokens"),
    [
        ({"prompt_eval_count": 7, "eval_count": 5}, 12),
        ({"prompt_eval_count": 7}, 7 + 3),
        ({"eval_count": 5}, len(QUESTION) // 4 + 5),
        ({}, len(QUESTION) // 4 + 3),
    ],
)
async def test_tokens_that_the_server_does_not_tell_are_estimated(
    client: Client, fake: FakeOllama, told: dict[str, int], tokens: int
) -> None:
    fake.script(CHAT, streamed(PART, PART, {**LAST, **told}))
    counted: list[int] = []
    result = await heard(client, counted=counted.append)
    assert (result.error, counted) == (None, [tokens])


async def test_a_request_that_nobody_answered_took_no_tokens(
    client: Client, fake: FakeOllama
) -> None:
    await fake.stop()
    counted: list[int] = []
    assert (await heard(client, counted=counted.append)).error is not None
    assert counted == [0]


async def test_the_room_for_a_document_that_is_held_back_is_asked_for_once(
    client: Client, fake: FakeOllama
) -> None:
    sizes: list[int] = []

    class Keeping(Heard):
        def keep(self, size: int) -> None:
            sizes.append(size)

    fake.script(CHAT, Answer(200, {**LAST, "message": {"content": "x" * 100_000}}))
    result = await heard(client, result=Keeping())
    assert result.error is None
    assert min(sizes) > 0
    assert sum(sizes) == len(result.data)


async def test_no_room_is_asked_for_where_each_piece_goes_on_at_once(
    client: Client, fake: FakeOllama
) -> None:
    class Keeping(Heard):
        def keep(self, size: int) -> None:
            raise AssertionError(size)

    fake.script(CHAT, streamed(PART, LAST))
    result = await heard(client, result=Keeping())
    assert (result.error, len(result.data)) == (None, len(streamed(PART, LAST).body))


async def test_a_remote_host_answers_whom_the_rights_allow_it_under_its_own_name(
    client: Client,
) -> None:
    remote = SimulatedModel("alpha:cloud", remote_host="https://far", remote_model="alpha")
    async with FakeOllama(remote) as far:
        await register(client, far)
        far.script(CHAT, streamed({**PART, "model": "alpha"}, {**LAST, "model": "alpha"}))
        wish = Wish("alpha:cloud", rights=replace(OWNER, remote=True))
        result = await heard(client, wish, model="alpha:cloud")
        assert result.error is None


async def test_what_a_server_had_a_remote_host_answer_proves_no_build(
    client: Client, fake: FakeOllama
) -> None:
    fake.script(CHAT, streamed({**PART, "remote_host": "https://far"}, LAST))
    result = await heard(client, Wish("alpha", rights=replace(OWNER, remote=True)))
    assert result.error is None
    assert (await last_receipt(client)).proof is Proof.REMOTE


async def test_tokens_of_an_answer_that_has_none_are_those_of_the_prompt(
    client: Client, fake: FakeOllama
) -> None:
    fake.script(CHAT, Answer(200, {**LAST, "prompt_eval_count": 7}))
    counted: list[int] = []
    await heard(client, counted=counted.append)
    assert counted == [7]


async def test_nobody_waits_for_the_look_at_a_build_that_is_not_demanded(
    client: Client, fake: FakeOllama
) -> None:
    fake.script(TAGS, held := Held())
    async with asyncio.timeout(30):
        result = await heard(client)
        await held.arrived.wait()
    assert (result.error, len(result.heads)) == (None, 1)
    held.release.set()
    assert (await last_receipt(client)).proof is Proof.DIGEST
