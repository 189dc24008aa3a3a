"""The way to an answer carries anything: here bytes, and a pull, which proves nothing."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.answers import Proof, Stats
from ollama_admin.domain.callers import OWNER, Caller, Rights, Way
from ollama_admin.domain.names import ModelName
from ollama_admin.domain.receipts import Receipt
from ollama_admin.domain.requests import Request, Route, Terms
from ollama_admin.domain.servers import ApiVersion, ServerRef
from ollama_admin.errors import (
    DatabaseUnavailable,
    ModelMismatch,
    RemoteNotAllowed,
    RequestCancelled,
    ServerBusy,
    ServerInactive,
    ServerUnreachable,
    StreamInterrupted,
    UpstreamError,
)
from ollama_admin.ollama.endpoint import Endpoint
from ollama_admin.rules.candidates import Candidate
from ollama_admin.services.dispatch import Accepted, Carrier
from ollama_admin.services.trail import Deadline, Trail
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import HoldAt
from tests.fake_ollama import (
    Answer,
    FakeOllama,
    Held,
    Raw,
    Silence,
    encode_chunk,
    pull_progress,
)
from tests.services.asking import register

ALPHA = SimulatedModel("alpha")
BODY = b'{"model": "alpha",  "messages":[{"role":"user","content":"hi"}], "unknown": [1.50]}'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(slots=True)
class Passage:
    """What is known of bytes that pass through."""

    started: float
    size: int = 0
    is_begun: bool = False
    truncated: bool | None = None
    is_remote: bool = False
    is_estimated: bool = False
    sent_at: float | None = None
    server_started: datetime | None = None

    def stats(self, now: float) -> Stats:
        return Stats(total_ms=round((now - self.started) * 1000), output_tokens=self.size)


class Relay(Carrier[Passage]):
    """Posts bytes to a path, and keeps the bytes that come."""

    def __init__(self, path: str, body: bytes = BODY) -> None:
        self._path = path
        self._body = body
        self.received = b""

    def begin(self, candidate: Candidate, started: float) -> Passage:
        return Passage(started=started)

    async def carry(self, candidate: Candidate, endpoint: Endpoint, answer: Passage) -> None:
        async with endpoint.stream("POST", self._path, body=self._body) as response:
            async for chunk in response.chunks:
                answer.is_begun = True
                answer.size += len(chunk)
                self.received += chunk


class Stumbling(Relay):
    """Fails once as a server does that another may stand in for: on `begin`, or after a part."""

    def __init__(self, path: str, *, on_begin: bool) -> None:
        super().__init__(path)
        self._on_begin = on_begin

    def begin(self, candidate: Candidate, started: float) -> Passage:
        if self._on_begin:
            raise RuntimeError("a fault of the caller's own")
        return super().begin(candidate, started)

    async def carry(self, candidate: Candidate, endpoint: Endpoint, answer: Passage) -> None:
        answer.is_begun = True
        raise ServerBusy("no more", may_pass_on=True)


class FromElsewhere(Relay):
    """Hears from the answer itself that a remote host gave it."""

    def begin(self, candidate: Candidate, started: float) -> Passage:
        return Passage(started=started, is_remote=True)


class Pull(Relay):
    """The progress of a pull: what it changes is what the server's list would say."""

    proves = False

    def __init__(self) -> None:
        super().__init__("/api/pull", b'{"model":"alpha"}')


@pytest.fixture
async def fakes() -> AsyncIterator[list[FakeOllama]]:
    async with FakeOllama(ALPHA) as one, FakeOllama(ALPHA) as two:
        yield [one, two]


def request(
    terms: Terms | None = None,
    *,
    note: Callable[[str], None] = lambda _: None,
    rights: Rights = OWNER,
    **route: Any,
) -> Request:
    name = ModelName.parse(route.setdefault("model", "alpha"))
    caller = Caller(way=Way.API, rights=rights, note=note)
    return Request(name=name, route=Route(**route), terms=terms or Terms(), caller=caller)


