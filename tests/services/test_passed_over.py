"""What a receipt tells of the time before its answer: who was passed over and why, and for how long
the request waited.
"""

import asyncio
from typing import Any

from ollama_admin.client import Client
from ollama_admin.domain.receipts import Receipt
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.store import new_receipts as store
from tests.fake_ollama import Answer, FakeOllama, Silence
from tests.receipts import new_receipt
from tests.services.asking import GENERATE, ask, register

ALPHA, REBUILT = SimulatedModel("alpha"), SimulatedModel("alpha", build="2")


async def written(client: Client, count: int = 1) -> list[Receipt]:
    """So many receipts, once they are there, the newest first."""
    while len(receipts := await client.receipts.list()) < count:
        await asyncio.sleep(0.01)
    return receipts


async def test_an_answer_of_the_first_server_tells_nothing_of_others(client: Client) -> None:
    async with FakeOllama(ALPHA) as one, FakeOllama(ALPHA) as two:
        await register(client, one, two)
        await ask(client)
        [receipt] = await written(client)
    assert receipt.passed_over is None
    assert receipt.queued_ms is not None
    assert receipt.stats is not None
    assert 0 <= receipt.queued_ms <= receipt.stats.total_ms


async def test_servers_that_may_not_answer_are_told_in_the_words_of_explain(client: Client) -> None:
    async with (
        FakeOllama(ALPHA) as one,
        FakeOllama(REBUILT) as two,
        FakeOllama(ALPHA) as three,
        FakeOllama(SimulatedModel("beta")) as four,
    ):
        await register(client, one, two, three, four)
        await client.servers.drain("three")
        await ask(client, server=None)
        explanation = await client.explain(model="alpha")
        [receipt] = await written(client)
    reasons = {row.server.name: row.reason for row in explanation.candidates}
    assert receipt.passed_over == {"two": reasons["two"], "three": "it is draining"}


async def test_a_server_that_failed_is_told_with_its_error(client: Client) -> None:
    async with FakeOllama(ALPHA) as one, FakeOllama(ALPHA) as two:
        await register(client, one, two)
        one.script(GENERATE, Answer(503, {"error": "busy"}))
        outcome = await ask(client)
        [receipt] = await written(client)
    assert outcome.accepted.server.name == "two"
    assert receipt.passed_over is not None
    assert list(receipt.passed_over) == ["one"]
    assert "one" in receipt.passed_over["one"]


async def test_what_a_server_said_of_a_prompt_is_not_in_the_receipt(client: Client) -> None:
    async with FakeOllama(ALPHA) as one:
        await register(client, one)
        one.script(GENERATE, Answer(500, {"error": "cannot read 'my secret'"}))
        assert (await ask(client)).error is not None
        [receipt] = await written(client)
    assert receipt.passed_over is not None
    assert "500" in receipt.passed_over["one"]
    assert "secret" not in repr(receipt)


async def test_a_server_without_a_free_slot_is_told(client: Client) -> None:
    async with FakeOllama(ALPHA) as one, FakeOllama(ALPHA) as two:
        await register(client, one, two)
        silence = Silence()
        one.script(GENERATE, silence)
        asking = asyncio.create_task(ask(client, server="one"))
        await silence.arrived.wait()
        await client.servers.update("one", priority=5)
        outcome = await ask(client)
        [receipt] = await written(client)
        asking.cancel()
        await asyncio.wait([asking])
    assert outcome.accepted.server.name == "two"
    assert receipt.passed_over == {"one": "all its 1 slots are in use"}


async def test_the_time_in_the_queue_is_told(client: Client) -> None:
    """Whatever the clock says: the first token is counted from there on."""
    async with FakeOllama(ALPHA) as one:
        await register(client, one)
        await ask(client)
        [receipt] = await written(client)
        await ask(client, model="nothing")
        refused = (await written(client, 2))[0]
    assert receipt.queued_ms is not None
    assert (refused.queued_ms, refused.passed_over) == (None, None)


async def test_vectors_tell_it_too(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha", capabilities=("embedding",))) as one:
        await register(client, one)
        await client.embed(input="hi", model="alpha")
        [receipt] = await written(client)
    assert receipt.queued_ms is not None


async def test_any_text_can_be_stored_as_a_reason(client: Client) -> None:
    strange: dict[str, Any] = {"a\0b\ud800": "why\0 \udfff <script>", "gpu": "\u202ex" + "y" * 5000}
    many = {f"server-{number}": "it is away" for number in range(500)}
    await client._resources.db.write(
        store.add,
        [new_receipt(passed_over=strange, queued_ms=2**80), new_receipt(passed_over=many)],
    )
    second, first = await client.receipts.list()
    assert first.passed_over is not None
    assert second.passed_over is not None
    assert sorted(first.passed_over) == ["a\ufffdb\ufffd", "gpu"]
    assert max(map(len, first.passed_over.values())) == store.TEXT_LIMIT
    assert first.queued_ms == 2**53 - 1
    assert len(second.passed_over) == store.MOST_REASONS
