"""Every request leaves a receipt: what became of it, and never what was said."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.documents import document
from ollama_admin.domain.answers import Proof
from ollama_admin.domain.callers import OWNER, Caller, Way
from ollama_admin.errors import DatabaseUnavailable, InvalidInput
from ollama_admin.simulator.server import HoldAt
from tests.conftest import migrate
from tests.fake_ollama import Answer, FakeOllama, SimulatedModel
from tests.postgres import OwnPostgresServer
from tests.services.asking import GENERATE, ask, register

ALPHA = SimulatedModel("alpha", says="a secret answer")


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(ALPHA) as fake:
        yield fake


async def written(
    database_url: str, fake: FakeOllama, *questions: dict[str, Any], **how: Any
) -> list[Any]:
    """The receipts, oldest first, that a client has written when it is closed."""
    async with Client(
        database_url=database_url, environ={}, on_note=lambda _: None, **how
    ) as client:
        await register(client, fake)
        for asked in questions:
            await ask(client, **asked)
    async with Client(database_url=database_url, environ={}) as client:
        return (await client.receipts.list())[::-1]


async def test_an_answer_leaves_its_numbers_and_no_text(
    database_url: str, fake: FakeOllama
) -> None:
    (receipt,) = await written(
        database_url, fake, {"prompt": "a secret question", "model": "ALPHA"}
    )
    told = document(receipt)
    assert (told["asked_model"], told["model"], told["way"]) == ("ALPHA", "alpha:latest", "python")
    assert told["server"] == {"id": 1, "name": "one", "url": fake.url}
    assert (told["outcome"], told["attempts"], told["digest"]) == ("ok", 1, ALPHA.digest)
    assert (told["proof"], told["verified"]) == ("digest", True)
    assert told["output_tokens"] == 4
    assert "secret" not in json.dumps(told)


async def test_a_failure_leaves_its_code(database_url: str, fake: FakeOllama) -> None:
    fake.script(GENERATE, Answer(500, {"error": "no"}))
    asked = [{}, {"model": "nothing"}, {"server": "nobody"}, {"digest": "f" * 12}]
    receipts = await written(database_url, fake, *asked)
    assert [receipt.outcome for receipt in receipts] == [
        "upstream_error",
        "model_not_found",
        "server_not_found",
        "model_mismatch",
    ]
    assert [receipt.attempts for receipt in receipts] == [1, 0, 0, 0]


async def test_a_request_that_makes_no_sense_leaves_none(
    database_url: str, fake: FakeOllama
) -> None:
    assert await written(database_url, fake, {"prompt": ""}, {"digest": "x"}) == []


async def test_every_server_that_was_tried_is_counted(database_url: str, fake: FakeOllama) -> None:
    async with FakeOllama(ALPHA) as second, Client(database_url=database_url, environ={}) as client:
        await register(client, fake, second)
        fake.script(GENERATE, Answer(503, ""))
        assert (await ask(client)).accepted.server.name == "two"
        await client.aclose()
        async with Client(database_url=database_url, environ={}) as reader:
            (receipt,) = await reader.receipts.list()
    assert (receipt.attempts, receipt.server.name) == (2, "two")


async def test_an_answer_that_nobody_waits_for_is_cancelled(
    database_url: str, fake: FakeOllama
) -> None:
    async with Client(database_url=database_url, environ={}) as client:
        await register(client, fake)
        fake.before_token = HoldAt(1)
        async with client.stream(prompt="hi", model="alpha") as stream:
            await anext(stream)
    async with Client(database_url=database_url, environ={}) as reader:
        (receipt,) = await reader.receipts.list()
    assert (receipt.outcome, receipt.proof) == ("cancelled", None)


async def test_a_way_and_a_proof_are_told(database_url: str, fake: FakeOllama) -> None:
    caller = Caller(way=Way.API, rights=OWNER)
    (receipt,) = await written(database_url, fake, {"no_verify": True}, caller=caller)
    assert (receipt.way, receipt.proof, receipt.verified) == (Way.API, Proof.NAME, False)


async def test_a_receipt_names_the_server_that_could_not_be_reached(
    database_url: str, fake: FakeOllama
) -> None:
    """Also where it failed before anything was sent: it was asked for its version."""
    await fake.stop()
    asked = {"server_url": fake.url}
    async with Client(database_url=database_url, environ={}, on_note=lambda _: None) as client:
        assert (await ask(client, **asked)).error is not None
        await client.servers.add(name="gone", url=fake.url)
        assert (await ask(client, server="gone")).error is not None
    async with Client(database_url=database_url, environ={}) as client:
        registered, dynamic = await client.receipts.list()
    for receipt in (registered, dynamic):
        assert receipt.server is not None
        assert (receipt.server.url, receipt.attempts) == (fake.url, 1)
        assert receipt.outcome == "server_unreachable"
    assert registered.server.name == "gone"


async def test_a_receipt_names_the_server_that_was_tried_last(
    database_url: str, fake: FakeOllama
) -> None:
    async with (
        FakeOllama(ALPHA) as other,
        Client(database_url=database_url, environ={}, on_note=lambda _: None) as client,
    ):
        await register(client, fake, other)
        fake.script("/api/generate", Answer(503))
        other.script("/api/generate", Answer(502))
        assert (await ask(client)).error is not None
    async with Client(database_url=database_url, environ={}) as client:
        (receipt,) = await client.receipts.list()
    assert receipt.server is not None
    assert (receipt.server.name, receipt.attempts) == ("two", 2)


async def test_receipts_may_be_turned_off(database_url: str, fake: FakeOllama) -> None:
    environ = {"OLLAMA_ADMIN_RECEIPTS": "off"}
    async with Client(database_url=database_url, environ=environ) as client:
        await register(client, fake)
        assert (await ask(client)).accepted
        assert await client.receipts.list() == []
    with pytest.raises(InvalidInput, match="neither on nor off"):
        Client(database_url=database_url, environ={"OLLAMA_ADMIN_RECEIPTS": "maybe"})


async def test_a_database_that_is_away_spoils_no_answer_that_has_begun(
    stoppable_postgres: OwnPostgresServer, fake: FakeOllama
) -> None:
    """The receipt cannot be written, which is noted once, and all works again when it is back."""
    url, notes, hold, told = stoppable_postgres.create_database(), [], HoldAt(1), asyncio.Event()
    migrate(url)

    def hear(note: str) -> None:
        notes.append(note.partition(":")[0])
        if notes[-1].startswith("the receipt"):
            told.set()

    async with Client(database_url=url, environ={}, on_note=hear) as client:
        await register(client, fake, max_concurrent=2)
        fake.before_token = hold
        async with client.stream(prompt="hi", model="alpha") as stream:
            pieces = [(await anext(stream)).response]
            await asyncio.to_thread(stoppable_postgres.stop)
            hold.release.set()
            pieces += [piece.response async for piece in stream]
            assert ("".join(pieces), stream.reply.verified) == ("a secret answer", True)
        await told.wait()
        assert "the receipt could not be written" in notes
        assert isinstance((await ask(client)).error, DatabaseUnavailable)
        await asyncio.to_thread(stoppable_postgres.start)
        assert (await ask(client)).accepted.verified
    # a request that the database refused tries to write no receipt there
    assert notes.count("the receipt could not be written") == 1
    stoppable_postgres.drop_database(url)
