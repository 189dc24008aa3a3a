"""Random requests in every dialect through the gateway: no answer of another server, model or build
is whole to its client, and the receipt says what was proven.
"""

import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import timedelta

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert

from ollama_admin.domain.receipts import Receipt
from ollama_admin.settings import Settings
from ollama_admin.simulator.http import Connection as Socket
from ollama_admin.simulator.http import RecordedRequest
from ollama_admin.store import pins as pin_store
from ollama_admin.store import receipts as receipt_store
from ollama_admin.store.engines import open_engine
from ollama_admin.store.receipts import Wanted
from ollama_admin.store.tables import models as model_rows
from ollama_admin.store.tables import pins, servers
from tests.api.service import SECONDS, Heard, Service
from tests.fake_ollama import Ending, FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread
from tests.gateway.speaking import VECTORS, heard_text, played
from tests.gateway.upstream import RELAYED
from tests.services import on_sockets
from tests.services.on_sockets import REFUSALS, ServerOnSocket, with_sockets
from tests.services.rules import (
    Asked,
    Behaviour,
    Kind,
    Move,
    Place,
    Server,
    Tag,
    Verdict,
    When,
    verdict,
)
from tests.services.stops import LARGEST_FLEET, Step, Stop, allowed, as_it_may_be, at_step, steps
from tests.services.trials import Trial, digest, model_row, says, server_row, trials

