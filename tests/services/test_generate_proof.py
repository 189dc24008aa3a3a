"""Which build answered: what the server's own list shows right after the last token."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.answers import Proof
from ollama_admin.domain.models import DigestChange
from ollama_admin.errors import Conflict, InvalidInput, ModelMismatch, ModelNotFound, UpstreamError
from ollama_admin.simulator.server import HoldAt
from tests.fake_ollama import Answer, FakeOllama, Held, Recording, Silence, SimulatedModel
from tests.services.asking import GENERATE, TAGS, V1_CHAT, ask, prompts, register

OLD, NEW = (
    SimulatedModel("alpha", build="old"),
    SimulatedModel("alpha", build="new", says="I am the new alpha"),
)
NOTHING = Answer(200, {"models": []})


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(OLD) as fake:
        yield fake


@pytest.fixture
async def registered(client: Client, fake: FakeOllama) -> FakeOllama:
    await register(client, fake)
    fake.requests.clear()
    return fake


@pytest.fixture
async def moved(registered: FakeOllama) -> FakeOllama:
    """The name stands for another build than the one discovered."""
    registered.point("alpha", NEW)
    return registered


# without a demand


async def test_the_stored_digest_is_proven_by_one_look_after_the_last_token(
    client: Client, registered: FakeOllama
) -> None:
    reply = (await ask(client)).accepted
    assert (reply.proof, reply.verified, reply.digest, reply.drift) == (
        Proof.DIGEST,
        True,
        OLD.digest,
        None,
    )
    assert [registered.local_path(request) for request in registered.requests] == [GENERATE, TAGS]


async def test_a_name_moved_since_discovery_is_answered_and_called_drift_each_time(
    client: Client, moved: FakeOllama, notes: list[str]
) -> None:
    for _ in range(2):
        notes.clear()
        outcome = await ask(client)
        assert (outcome.text, outcome.accepted.proof) == ("I am the new alpha", Proof.DRIFT)
        assert (outcome.accepted.verified, outcome.accepted.digest) == (False, NEW.digest)
        assert outcome.accepted.drift == DigestChange(
            name="alpha:latest", before=OLD.digest, after=NEW.digest
        )
        (note,) = notes
        assert OLD.digest[:12] in note
        assert NEW.digest[:12] in note
        assert "ollama-admin discover " in note
    await client.discover()
    assert (await ask(client)).accepted.proof is Proof.DIGEST


async def test_a_name_moved_while_the_model_answers_has_changed(
    client: Client, registered: FakeOllama, notes: list[str]
) -> None:
    registered.before_token = move_at(registered, 1)
    reply = (await ask(client)).accepted
    assert (reply.proof, reply.verified, reply.digest, reply.drift) == (
        Proof.CHANGED,
        False,
        None,
        None,
    )
    assert "moved or removed while it answered" in notes[-1]


async def test_a_model_removed_while_it_answers_has_changed(
    client: Client, registered: FakeOllama
) -> None:
    async def remove(index: int) -> None:
        if index == 1:
            registered.remove("alpha")

    registered.before_token = remove
    assert (await ask(client)).accepted.proof is Proof.CHANGED


async def test_a_list_that_shows_a_name_as_two_builds_proves_nothing(
    client: Client, registered: FakeOllama
) -> None:
    twice = [{"name": "alpha:latest", "digest": build.digest} for build in (NEW, OLD)]
    registered.script_always(TAGS, Answer(200, {"models": twice}))
    reply = (await ask(client)).accepted
    assert (reply.proof, reply.verified, reply.digest) == (Proof.UNREAD, False, None)
    registered.requests.clear()
    demanded = (await ask(client, digest=OLD.digest)).error
    assert isinstance(demanded, UpstreamError)
    assert "lists 'alpha:latest' twice, as two builds" in demanded.message
    assert prompts(registered) == 0
    [discovered] = await client.discover()
    assert isinstance(discovered.error, UpstreamError)
    [model] = await client.models.list()
    assert model.digest == OLD.digest


async def test_a_list_that_cannot_be_read_proves_nothing(
    client: Client, registered: FakeOllama, notes: list[str]
) -> None:
    registered.script(TAGS, Answer(500, {"error": "no"}))
    reply = (await ask(client)).accepted
    assert (reply.proof, reply.verified, reply.digest) == (Proof.UNREAD, False, None)
    assert "could not be read" in notes[-1]


async def test_a_time_out_after_the_last_token_is_no_reason_to_take_the_answer_back(
    client: Client, registered: FakeOllama
) -> None:
    registered.script(TAGS, Silence())
    assert (await ask(client, timeout=0.5)).accepted.proof is Proof.UNREAD


async def test_nobody_looks_where_names_are_enough(
    client: Client, moved: FakeOllama, notes: list[str]
) -> None:
    reply = (await ask(client, no_verify=True)).accepted
    assert (reply.proof, reply.verified, reply.digest) == (Proof.NAME, False, None)
    assert moved.requests_to(TAGS) == []
    assert notes == []


async def test_a_dynamic_server_is_proven_by_standing_still(
    client: Client, fake: FakeOllama
) -> None:
    reply = (await ask(client, server_url=fake.url)).accepted
    assert (reply.proof, reply.verified, reply.digest) == (Proof.DIGEST, True, OLD.digest)


async def test_a_dynamic_server_whose_name_moves_meanwhile_has_changed(
    client: Client, fake: FakeOllama
) -> None:
    fake.before_token = move_at(fake, 1)
    assert (await ask(client, server_url=fake.url)).accepted.proof is Proof.CHANGED


async def test_without_a_known_build_a_move_before_the_answer_is_no_drift(
    client: Client, fake: FakeOllama
) -> None:
    fake.script(GENERATE, prompt := Held())
    asking = asyncio.create_task(ask(client, server_url=fake.url))
    await prompt.arrived.wait()
    fake.point("alpha", NEW)
    prompt.release.set()
    reply = (await asking).accepted
    assert (reply.proof, reply.drift) == (Proof.CHANGED, None)


async def test_ollama_spoken_to_as_v1_is_proven_too_and_knows_no_drift(
    client: Client, fake: FakeOllama
) -> None:
    await register(client, fake, api_version="v1")
    assert (await ask(client)).accepted.proof is Proof.DIGEST
    assert len(fake.requests_to(V1_CHAT)) == 1
    fake.point("alpha", NEW)
    assert (await ask(client)).accepted.proof is Proof.CHANGED


async def test_an_emulation_with_one_digest_for_all_proves_the_name_only(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha", family="koboldcpp")) as fake:
        await register(client, fake)
        assert (await ask(client)).accepted.proof is Proof.NAME
        assert (await ask(client, server_url=fake.url)).accepted.proof is Proof.NAME
        assert isinstance((await ask(client, verified=True)).error, ModelMismatch)
        assert prompts(fake) == 2


async def test_a_v1_server_at_a_url_is_proven_by_its_list_before_and_after(
    client: Client, fake: FakeOllama
) -> None:
    """It tells no time at which it took the request on, so that only the list before can say."""
    reply = (await ask(client, server_url=f"{fake.url}/v1")).accepted
    assert (reply.proof, reply.digest) == (Proof.DIGEST, OLD.digest)
    paths = [fake.local_path(request) for request in fake.requests]
    assert paths == ["/api/version", TAGS, V1_CHAT, TAGS]


async def test_a_model_that_appears_before_sending_is_proven_by_standing_still(
    client: Client, fake: FakeOllama
) -> None:
    """It is not listed when the server is chosen; Ollama itself is left to refuse the name."""
    fake.script(TAGS, NOTHING)
    reply = (await ask(client, server_url=f"{fake.url}/v1")).accepted
    assert (reply.proof, reply.digest) == (Proof.DIGEST, OLD.digest)


async def test_a_list_that_cannot_be_read_before_sending_stops_nothing(
    client: Client, fake: FakeOllama
) -> None:
    fake.script(TAGS, NOTHING, Answer(500, {"error": "no"}))
    outcome = await ask(client, server_url=fake.url)
    assert (outcome.text, outcome.accepted.proof) == ("I am alpha", Proof.DIGEST)


async def test_a_name_that_stands_for_two_models_afterwards_proves_nothing(
    client: Client, registered: FakeOllama
) -> None:
    async def double(index: int) -> None:
        registered.models["ALPHA:latest"] = registered.models["alpha:latest"]

    registered.before_token = double
    assert (await ask(client)).accepted.proof is Proof.CHANGED


# with a demand


async def pinned(client: Client) -> dict[str, Any]:
    await client.pins.set("alpha", digest=OLD.digest)
    return {}


async def by_digest(client: Client) -> dict[str, Any]:
    return {"digest": OLD.digest[:12]}


async def by_verified(client: Client) -> dict[str, Any]:
    return {"verified": True}


demands = pytest.mark.parametrize("demand", [pinned, by_digest, by_verified])
destinations = pytest.mark.parametrize("place", ["anywhere", "server", "server_url"])


def at(place: str, fake: FakeOllama) -> dict[str, Any]:
    return {"anywhere": {}, "server": {"server": "one"}, "server_url": {"server_url": fake.url}}[
        place
    ]


@destinations
@demands
async def test_a_demanded_build_is_looked_at_before_and_after(
    client: Client, registered: FakeOllama, demand: Any, place: str
) -> None:
    reply = (await ask(client, **await demand(client), **at(place, registered))).accepted
    assert (reply.proof, reply.verified, reply.digest) == (Proof.DIGEST, True, OLD.digest)
    assert [registered.local_path(request) for request in registered.requests] == [
        TAGS,
        GENERATE,
        TAGS,
    ]


@destinations
@demands
async def test_another_build_than_the_demanded_one_is_sent_nothing(
    client: Client, moved: FakeOllama, demand: Any, place: str
) -> None:
    outcome = await ask(client, **await demand(client), **at(place, moved))
    assert isinstance(outcome.error, ModelMismatch)
    assert outcome.error.exit_code == 6
    assert OLD.digest[:12] in outcome.error.message
    assert NEW.digest[:12] in outcome.error.message
    assert (outcome.text, prompts(moved)) == ("", 0)


@demands
async def test_a_demanded_build_that_moves_while_it_answers_is_an_error_after_the_text(
    client: Client, registered: FakeOllama, demand: Any
) -> None:
    registered.before_token = move_at(registered, 1)
    outcome = await ask(client, **await demand(client))
    assert (outcome.text, outcome.reply) == ("I am alpha", None)
    assert isinstance(outcome.error, ModelMismatch)


@demands
async def test_a_demand_is_not_met_by_a_list_that_cannot_be_read(
    client: Client, registered: FakeOllama, demand: Any
) -> None:
    asked = await demand(client)
    hold = HoldAt(1)
    registered.before_token = hold
    async with client.stream(prompt="hi", model="alpha", **asked) as stream:
        assert (await anext(stream)).response == "I"
        registered.script(TAGS, Answer(500, {"error": "no"}))
        hold.release.set()
        with pytest.raises(ModelMismatch, match="could not be read"):
            async for _ in stream:
                pass


async def test_a_demanded_model_that_is_gone_is_not_found(
    client: Client, registered: FakeOllama
) -> None:
    registered.remove("alpha")
    outcome = await ask(client, verified=True)
    assert isinstance(outcome.error, ModelNotFound)
    assert prompts(registered) == 0


async def test_a_dynamic_server_has_no_stored_digest_to_demand(
    client: Client, fake: FakeOllama
) -> None:
    outcome = await ask(client, server_url=fake.url, verified=True)
    assert isinstance(outcome.error, ModelMismatch)
    assert "--digest" in (outcome.error.hint or "")
    assert prompts(fake) == 0


async def test_a_demand_on_a_server_that_is_not_ollama_is_refused(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha"), version=None) as fake:
        await client.servers.add(name="one", url=fake.url, api_version="v1")
        await client.discover()
        for asked in ({}, {"server": "one"}, {"server_url": fake.url}):
            outcome = await ask(client, digest="a" * 64, **asked)
            assert isinstance(outcome.error, ModelMismatch)
        assert prompts(fake) == 0


async def test_a_remote_model_meets_no_demand(client: Client) -> None:
    remote = SimulatedModel("alpha", remote_host="https://far.example", remote_model="alpha")
    async with FakeOllama(remote) as fake:
        await register(client, fake)
        for asked in ({}, {"server": "one"}):
            outcome = await ask(client, allow_remote=True, digest=remote.digest, **asked)
            assert isinstance(outcome.error, ModelMismatch)
        assert prompts(fake) == 0


async def test_a_pin_cannot_be_asked_around(client: Client, registered: FakeOllama) -> None:
    await pinned(client)
    for asked in ({"no_verify": True}, {"digest": NEW.digest}):
        outcome = await ask(client, **asked)
        assert isinstance(outcome.error, Conflict)
        assert "pinned" in outcome.error.message
    assert prompts(registered) == 0
    assert (await ask(client, digest=OLD.digest)).accepted.verified


async def test_a_pin_holds_for_every_spelling_of_the_name(
    client: Client, moved: FakeOllama
) -> None:
    await pinned(client)
    for name in ("alpha", "ALPHA", "library/alpha:latest"):
        assert isinstance((await ask(client, model=name)).error, ModelMismatch)
    assert prompts(moved) == 0


@pytest.mark.parametrize(
    "asked",
    [
        {"digest": "abc"},
        {"digest": "g" * 12},
        {"digest": "a" * 65},
        {"digest": "a" * 12, "verified": True},
        {"verified": True, "no_verify": True},
        {"digest": "a" * 12, "no_verify": True},
        {"wait": -1},
        {"wait": float("nan")},
    ],
)
async def test_a_senseless_demand_is_refused(
    client: Client, registered: FakeOllama, asked: dict[str, Any]
) -> None:
    assert isinstance((await ask(client, **asked)).error, InvalidInput)
    assert registered.requests == []


# recorded


def echoing(name: str, recording: str) -> Answer:
    """A recorded answer as it is to somebody who asked for the full name: the server repeats what
    was sent.
    """
    document = json.loads(Recording.load(recording).body)
    return Answer(200, document | {"model": name})


@pytest.mark.parametrize(
    ("name", "before", "answer", "after", "proof"),
    [
        ("copy:latest", "tags", "generate-copy", "tags", Proof.DIGEST),
        ("derived:latest", "tags", "generate-derived", "tags", Proof.DIGEST),
        ("beta:latest", "tags", "generate-keep-alive-0", "tags", Proof.DIGEST),
        ("alpha:latest", "tags", "generate-after-retag", "tags-after-retag", Proof.DRIFT),
        (
            "alpha:latest",
            "tags-after-retag",
            "generate-after-retag",
            "tags-after-retag",
            Proof.DIGEST,
        ),
        ("copy:latest", "tags", "generate-copy", "tags-empty", Proof.CHANGED),
    ],
)
async def test_recorded_answers_are_judged_by_the_list(
    tmp_path: Path, name: str, before: str, answer: str, after: str, proof: Proof
) -> None:
    url = f"sqlite:///{tmp_path}/one.db"
    async with (
        FakeOllama() as fake,
        Client(database_url=url, environ={}, on_note=lambda _: None) as client,
    ):
        fake.script_always(TAGS, Recording.load(before))
        fake.script_always("/api/show", Recording.load("show"))
        await register(client, fake)
        fake.script_always(TAGS, Recording.load(after))
        fake.script(GENERATE, echoing(name, answer))
        assert (await ask(client, model=name)).accepted.proof is proof
        with_demand = (
            await ask(client, model=name, verified=True) if proof is not Proof.DIGEST else None
        )
    assert with_demand is None or with_demand.error is not None


@pytest.mark.parametrize(
    "running",
    [
        *(
            "ps-nothing-loaded",
            "ps-after-retag",
            "ps-two-builds",
            "ps-after-copy",
            "ps-after-derived",
        ),
        *("ps-after-keep-alive-0", "ps-after-delete", "ps-after-kill"),
    ],
)
async def test_what_runs_on_the_server_is_no_evidence(
    client: Client, registered: FakeOllama, running: str
) -> None:
    registered.script_always("/api/ps", Recording.load(running))
    assert (await ask(client, verified=True)).accepted.proof is Proof.DIGEST
    registered.point("alpha", NEW)
    assert (await ask(client)).accepted.proof is Proof.DRIFT
    assert registered.requests_to("/api/ps") == []


def move_at(fake: FakeOllama, token: int) -> Callable[[int], Awaitable[None]]:
    """Point the name to the new build while this token is made."""

    async def move(index: int) -> None:
        if index == token:
            fake.point("alpha", NEW)

    return move