async def carried(
    client: Client, asked: Request, carrier: Relay
) -> tuple[bytes, Accepted[Passage]]:
    """All the bytes, and the acceptance that comes last."""
    accepted = await client._dispatch().run(asked, carrier)
    return carrier.received, accepted


async def last_receipt(client: Client) -> Receipt:
    await client._resources.recorder.aclose()
    return (await client.receipts.list())[0]


async def test_bytes_are_relayed_with_proof_and_receipt(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, fakes[0])
    body, accepted = await carried(client, request(), Relay("/api/chat"))
    [sent] = fakes[0].requests_to("/api/chat")
    assert sent.raw == BODY
    assert json.loads(body.splitlines()[-1])["done"] is True
    assert accepted.judgement.proof is Proof.DIGEST
    assert accepted.stats.output_tokens == len(body)
    receipt = await last_receipt(client)
    assert (receipt.outcome, receipt.proof, receipt.way) == ("ok", Proof.DIGEST, Way.API)
    assert receipt.stats is not None
    assert receipt.stats.output_tokens == len(body)


async def test_bytes_go_to_the_next_server_with_the_build(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, *fakes)
    fakes[0].script("/api/chat", Answer(503))
    _, accepted = await carried(client, request(), Relay("/api/chat"))
    assert accepted.candidate.target.ref.name == "two"
    [attempt] = accepted.attempts
    assert (attempt.server.name, type(attempt.error)) == ("one", ServerBusy)
    assert fakes[1].requests_to("/api/chat")[0].raw == BODY


async def test_an_answer_that_has_begun_is_not_continued_by_another_server(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, *fakes)
    with pytest.raises(ServerBusy, match="no more"):
        await carried(client, request(), Stumbling("/api/chat", on_begin=False))
    assert (await last_receipt(client)).attempts == 1


async def test_times_are_whole_milliseconds_since_the_beginning(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, fakes[0])
    _, accepted = await carried(client, request(), Relay("/api/chat"))
    began = time.monotonic() - 100_000
    trail = Trail(request=request(), started=began, deadline=Deadline(None))
    trail.failed(accepted.candidate, ServerBusy("no more"), began)
    receipt = trail.receipt("server_busy")
    assert receipt.stats is not None
    for ms in (trail.attempts[0].ms, receipt.stats.total_ms):
        assert isinstance(ms, int)
        assert 100_000_000 <= ms < 100_060_000


async def test_a_request_that_is_cancelled_ends_as_cancelled(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, fakes[0])
    fakes[0].script("/api/chat", hold := Held())
    asking = asyncio.create_task(carried(client, request(), Relay("/api/chat")))
    await hold.arrived.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await last_receipt(client)).outcome == "cancelled"


async def test_a_request_that_is_cancelled_on_an_order_says_so(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, fakes[0])
    fakes[0].script("/api/chat", hold := Held())
    asking = asyncio.create_task(carried(client, request(), Relay("/api/chat")))
    await hold.arrived.wait()
    running = client._resources.recorder.running
    [trail] = running.values()
    trail.cancel()
    with pytest.raises(RequestCancelled):
        await asking
    assert running == {}
    assert (await last_receipt(client)).outcome == "cancelled"