STAYS: Step = (None,) * LARGEST_FLEET
LONG = (pytest.mark.chaos, pytest.mark.timeout(3600))
PATHS = [path for path in RELAYED if path != "/api/embeddings"]
NATIVE = ("/api/generate", "/api/chat")
NAMED = (*NATIVE, "/v1/chat/completions", "/v1/completions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A trial in one dialect; `by_header` says how a server is named, `ending` how a killed one
    ends its connections.
    """

    trial: Trial
    path: str
    streams: bool
    by_header: bool
    ending: Ending


def call_of(trial: Trial, path: str, streams: bool, by_header: bool, ending: Ending) -> Call:
    """What a gateway can be asked of it: it waits for slots, and asks no remote host."""
    kind = Kind.NATIVE
    if path != "/api/embed" and any(server.kind is Kind.V1 for server in trial.fleet):
        kind = Kind.V1
    fleet = tuple(
        _fitting(server, path, kind, priority=9 - at) for at, server in enumerate(trial.fleet)
    )
    asked = replace(
        trial.asked,
        place=None if trial.asked.place is None else Place.SERVER,
        verified=False,
        no_verify=False,
        allow_remote=False,
        proves_behind=path not in NATIVE or kind is Kind.NATIVE,  # else it is translated
    )
    trial = with_sockets(replace(trial, fleet=fleet, asked=asked))
    return Call(trial=trial, path=path, streams=streams, by_header=by_header, ending=ending)


def _fitting(server: Server, path: str, ollama: Kind, *, priority: int) -> Server:
    """Of one order: whose turn it is among equals is no matter of exactness."""
    kind = ollama
    if server.kind is Kind.OTHER and path != "/api/embed":
        kind = Kind.OTHER
    return replace(server, kind=kind, priority=priority, is_registered=True, is_full=False)


calls = st.builds(
    call_of,
    trials(),
    st.sampled_from(PATHS),
    st.booleans(),
    st.booleans(),
    st.sampled_from([Ending.FIN, Ending.RESET]),
)


class SpeakingServer(ServerOnSocket):
    """Answers in every dialect."""

    ending = Ending.FIN

    @property
    def asked(self) -> list[str]:
        return [
            str(request.body["model"])
            for request in self.requests
            if request.path in RELAYED and isinstance(request.body, dict)
        ]

    async def answer(self, connection: Socket, request: RecordedRequest) -> None:
        if request.path not in RELAYED:
            await super().answer(connection, request)
            return
        told, name = self.told, self.asked[-1]
        self.move(When.AT_SENDING, timedelta(milliseconds=-1))
        found = told.found([Tag(name=listed) for listed in self.models], name)
        fate = told.answering
        if not found and fate not in REFUSALS:
            fate = Behaviour.S404
        if fate in REFUSALS:
            await REFUSALS[fate].play(self, connection, request)
            self.stop_if_told()
            return
        self.spoke = True
        build, began = self.models[found[0].name].digest[0], self.clock()
        self.move(When.WHILE_ANSWERING, timedelta(0))
        streams = isinstance(request.body, dict) and bool(request.body.get("stream"))
        answer = played(
            request.path,
            streams=streams,
            text=says(build),
            name=name,
            began=began,
            fate=fate,
            end=self.ending,
        )
        await answer.play(self, connection, request)
        self.stop_if_told()


class Bench:
    """One service and its servers for all trials, each with servers of new ids and names."""

    def __init__(self, database_url: str) -> None:
        self._stack = ExitStack()
        self._thread = self._stack.enter_context(FakeOllamaThread(FakeOllama()))
        self._servers = self._thread.run(on_sockets.start(LARGEST_FLEET, SpeakingServer))
        self._stack.callback(lambda: self._thread.run(on_sockets.stop(self._servers)))
        self._service = self._stack.enter_context(Service(database_url))
        self._client = self._stack.enter_context(self._service.client())
        self._engine = open_engine(Settings.read({}, database_url), sqlite_patience=30)
        self._stack.callback(self._engine.dispose)
        self._count = 0
        self._due: dict[str, tuple[Call, list[tuple[Server, ...]]]] = {}

    def close(self) -> None:
        self._stack.close()

    def try_out(self, call: Call, steps: Sequence[Step]) -> None:
        """Raise AssertionError unless the client hears what the rules say, each time it asks."""
        self._count += 1
        fleet = tuple(
            replace(server, name=f"{server.name}-{self._count}") for server in call.trial.fleet
        )
        call = replace(call, trial=replace(call.trial, fleet=fleet))
        with self._engine.begin() as connection:
            self._store(connection, call.trial)
        assert self._service.opened is not None
        self._service.opened._resources.registry.forget()
        asked_before: set[str] = set()
        for number, step in enumerate(steps):
            now = with_sockets(replace(call.trial, fleet=at_step(fleet, step)))
            sent = self._try_once(replace(call, trial=now), number == 0, asked_before)
            asked_before |= set(sent)

    def _try_once(
        self, call: Call, is_first: bool, asked_before: Container[str]
    ) -> Mapping[str, Sequence[str]]:
        """The names that each server was asked for."""
        fleet = call.trial.fleet
        for server, told in zip(self._servers, fleet, strict=False):
            server.ending = call.ending
            self._thread.run(server.become(told))
        heard = self._ask(call)
        self._settle(heard.headers["x-request-id"])
        sent = {
            told.name: server.asked
            for told, server in zip(fleet, self._servers, strict=False)
            if server.asked
        }
        known = as_it_may_be(fleet, is_first=is_first, asked_before=asked_before)
        passed = allowed(known, lambda fleet: compare(call, due_of(call, fleet), heard, sent))
        self._due[heard.headers["x-request-id"]] = call, passed
        return sent

    def compare_receipts(self) -> None:
        """Raise AssertionError unless the receipts of all trials say what became of them."""
        assert self._service.opened is not None
        self._service.run(self._service.opened._resources.recorder.aclose())
        with self._engine.begin() as connection:
            receipts = receipt_store.newest(connection, Wanted(), len(self._due))
        by_id = {receipt.request_id: receipt for receipt in receipts}
        for request_id, (call, fleets) in self._due.items():
            receipt = by_id.get(request_id)
            allowed(iter(fleets), lambda fleet: compare_receipt(call, due_of(call, fleet), receipt))  # noqa: B023

    def _store(self, connection: Connection, trial: Trial) -> None:
        connection.execute(delete(servers))
        connection.execute(delete(pins))
        rows = list(enumerate(trial.fleet, self._id(0)))
        urls = {
            told.name: server.url for told, server in zip(trial.fleet, self._servers, strict=False)
        }
        connection.execute(
            insert(servers), [server_row(number, row, urls[row.name]) for number, row in rows]
        )
        listed = [model_row(number, row, tag) for number, row in rows for tag in row.catalogue]
        if listed:
            connection.execute(insert(model_rows), listed)
        if trial.asked.pin is not None:
            pin_store.put(connection, trial.asked.model, digest(trial.asked.pin))

    def _id(self, at: int) -> int:
        return self._count * LARGEST_FLEET + at

    def _ask(self, call: Call) -> Heard:
        asked = call.trial.asked
        body = {"model": asked.model, "stream": call.streams, **RELAYED[call.path]}
        headers, path = {}, call.path
        if asked.digest is not None:
            headers["X-Ollama-Admin-Digest"] = digest(asked.digest)
        if asked.place is not None:
            name = call.trial.fleet[asked.at].name
            if call.by_header:
                headers["X-Ollama-Admin-Server"] = name
            else:
                path = f"/servers/{name}{path}"
        with self._client.stream("POST", path, json=body, headers=headers) as answer:
            pieces, is_whole = b"", True
            try:
                for piece in answer.iter_raw():
                    pieces += piece
            except httpx.RemoteProtocolError:
                is_whole = False
            return Heard(answer.status_code, answer.headers, pieces, is_whole)

    def _settle(self, request_id: str) -> None:
        """Wait until the look at the build behind the answer was made."""
        begin, ends = f"{request_id} POST ", time.monotonic() + SECONDS
        while not any(line.startswith(begin) for line in self._service.logged[-5:]):
            assert time.monotonic() < ends, self._service.logged[-5:]
            time.sleep(0.001)
        assert self._service.opened is not None
        self._service.run(self._service.opened._resources.lists.settle())


def due_of(call: Call, fleet: tuple[Server, ...]) -> Verdict:
    """What the rules say where that is true of the fleet: of the paths only Ollama's own two tell
    times and remote hosts, and some answers need not carry a name.
    """
    if call.path not in NATIVE:
        fleet = tuple(
            replace(server, kind=Kind.V1) if server.kind is Kind.NATIVE else server
            for server in fleet
        )
    if call.path not in NAMED:
        fleet = tuple(
            replace(server, answering=Behaviour.WELL)
            if server.answering is Behaviour.NAMELESS
            else server
            for server in fleet
        )
    return verdict(fleet, call.trial.asked)


def compare(call: Call, due: Verdict, heard: Heard, sent: dict[str, list[str]]) -> None:
    said = (heard.status, dict(heard.headers), heard.body[-300:], heard.is_whole)
    assert due.sent <= set(sent) <= due.sent | due.maybe_sent, f"{due}: sent to {sent}: {said}"
    text = heard_text(call.path, heard)
    if due.answer is None:
        assert text is None, f"{due.errors}: {said}"
        return
    assert text == says(due.answer.build or ""), f"{due}: {said}"
    if "x-ollama-admin-server" in heard.headers:
        assert heard.headers["x-ollama-admin-server"] == due.answer.server


def compare_receipt(call: Call, due: Verdict, receipt: Receipt | None) -> None:
    if receipt is None:  # refused before anybody was looked for
        assert due.answer is None
        return
    if due.answer is None:
        errors = set(due.errors)
        is_reset = call.ending is Ending.RESET or any(server.stops for server in call.trial.fleet)
        if is_reset and "stream_interrupted" in errors:
            errors.add("server_unreachable")  # a reset takes back what was not read yet
        is_document = not call.streams or call.path in VECTORS
        if is_document and "stream_interrupted" in errors:
            errors |= {"server_unreachable", "upstream_error"}  # nothing of a document was shown
        assert receipt.outcome in errors, f"{receipt}: {due}: {call}"
        return
    assert receipt.outcome == "ok", f"{receipt}: {due}: {call}"
    assert str(receipt.proof) in due.answer.proofs, f"{receipt}: {due}: {call}"
    if receipt.proof == "digest":
        assert receipt.digest == digest(due.answer.proven or "")


@pytest.fixture
def bench(sqlite_url: str) -> Iterator[Bench]:
    with closing(Bench(sqlite_url)) as opened:
        yield opened


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("path", NATIVE)
def test_a_build_that_was_moved_just_before_the_request_has_drifted(
    bench: Bench, path: str, streams: bool
) -> None:
    """By the server's own clock, which goes on: its answers and its list tell of today."""
    alpha = (Tag(name="alpha:latest", build="a"),)
    moved = Move(build="b", when=When.AT_SENDING)
    server = Server(name="server", catalogue=alpha, tags=alpha, move=moved)
    trial = Trial(fleet=(server,), asked=Asked(model="alpha"))
    bench.try_out(call_of(trial, path, streams, False, Ending.FIN), [STAYS])
    bench.compare_receipts()


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
def test_a_build_is_proven_without_a_look_before_only_by_the_times_of_an_answer(
    bench: Bench, path: str
) -> None:
    listed = {
        "catalogue": (Tag(name="alpha:latest"),),
        "tags": (Tag(name="alpha:latest", build="a"),),
    }
    server = Server(name="server", **listed, listing=Behaviour.S503)
    trial = Trial(fleet=(server,), asked=Asked(model="alpha"))
    bench.try_out(call_of(trial, path, True, False, Ending.FIN), [STAYS])
    bench.compare_receipts()


def test_a_build_that_was_moved_back_within_a_second_may_be_passed_over(bench: Bench) -> None:
    """A list of the last second does for a server that follows another one."""
    alpha = (Tag(name="alpha:latest", build="a"),)
    moves = Move(build="b", when=When.WHILE_ANSWERING)
    known = {"catalogue": alpha, "tags": alpha}
    fleet = (Server(name="first", **known), Server(name="second", **known, move=moves))
    trial = Trial(fleet=fleet, asked=Asked(model="alpha"))
    first_is_gone: Step = (Stop.BEFORE, *STAYS[1:])
    call = call_of(trial, "/api/chat", True, False, Ending.FIN)
    bench.try_out(call, [first_is_gone, first_is_gone])
    bench.compare_receipts()


# the gateway, in another thread, draws its jitter while hypothesis draws a trial
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@pytest.mark.parametrize("examples", [150, pytest.param(10_000, marks=LONG)])
def test_no_answer_of_another_server_model_or_build_is_whole(bench: Bench, examples: int) -> None:
    @settings(
        max_examples=examples,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(call=calls)
    def never_breaks_a_rule(call: Call) -> None:
        bench.try_out(call, [STAYS])

    never_breaks_a_rule()
    bench.compare_receipts()


# the gateway, in another thread, draws its jitter while hypothesis draws a trial
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@pytest.mark.parametrize("examples", [40, pytest.param(10_000, marks=LONG)])
def test_no_answer_is_whole_that_should_not_be_while_servers_come_and_go(
    bench: Bench, examples: int
) -> None:
    @settings(
        max_examples=examples,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(call=calls, steps=steps)
    def never_breaks_a_rule(call: Call, steps: Sequence[Step]) -> None:
        bench.try_out(call, steps)

    never_breaks_a_rule()
    bench.compare_receipts()
