"""Pulls, copies and deletions at the simulated server, as the real one does them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Layer, PullFailedError, Registry
from ollama_admin.simulator.server import SimulatedServer

ALPHA = SimulatedModel("alpha", size=1000)
LOAD = "/api/generate"


@pytest.fixture
async def server() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer(registry=Registry([ALPHA])) as server:
        yield server


async def ask(server: SimulatedServer, method: str, path: str, **body: Any) -> httpx.Response:
    async with httpx.AsyncClient(verify=False, trust_env=False, timeout=20) as client:
        return await client.request(method, server.url + path, json=body or None)


async def pull(server: SimulatedServer, model: str) -> list[dict[str, Any]]:
    answer = await ask(server, "POST", "/api/pull", model=model)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


async def listed(server: SimulatedServer) -> dict[str, str]:
    models = (await ask(server, "GET", "/api/tags")).json()["models"]
    return {model["name"]: model["digest"] for model in models}


async def test_pull_brings_every_byte_and_lists_the_model(server: SimulatedServer) -> None:
    records = await pull(server, "alpha")
    statuses = [record["status"] for record in records]
    assert statuses[0] == "pulling manifest"
    assert statuses[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    completed = {record["digest"]: record.get("completed", 0) for record in records[1:-3]}
    assert sum(completed.values()) == server.registry.received == ALPHA.size
    assert await listed(server) == {"alpha:latest": ALPHA.digest}


async def test_second_pull_brings_nothing(server: SimulatedServer) -> None:
    await pull(server, "alpha")
    records = await pull(server, "alpha")
    layers = [record for record in records if "digest" in record]
    assert all(record["completed"] == record["total"] for record in layers)
    assert server.registry.received == ALPHA.size


async def test_pull_that_was_left_goes_on_where_it_stopped(server: SimulatedServer) -> None:
    third = asyncio.Event()

    async def hold_half(layer: Layer, completed: int) -> None:
        if completed >= layer.size / 2:
            third.set()
            await asyncio.Event().wait()

    server.registry.before_piece = hold_half
    asking = asyncio.create_task(pull(server, "alpha"))
    await third.wait()
    asking.cancel()
    await server.until(lambda: bool(server.abandoned))
    received = server.registry.received
    assert 0 < received < ALPHA.size
    server.registry.before_piece = None
    records = await pull(server, "alpha")
    assert records[1]["completed"] == received
    assert server.registry.received == ALPHA.size


async def test_two_pulls_of_a_model_share_its_bytes(server: SimulatedServer) -> None:
    one, other = await asyncio.gather(pull(server, "alpha"), pull(server, "alpha"))
    assert one[-1] == other[-1] == {"status": "success"}
    assert server.registry.received == ALPHA.size


async def test_pull_of_what_the_registry_has_not_ends_with_its_words(
    server: SimulatedServer,
) -> None:
    assert (await pull(server, "beta"))[-1] == {"error": "pull model manifest: file does not exist"}


async def test_pull_that_fails_on_the_way_ends_with_an_error(server: SimulatedServer) -> None:
    async def full(layer: Layer, completed: int) -> None:
        if completed:
            raise PullFailedError("write blob: no space left on device")

    server.registry.before_piece = full
    assert (await pull(server, "alpha"))[-1] == {"error": "write blob: no space left on device"}
    assert await listed(server) == {}


async def test_copy_and_delete_change_what_is_listed(server: SimulatedServer) -> None:
    await pull(server, "alpha")
    answer = await ask(server, "POST", "/api/copy", source="alpha", destination="mine/alpha:1")
    assert (answer.status_code, answer.content) == (200, b"")
    assert await listed(server) == {"alpha:latest": ALPHA.digest, "mine/alpha:1": ALPHA.digest}
    answer = await ask(server, "DELETE", "/api/delete", model="alpha")
    assert (answer.status_code, answer.content) == (200, b"")
    assert await listed(server) == {"mine/alpha:1": ALPHA.digest}
    answer = await ask(server, "POST", "/api/copy", source="alpha", destination="b")
    assert (answer.status_code, answer.json()["error"]) == (404, 'model "alpha" not found')


async def test_model_stays_in_memory_as_long_as_it_is_told(server: SimulatedServer) -> None:
    await pull(server, "alpha")
    for keep_alive in (-1, "24h"):
        await ask(server, "POST", LOAD, model="alpha", keep_alive=keep_alive)
        [entry] = (await ask(server, "GET", "/api/ps")).json()["models"]
        year = int(entry["expires_at"][:4])
        assert (year > 2100) == (keep_alive == -1)
    answer = await ask(server, "POST", LOAD, model="alpha", keep_alive=0)
    assert answer.json()["done_reason"] == "unload"
    assert (await ask(server, "GET", "/api/ps")).json() == {"models": []}


async def test_share_on_the_gpu_is_that_of_the_model() -> None:
    half = SimulatedModel("half", gpu_share=0.5)
    async with SimulatedServer(half) as server:
        await ask(server, "POST", LOAD, model="half")
        [entry] = (await ask(server, "GET", "/api/ps")).json()["models"]
        assert entry["size_vram"] * 2 == entry["size"]
