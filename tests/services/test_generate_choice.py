"""Which server answers when several could: one build, failover before the first token, limits,
explanations.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.answers import Proof
from ollama_admin.domain.secret import Reference
from ollama_admin.errors import (
    ModelMismatch,
    ModelNotFound,
    RemoteNotAllowed,
    ServerBusy,
    ServerInactive,
    ServerUnreachable,
    StreamInterrupted,
    UpstreamError,
)
from ollama_admin.simulator.http import Connection
from ollama_admin.simulator.server import HoldAt
from ollama_admin.vault import new_key
from tests.fake_ollama import Answer, Ending, FakeOllama, Fault, Raw, SimulatedModel
from tests.services.asking import GENERATE, TAGS, ask, prompts, register

ONE = SimulatedModel("alpha", build="one")
OTHER = SimulatedModel("alpha", build="other", says="I am another build")
REMOTE = SimulatedModel("alpha", remote_host="https://far.example", remote_model="alpha")


@pytest.fixture
async def fakes() -> AsyncIterator[tuple[FakeOllama, FakeOllama, FakeOllama]]:
    """Two servers with the same build, and a third with another one."""
    async with AsyncExitStack() as stack:
        first, second, third = [
            await stack.enter_async_context(FakeOllama(m)) for m in (ONE, ONE, OTHER)
        ]
        yield first, second, third


Fakes = tuple[FakeOllama, FakeOllama, FakeOllama]

AWAY: dict[str, Fault] = {
    "502": Answer(502, "<html>bad gateway</html>"),
    "503": Answer(
        503, {"error": "server busy, please try again.  maximum pending requests exceeded"}
    ),
    "504": Answer(504, ""),
    "404": Answer(404, {"error": "model 'alpha' not found"}),
    "no runner": Answer(500, {"error": "llama-server process has terminated: exit status 1"}),
    "no old runner": Answer(500, {"error": "llama runner process has terminated: signal: killed"}),
}
REFUSING: dict[str, Fault] = {
    "400": Answer(400, {"error": "bad"}),
    "401": Answer(401, ""),
    "429": Answer(429, {"error": "slow down"}),
    "500": Answer(500, {"error": "model runner has unexpectedly stopped"}),
    "closed": Raw(),
    "reset": Raw(ending=Ending.RESET),
    "closed after the head": Raw((b"HTTP/1.1 200 OK\r\n\r\n",)),
    "not JSON": Answer(200, "<html>hello</html>"),
    "error first": Answer(200, {"error": "no"}),
}


# failing over


@pytest.mark.parametrize("why", AWAY)
async def test_a_server_that_is_away_passes_the_request_on_to_one_with_the_same_build(
    client: Client, fakes: Fakes, why: str, notes: list[str]
) -> None:
    await register(client, *fakes)
    fakes[0].script(GENERATE, AWAY[why])
    reply = (await ask(client)).accepted
    assert (reply.server.name, reply.proof, reply.digest) == ("two", Proof.DIGEST, ONE.digest)
    (attempt,) = reply.attempts
    assert attempt.server.name == "one"
    assert attempt.error.summary in notes[-1]
    assert [prompts(fake) for fake in fakes] == [1, 1, 0]


@pytest.mark.parametrize("why", REFUSING)
async def test_a_server_that_refuses_passes_nothing_on(
    client: Client, fakes: Fakes, why: str
) -> None:
    await register(client, *fakes)
    fakes[0].script(GENERATE, REFUSING[why])
    outcome = await ask(client)
    assert isinstance(outcome.error, UpstreamError)
    assert [prompts(fake) for fake in fakes] == [1, 0, 0]


class LeavesEarly(FakeOllama):
    """Resets connections while the request is still being sent, once `leaves` is set."""

    leaves = False

    async def _serve(self, connection: Connection) -> None:
        if not self.leaves:
            await super()._serve(connection)
            return
        await connection.reader.readexactly(1000)
        connection.reset()


async def test_a_server_that_leaves_before_the_prompt_is_sent_whole_passes_it_on(
    client: Client, fakes: Fakes
) -> None:
    first = LeavesEarly(ONE)
    async with first:
        await register(client, first, fakes[0])
    first.leaves = True
    async with first:  # on the same port, without the connections of before
        outcome = await ask(client, prompt="x" * 2**25)
    assert outcome.accepted.server.name == "two"
    assert prompts(fakes[0]) == 1


async def test_nothing_is_passed_on_after_the_first_token(client: Client, fakes: Fakes) -> None:
    await register(client, *fakes)
    hold = HoldAt(1)
    fakes[0].before_token = hold
    async with client.stream(prompt="hi", model="alpha") as stream:
        assert (await anext(stream)).response == "I"
        await fakes[0].stop()
        with pytest.raises(StreamInterrupted):
            await anext(stream)
    assert [prompts(fake) for fake in fakes] == [1, 0, 0]


async def test_a_named_server_passes_nothing_on(client: Client, fakes: Fakes) -> None:
    await register(client, *fakes)
    for place in ({"server": "one"}, {"server_url": fakes[0].url}):
        fakes[0].script(GENERATE, AWAY["503"])
        assert isinstance((await ask(client, **place)).error, ServerBusy)
    assert [prompts(fake) for fake in fakes] == [2, 0, 0]


async def test_a_server_with_another_build_is_not_passed_on_to(
    client: Client, fakes: Fakes, notes: list[str]
) -> None:
    first, _, third = fakes
    await register(client, first, third)
    first.script(GENERATE, AWAY["503"])
    outcome = await ask(client)
    assert isinstance(outcome.error, ServerBusy)
    assert prompts(third) == 0
    assert (
        f"server two is passed over: its build is {OTHER.digest[:12]}, that of one is "
        f"{ONE.digest[:12]}" in notes
    )


async def test_the_next_server_must_still_hold_the_build_when_it_is_asked(
    client: Client, fakes: Fakes
) -> None:
    first, second, _ = fakes
    await register(client, first, second)
    first.script(GENERATE, AWAY["503"])
    second.point("alpha", OTHER)
    outcome = await ask(client)
    assert isinstance(outcome.error, ModelMismatch)
    assert prompts(second) == 0


async def test_the_next_servers_build_is_demanded_after_the_answer_too(
    client: Client, fakes: Fakes
) -> None:
    first, second, _ = fakes
    await register(client, first, second)
    first.script(GENERATE, AWAY["503"])

    async def move(index: int) -> None:
        if index == 1:
            second.point("alpha", OTHER)

    second.before_token = move
    outcome = await ask(client)
    assert (outcome.text, outcome.reply) == ("I am alpha", None)
    assert isinstance(outcome.error, ModelMismatch)


async def test_the_last_failure_is_the_error(
    client: Client, fakes: Fakes, notes: list[str]
) -> None:
    first, second, _ = fakes
    await register(client, first, second)
    first.script(GENERATE, AWAY["502"])
    second.script(GENERATE, AWAY["503"])
    outcome = await ask(client)
    assert isinstance(outcome.error, ServerBusy)
    assert "server two" in outcome.error.message
    assert "server one answered 502" in notes[0]


async def test_a_server_that_is_switched_off_is_passed_over(client: Client, fakes: Fakes) -> None:
    first, second, _ = fakes
    await register(client, first, second)
    await first.stop()
    reply = (await ask(client)).accepted
    assert reply.server.name == "two"
    assert isinstance(reply.attempts[0].error, ServerUnreachable)


async def test_an_unreadable_credential_of_the_next_server_spoils_nothing(
    database_url: str, fakes: Fakes, notes: list[str]
) -> None:
    first, second, _ = fakes
    environ = {"OLLAMA_ADMIN_SECRET_KEY": new_key().reveal()}
    async with Client(database_url=database_url, environ=environ, on_note=notes.append) as client:
        await register(client, first, second)
        await client.servers.update("two", headers={"X-Key": Reference.parse("env:NOT_SET")})
        reply = (await ask(client)).accepted
    assert reply.server.name == "one"
    assert any("two" in note for note in notes)


# a demanded build


async def test_a_digest_takes_part_in_the_choice(client: Client, fakes: Fakes) -> None:
    await register(client, *fakes)
    reply = (await ask(client, digest=OTHER.digest[:12])).accepted
    assert (reply.server.name, reply.digest) == ("three", OTHER.digest)
    assert [prompts(fake) for fake in fakes] == [0, 0, 1]


async def test_a_pin_takes_part_in_the_choice(client: Client, fakes: Fakes) -> None:
    await register(client, *fakes)
    await client.pins.set("alpha", digest=OTHER.digest)
    assert (await ask(client)).accepted.server.name == "three"


async def test_a_digest_that_no_server_holds_is_refused(client: Client, fakes: Fakes) -> None:
    await register(client, *fakes)
    outcome = await ask(client, digest="f" * 64)
    assert isinstance(outcome.error, ModelMismatch)
    assert sum(prompts(fake) for fake in fakes) == 0


async def test_a_server_that_lost_the_demanded_build_is_passed_over(
    client: Client, fakes: Fakes
) -> None:
    first, second, _ = fakes
    await register(client, first, second)
    first.point("alpha", OTHER)
    reply = (await ask(client, digest=ONE.digest)).accepted
    assert reply.server.name == "two"
    assert isinstance(reply.attempts[0].error, ModelMismatch)
    assert prompts(first) == 0


@pytest.mark.parametrize("demand", [{"digest": ONE.digest}, {"verified": True}])
async def test_a_server_that_is_no_longer_ollama_claims_no_stored_build(
    client: Client, fakes: Fakes, demand: dict[str, Any]
) -> None:
    first, second, _ = fakes
    await register(client, first, second)
    first.version = None  # another program listens there now
    await client.servers.update("one", api_version="v1")
    await client.servers.check(["one"])
    reply = (await ask(client, model="alpha:latest", **demand)).accepted
    assert (reply.server.name, reply.proof) == ("two", Proof.DIGEST)
    assert prompts(first) == 0


# remote models


async def test_a_remote_namesake_is_passed_over_unless_it_is_allowed(client: Client) -> None:
    remote = SimulatedModel("alpha", remote_host="https://far.example", remote_model="alpha")
    async with FakeOllama(remote) as far, FakeOllama(ONE) as near:
        await register(client, far, near)
        assert (await ask(client)).accepted.server.name == "two"
        await client.servers.disable("two")
        assert isinstance((await ask(client)).error, RemoteNotAllowed)
        assert prompts(far) == 0
        assert (await ask(client, allow_remote=True)).accepted.proof is Proof.REMOTE


async def test_a_remote_model_passes_nothing_on(client: Client) -> None:
    """Nothing would show that the next server hands the prompt to the same build."""
    async with FakeOllama(REMOTE) as first, FakeOllama(REMOTE) as second:
        await register(client, first, second)
        first.script(GENERATE, AWAY["503"])
        assert isinstance((await ask(client, allow_remote=True)).error, ServerBusy)
        assert [prompts(first), prompts(second)] == [1, 0]


# the default server


async def test_a_default_server_that_is_inactive_answers_nothing(
    client: Client, fakes: Fakes
) -> None:
    """Neither does another one in its place."""
    await register(client, *fakes[:2], default_model="alpha")
    await client.servers.set_default("one")
    assert (await ask(client, model=None)).accepted.server.name == "one"
    await client.servers.disable("one")
    refused = (await ask(client, model=None)).error
    assert isinstance(refused, ServerInactive)
    assert refused.message == "the default server one is inactive"
    assert [prompts(fake) for fake in fakes] == [1, 0, 0]


# the order of the choice


async def test_the_default_answers_first_then_the_higher_priority_then_the_older(
    client: Client,
) -> None:
    async with AsyncExitStack() as stack:
        four = [await stack.enter_async_context(FakeOllama(ONE)) for _ in range(4)]
        await register(client, *four)
        await client.servers.update("three", priority=5)
        await client.servers.update("four", is_default=True, priority=-5)
        names = []
        for _ in four:
            name = (await ask(client)).accepted.server.name
            names.append(name)
            await client.servers.disable(name)
    assert names == ["four", "three", "one", "two"]


# limits


async def test_a_full_server_is_passed_over_while_another_has_room(
    client: Client, fakes: Fakes
) -> None:
    await register(client, *fakes)
    hold = HoldAt(1)
    fakes[0].before_token = hold
    async with client.stream(prompt="hi", model="alpha") as stream:
        await anext(stream)
        reply = (await ask(client)).accepted
        assert (reply.server.name, reply.attempts) == ("two", ())
    assert [prompts(fake) for fake in fakes] == [1, 1, 0]


async def test_load_never_changes_the_build(client: Client, fakes: Fakes) -> None:
    """The server with room has been moved to another build since discovery: it is not asked."""
    first, second, _ = fakes
    await register(client, first, second)
    second.point("alpha", OTHER)
    hold = HoldAt(1)
    first.before_token = hold
    async with client.stream(prompt="hi", model="alpha") as stream:
        await anext(stream)
        assert isinstance((await ask(client, wait=0)).error, ServerBusy)
    assert prompts(second) == 0


async def test_a_full_server_refuses_at_once_when_nobody_waits(
    client: Client, fakes: Fakes
) -> None:
    await register(client, fakes[0])
    fakes[0].before_token = HoldAt(1)
    async with client.stream(prompt="hi", model="alpha") as stream:
        await anext(stream)
        for place in ({}, {"server": "one"}, {"server_url": fakes[0].url}):
            error = (await ask(client, wait=0, **place)).error
            assert isinstance(error, ServerBusy)
            assert error.exit_code == 6
            assert "--wait" in (error.hint or "")
    assert prompts(fakes[0]) == 1


async def test_a_place_is_free_again_after_every_kind_of_end(client: Client, fakes: Fakes) -> None:
    fake = fakes[0]
    await register(client, fake)
    for fault in (*AWAY.values(), *REFUSING.values()):
        fake.script(GENERATE, fault)
        error = (await ask(client, wait=0)).error
        assert error is not None
        assert "is at its limit" not in error.message
    async with client.stream(prompt="hi", model="alpha", wait=0) as stream:
        await anext(stream)
    async for _ in client.stream(prompt="hi", model="alpha", wait=0):
        break
    assert (await ask(client, wait=5)).accepted
    assert client._resources.slots.in_flight(1) == 0


async def test_a_waiting_request_is_answered_when_a_place_becomes_free(
    client: Client, fakes: Fakes, notes: list[str]
) -> None:
    fake = fakes[0]
    await register(client, fake)
    fake.before_token = HoldAt(1)
    async with client.stream(prompt="hi", model="alpha") as stream:
        await anext(stream)
        waiting = asyncio.create_task(ask(client))
        while not notes:
            await asyncio.sleep(0)
        fake.before_token = None
    assert (await waiting).accepted.server.name == "one"


# explanations


async def explained(
    client: Client, **asked: Any
) -> tuple[str | None, dict[str, tuple[bool, str | None]]]:
    found = await client.explain(model="alpha", **asked)
    candidates = {c.server.name or c.server.url: (c.eligible, c.reason) for c in found.candidates}
    return found.chosen and (found.chosen.server.name or found.chosen.server.url), candidates


async def test_an_explanation_names_every_server_and_sends_nothing(
    client: Client, fakes: Fakes
) -> None:
    async with FakeOllama(SimulatedModel("beta")) as fourth:
        await register(client, *fakes, fourth)
        await client.servers.update("two", is_active=False)
        for fake in (*fakes, fourth):
            fake.requests.clear()
        chosen, candidates = await explained(client)
        assert chosen == "one"
        assert candidates == {
            "one": (True, None),
            "two": (False, "it is inactive"),
            "three": (False, f"its build is {OTHER.digest[:12]}, that of one is {ONE.digest[:12]}"),
            "four": (False, "it does not list the model"),
        }
        assert [fake.requests for fake in (*fakes, fourth)] == [[]] * 4


async def test_an_explanation_tells_who_is_full_and_who_waits(client: Client, fakes: Fakes) -> None:
    first, second, _ = fakes
    await register(client, first, second)
    first.before_token = second.before_token = HoldAt(1)
    async with client.stream(prompt="hi", model="alpha") as one:
        await anext(one)
        assert (await explained(client))[0] == "two"
        assert (await explained(client))[1]["one"] == (False, "all its 1 slots are in use")
        async with client.stream(prompt="hi", model="alpha") as other:
            await anext(other)
            chosen, candidates = await explained(client)
    assert chosen == "one"
    assert candidates["one"] == (
        True,
        "all its 1 slots are in use; the request would wait for one",
    )


async def test_an_explanation_of_a_named_server(client: Client, fakes: Fakes) -> None:
    await register(client, *fakes)
    chosen, candidates = await explained(client, server="three")
    assert (chosen, candidates["three"]) == ("three", (True, None))
    assert candidates["one"] == (False, "another server is named")
    await client.servers.disable("three")
    assert (await explained(client, server="three")) == (
        None,
        candidates | {"three": (False, "it is inactive")},
    )
    assert (await explained(client, server_url=fakes[2].url))[0] == "three"
    nobody, candidates = await explained(client, server_url="http://127.0.0.1:1")
    assert nobody is None  # it was asked for its version, as it would be before a prompt
    eligible, reason = candidates["http://127.0.0.1:1"]
    assert not eligible
    assert "cannot be reached" in (reason or "")


async def test_an_explanation_of_a_demanded_build(client: Client, fakes: Fakes) -> None:
    await register(client, *fakes)
    chosen, candidates = await explained(client, digest=OTHER.digest)
    assert chosen == "three"
    assert candidates["one"] == (
        False,
        f"its build is {ONE.digest[:12]}, but {OTHER.digest[:12]} (--digest) is demanded",
    )
    assert (await explained(client, digest="f" * 64))[0] is None


TWICE = Answer(200, {"models": [{"name": n, "digest": "a" * 64} for n in ("alpha", "Alpha")]})
NO_PROOF = (
    f"the model runs at a remote host, which proves no build, but {ONE.digest[:12]} "
    "(--digest) is demanded"
)
INACTIVE: dict[str, Any] = {"is_active": False}
V1: dict[str, Any] = {"api_version": "v1"}


@pytest.mark.parametrize(
    ("model", "columns", "asked", "reason"),
    [
        (SimulatedModel("beta"), INACTIVE, {}, "it is inactive"),
        (SimulatedModel("beta"), V1, {"keep_alive": 0}, "it does not list the model"),
        (
            ONE,
            V1,
            {"capability": "vision", "keep_alive": 0},
            "it has it without the capability 'vision'",
        ),
        (None, V1, {"keep_alive": 0}, "v1 cannot carry --keep-alive"),
        (None, {}, {"digest": ONE.digest}, "several of its models have that name"),
        (REMOTE, V1, {"think": True}, "v1 cannot carry --think"),
        (
            REMOTE,
            {},
            {"digest": ONE.digest},
            NO_PROOF,
        ),
        (
            REMOTE,
            {},
            {"verified": True},
            "no digest of it is stored that --verified could demand",
        ),
        (REMOTE, {}, {}, "the model runs at a remote host"),
    ],
)
async def test_of_several_obstacles_the_one_that_is_worth_telling_is_named(
    client: Client,
    model: SimulatedModel | None,
    columns: dict[str, Any],
    asked: dict[str, Any],
    reason: str,
) -> None:
    async with FakeOllama(*filter(None, [model])) as fake, FakeOllama(ONE) as preferred:
        if model is None:
            fake.script_always(TAGS, TWICE)
        await register(client, fake, preferred)
        await client.servers.update("two", priority=1)
        await client.servers.update("one", priority=0, **columns)
        _, candidates = await explained(client, **asked)
        assert candidates["one"] == (False, reason)


async def test_a_pin_is_named_before_a_stored_digest_that_is_missing(client: Client) -> None:
    async with FakeOllama(REMOTE) as fake, FakeOllama(ONE) as preferred:
        await register(client, fake, preferred)
        await client.servers.update("two", priority=1)
        await client.pins.set("alpha", digest=ONE.digest)
        _, candidates = await explained(client, verified=True)
        assert candidates["one"] == (False, NO_PROOF.replace("--digest", "pin"))


async def test_an_explanation_of_a_model_that_nobody_has(client: Client, fakes: Fakes) -> None:
    await register(client, fakes[0])
    with pytest.raises(ModelNotFound) as explained_error:
        await client.explain(model="nothing")
    error = (await ask(client, model="nothing")).error
    assert isinstance(error, ModelNotFound)
    assert explained_error.value.document() == error.document()
    assert fakes[0].requests_to(TAGS)


async def test_nobody_stands_in_for_a_model_at_a_remote_host(client: Client) -> None:
    async with FakeOllama(REMOTE) as one, FakeOllama(REMOTE) as two:
        await register(client, one, two)
        chosen, candidates = await explained(client, allow_remote=True)
        assert chosen == "one"
        assert candidates["two"] == (False, "nothing shows the build of one")
        one.script(GENERATE, Answer(503))
        assert isinstance((await ask(client, allow_remote=True)).error, ServerBusy)
        assert two.requests_to(GENERATE) == []


async def test_a_model_that_became_remote_stands_in_for_nobody(
    client: Client, fakes: Fakes, notes: list[str]
) -> None:
    """Its row may hold the digest of the build that was there before."""
    first, _, third = fakes
    entry = {"name": "alpha:latest", "digest": ONE.digest, "remote_host": "https://far.example"}
    third.script_always(TAGS, Answer(200, {"models": [entry]}))
    await register(client, first, third)
    assert {row.digest for row in await client.models.list()} == {ONE.digest}
    chosen, candidates = await explained(client, allow_remote=True)
    assert (chosen, candidates["two"][0]) == ("one", False)
    assert "proves no build" in (candidates["two"][1] or "")
    first.script(GENERATE, Answer(503))
    assert isinstance((await ask(client, allow_remote=True)).error, ServerBusy)
    assert third.requests_to(GENERATE) == []
    assert any("server two is passed over" in note for note in notes)


async def test_nobody_stands_in_for_a_model_that_became_remote(
    client: Client, fakes: Fakes
) -> None:
    """Its row may hold the digest of the build that was there before, which another one has."""
    first, _, third = fakes
    entry = {"name": "alpha:latest", "digest": ONE.digest, "remote_host": "https://far.example"}
    third.script_always(TAGS, Answer(200, {"models": [entry]}))
    await register(client, third, first)
    third.script(GENERATE, Answer(503))
    assert isinstance((await ask(client, allow_remote=True)).error, ServerBusy)
    assert (prompts(third), prompts(first)) == (1, 0)


async def test_an_explanation_of_an_ambiguous_first_server_leaves_the_others_out(
    client: Client, fakes: Fakes
) -> None:
    first, second, _ = fakes
    first.script_always(TAGS, TWICE)
    await register(client, first, second)
    chosen, candidates = await explained(client)
    assert chosen is None
    assert candidates == {
        "one": (False, "several of its models have that name"),
        "two": (False, "one comes first, and may not be asked"),
    }


async def test_an_explanation_gives_each_reason_to_the_server_that_it_is_of(
    database_url: str, fakes: Fakes
) -> None:
    """Where the first one may not be asked, the others are not eligible, and that is why."""
    environ = {"OLLAMA_ADMIN_SECRET_KEY": new_key().reveal()}
    async with Client(database_url=database_url, environ=environ) as client:
        await register(client, *fakes[:2])
        await client.servers.update("one", headers={"X-Key": Reference.parse("env:NOT_SET")})
        chosen, candidates = await explained(client)
    assert chosen is None
    assert "NOT_SET" in (candidates["one"][1] or "")
    assert candidates["two"] == (False, "one comes first, and may not be asked")


async def test_after_a_look_that_ends_the_request_no_other_server_is_eligible(
    client: Client, fakes: Fakes
) -> None:
    await register(client, *fakes[:2])
    await client.pins.set("alpha")
    fakes[0].script(TAGS, Answer(500))
    chosen, candidates = await explained(client)
    assert chosen is None
    assert not candidates["one"][0]
    assert candidates["two"] == (False, "server one comes first, and may not be asked")


async def test_an_explanation_says_that_the_named_server_lists_no_such_model(
    client: Client, fakes: Fakes
) -> None:
    await register(client, fakes[0])
    found = await client.explain(model="nothing", server="one")
    reason = "it does not list the model; it is asked, and will say so"
    assert [candidate.reason for candidate in found.candidates] == [reason]
    fakes[0].point("nothing", SimulatedModel("nothing"))
    found = await client.explain(model="nothing", server="one")
    reason = "its catalogue lacks the model, its own list has it"
    assert [candidate.reason for candidate in found.candidates] == [reason]


async def test_an_explanation_keeps_to_the_timeout(client: Client, fakes: Fakes) -> None:
    await register(client, fakes[0])
    await client.pins.set("alpha")
    never = asyncio.Event()
    fakes[0].script(TAGS, Raw((never,)))
    with pytest.raises(ServerUnreachable, match=r"timed out after 0\.05 s"):
        await client.explain(model="alpha", timeout=0.05)
    never.set()