async def test_a_server_that_failed_is_asked_last_for_a_while(
    client: Client, fakes: list[FakeOllama], monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(client, *fakes)
    now = datetime.now(UTC)
    monkeypatch.setattr(client._resources.loads.health, "_now", lambda: now)

    notes: list[str] = []

    async def asked() -> list[int]:
        await carried(client, request(note=notes.append), Relay("/api/chat"))
        return [len(fake.requests_to("/api/chat")) for fake in fakes]

    fakes[0].script("/api/chat", Answer(503, {"error": "busy"}))
    assert await asked() == [1, 1]
    assert await asked() == [1, 2]
    [note] = notes
    assert note.endswith("; asking another server that holds the same build")


async def test_what_was_kept_back_is_handed_on_once_the_answer_is_accepted(
    client: Client, fakes: list[FakeOllama]
) -> None:
    class Finishing(Relay):
        async def finish(self, answer: Passage) -> None:
            self.received += b"end"

    await register(client, fakes[0])
    received, _ = await carried(client, request(), Finishing("/api/chat"))
    assert received.endswith(b"end")


async def test_a_look_at_the_build_behind_the_answer_stands_in_the_receipt(
    client: Client, fakes: list[FakeOllama]
) -> None:
    class Behind(Relay):
        proves_behind = True

    await register(client, fakes[0])
    _, accepted = await carried(client, request(), Behind("/api/chat"))
    assert accepted.judgement.proof is Proof.UNREAD
    await client._resources.lists.settle()
    receipt = await last_receipt(client)
    assert (receipt.proof, receipt.outcome) == (Proof.DIGEST, "ok")


async def test_what_the_database_cannot_do_leaves_no_receipt(
    client: Client, fakes: list[FakeOllama]
) -> None:
    class Away(Relay):
        def begin(self, candidate: Candidate, started: float) -> Passage:
            raise DatabaseUnavailable("it is away")

    await register(client, fakes[0])
    with pytest.raises(DatabaseUnavailable, match="it is away"):
        await carried(client, request(), Away("/api/chat"))
    await client._resources.recorder.aclose()
    assert await client.receipts.list() == []


def test_a_server_that_is_asked_again_is_counted_once() -> None:
    """Its slot may be lost before anything was sent."""
    one, two = [ServerRef(id=number, name=None, url="http://gpu") for number in (1, 2)]
    trail = Trail(request=request(), started=0, deadline=Deadline(None))
    for server in (one, one, two, two):
        trail.asking(server)
    receipt = trail.receipt("ok")
    assert (receipt.attempts, receipt.server) == (2, two)


async def test_a_deadline_that_is_over_is_an_interruption_once_the_answer_has_begun() -> None:
    deadline, never = Deadline.after(0), asyncio.Event()
    with pytest.raises(StreamInterrupted, match="in the middle of the answer"):
        await deadline.keep(never.wait(), lambda: True)
    with pytest.raises(ServerUnreachable, match="timed out after"):
        await deadline.keep(never.wait())


async def test_what_fails_before_anything_is_sent_gives_the_slot_back(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await client.servers.add(name="one", url=fakes[0].url, max_concurrent=1)
    await client.discover()
    with pytest.raises(RuntimeError):
        await carried(client, request(), Stumbling("/api/chat", on_begin=True))
    _, accepted = await carried(client, request(Terms(wait=0)), Relay("/api/chat"))
    assert accepted.judgement.proof is Proof.DIGEST


async def test_the_receipt_of_an_answer_that_broke_off_tells_what_came(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, fakes[0])
    fakes[0].script("/api/chat", Raw((CHUNKED, encode_chunk(b"twelve bytes"))))
    with pytest.raises(UpstreamError):
        await carried(client, request(), Relay("/api/chat"))
    receipt = await last_receipt(client)
    assert (receipt.attempts, receipt.model) == (1, "alpha:latest")
    assert receipt.stats is not None
    assert receipt.stats.output_tokens == len(b"twelve bytes")


async def test_a_receipt_is_dated_when_the_answer_ended(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, fakes[0])
    before = datetime.now(UTC)
    await carried(client, request(), Relay("/api/chat"))
    receipt = await last_receipt(client)
    assert before <= receipt.created_at <= datetime.now(UTC)


async def test_a_timeout_before_anything_was_sent_is_a_server_that_was_not_reached(
    client: Client, fakes: list[FakeOllama]
) -> None:
    """Whether it was waited for a list or for a slot."""
    await register(client, fakes[0], max_concurrent=1)
    fakes[0].script("/api/tags", Silence())
    with pytest.raises(ServerUnreachable, match="timed out after"):
        await carried(client, request(Terms(verified=True, timeout=0.5)), Relay("/api/chat"))
    server = await client.servers.show("one")
    async with await client._resources.slots.first_free([server], wait=0):
        with pytest.raises(ServerUnreachable, match="timed out after"):
            await carried(client, request(Terms(timeout=0.1)), Relay("/api/chat"))
    assert fakes[0].requests_to("/api/chat") == []


@pytest.mark.parametrize("by", ["server", "server_url"])
async def test_only_by_its_url_a_server_answers_that_is_disabled_meanwhile(
    client: Client, fakes: list[FakeOllama], by: str
) -> None:
    """It is disabled while its list is read, before a slot is taken there."""
    await client.servers.add(name="one", url=fakes[0].url)
    fakes[0].script("/api/tags", look := Held())
    place = {"server": "one"} if by == "server" else {"server_url": fakes[0].url}
    asking = asyncio.create_task(carried(client, request(**place), Relay("/api/chat")))
    await look.arrived.wait()
    await client.servers.disable("one")
    look.release.set()
    if by == "server":
        with pytest.raises(ServerInactive):
            await asking
    else:
        _, accepted = await asking
        assert accepted.candidate.target.ref.name == "one"


async def test_a_caller_without_the_right_to_inactive_servers_reaches_none_by_its_url(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await client.servers.add(name="one", url=fakes[0].url)
    fakes[0].script("/api/tags", look := Held())
    rights = replace(OWNER, inactive_by_url=False)
    asked = request(server_url=fakes[0].url, rights=rights)
    asking = asyncio.create_task(carried(client, asked, Relay("/api/chat")))
    await look.arrived.wait()
    await client.servers.disable("one")
    look.release.set()
    with pytest.raises(ServerInactive):
        await asking
    assert fakes[0].requests_to("/api/chat") == []


async def test_the_next_server_proves_the_build_although_names_were_enough_for_the_first(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, *fakes)
    fakes[0].script("/api/chat", Answer(503))
    _, accepted = await carried(client, request(Terms(no_verify=True)), Relay("/api/chat"))
    assert accepted.candidate.target.ref.name == "two"
    assert accepted.judgement.proof is Proof.DIGEST


async def test_a_remote_answer_is_noted_once_and_proves_no_build(
    client: Client, fakes: list[FakeOllama], notes: list[str]
) -> None:
    remote = SimulatedModel("far", remote_host="https://far.example", remote_model="far")
    fakes[0].point("far", remote)
    await register(client, fakes[0])
    asked = request(Terms(allow_remote=True), model="far", note=notes.append)
    _, accepted = await carried(client, asked, Relay("/api/chat", b'{"model": "far"}'))
    assert accepted.judgement.proof is Proof.REMOTE
    assert notes == [
        "model far:latest answers from a remote host: the prompt leaves the fleet, as allowed"
    ]


async def test_a_remote_host_that_answers_unexpectedly_meets_no_demand(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, fakes[0])
    with pytest.raises(ModelMismatch, match="a remote host answered for model alpha"):
        await carried(client, request(Terms(verified=True)), FromElsewhere("/api/chat"))


async def test_the_caller_hears_that_its_request_waits(
    client: Client, fakes: list[FakeOllama], notes: list[str]
) -> None:
    await register(client, fakes[0], max_concurrent=1)
    heard: list[str] = []
    waits = asyncio.Event()

    def hear(note: str) -> None:
        heard.append(note)
        waits.set()

    server = await client.servers.show("one")
    async with await client._resources.slots.first_free([server], wait=0):
        asking = asyncio.create_task(carried(client, request(note=hear), Relay("/api/chat")))
        await waits.wait()
    await asking
    assert ["waiting up to 300 s" in note for note in heard] == [True]
    assert notes == []  # of the client, which others share


async def test_the_build_that_is_demanded_need_not_be_the_stored_one(
    client: Client, fakes: list[FakeOllama]
) -> None:
    """A named server is asked itself: it was given the build after it was discovered."""
    await register(client, fakes[0])
    new = SimulatedModel("alpha", build="another")
    fakes[0].point("alpha", new)
    asked = request(Terms(digest=new.digest), server="one")
    _, accepted = await carried(client, asked, Relay("/api/chat"))
    assert (accepted.judgement.proof, accepted.judgement.digest) == (Proof.DIGEST, new.digest)


async def test_bytes_are_held_to_the_demanded_build(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, fakes[0])
    fakes[0].point("alpha", SimulatedModel("alpha", build="another"))
    with pytest.raises(ModelMismatch):
        await carried(client, request(Terms(verified=True)), Relay("/api/chat"))
    assert fakes[0].requests_to("/api/chat") == []


async def test_a_dialect_that_cannot_carry_a_path_drops_out(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await client.servers.add(name="v1", url=fakes[0].url, api_version=ApiVersion.V1, priority=1)
    await client.servers.add(name="native", url=fakes[1].url)
    await client.discover()
    asked = Request(
        name=ModelName.parse("alpha"),
        route=Route(model="alpha"),
        terms=Terms(),
        caller=Caller(way=Way.API, rights=OWNER, note=lambda _: None),
        cannot_carry={ApiVersion.V1: "/api/chat"},
    )
    _, accepted = await carried(client, asked, Relay("/api/chat"))
    assert accepted.candidate.target.ref.name == "native"


async def test_a_pull_is_carried_without_a_look_at_the_list(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, fakes[0])
    fakes[0].requests.clear()
    records = [encode_chunk(record) for record in pull_progress("alpha")]
    fakes[0].script("/api/pull", Raw((CHUNKED, *records, encode_chunk(b""))))
    body, accepted = await carried(client, request(server="one"), Pull())
    assert body == b"".join(pull_progress("alpha"))
    assert accepted.judgement.proof is Proof.NAME
    assert [request.path for request in fakes[0].requests] == ["/api/pull"]


async def test_what_leaves_the_fleet_is_refused_whatever_it_carries(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, fakes[0])
    with pytest.raises(RemoteNotAllowed):
        await carried(client, request(model="big:cloud", server="one"), Relay("/api/chat"))
    assert fakes[0].requests_to("/api/chat") == []


async def test_what_proves_no_build_is_not_sent_where_one_is_demanded(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, fakes[0])
    with pytest.raises(ModelMismatch, match=r"such an answer proves no build.*\(--digest\)"):
        await carried(client, request(Terms(digest=ALPHA.digest), server="one"), Pull())
    assert fakes[0].requests_to("/api/pull") == []


async def test_what_proves_no_build_is_passed_on_to_nobody(
    client: Client, fakes: list[FakeOllama]
) -> None:
    """The next server would have to show that it holds the build of the first."""
    await register(client, *fakes)
    fakes[0].script("/api/pull", Answer(503))
    with pytest.raises(ServerBusy):
        await carried(client, request(), Pull())
    assert fakes[1].requests_to("/api/pull") == []


async def test_the_receipt_of_a_server_without_a_free_slot_names_it(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await client.servers.add(name="one", url=fakes[0].url, max_concurrent=1)
    await client.discover()
    fakes[0].before_token = HoldAt(1)
    async with client.stream(prompt="hi", model="alpha") as stream:
        await anext(stream)
        with pytest.raises(ServerBusy):
            await carried(client, request(Terms(wait=0)), Relay("/api/chat"))
    fakes[0].before_token.release.set()
    await client._resources.recorder.aclose()
    receipts = await client.receipts.list()
    [busy] = [receipt for receipt in receipts if receipt.outcome == "server_busy"]
    assert busy.server is not None
    assert (busy.server.name, busy.attempts) == ("one", 1)
