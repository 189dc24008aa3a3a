"""A request that is on its way is ended by somebody else: its client is told, and the server is let
go.
"""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import HoldAt
from tests.api.conftest import Serve, register
from tests.api.service import SECONDS, Service
from tests.fake_ollama import Silence
from tests.gateway.test_keys import add, ask

PROMPT = {"model": "alpha", "messages": [{"role": "user", "content": "hi"}]}
PATHS = ("/api/chat", "/v1/chat/completions", "/v1/messages")


def on_their_way(service: Service) -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = service.ask("GET", "/api/fleet/activity").json()["requests"]
    return requests


def cancel(service: Service, key: str | None = None) -> httpx.Response:
    """Ask to end the one request that is on its way."""
    [request] = on_their_way(service)
    path = f"/api/requests/{request['id']}/cancel"
    if key is None:
        return service.ask("POST", path)
    return ask(service, key, path=path, json=None)


async def receipt_of(service: Service, request_id: str) -> Any:
    assert service.opened is not None
    while not await service.opened.receipts.list():
        await asyncio.sleep(0.01)
    return await service.opened.receipts.show(request_id)


def message_of(document: dict[str, Any]) -> str:
    error = document["error"]
    return error if isinstance(error, str) else error["message"]


@pytest.mark.parametrize("path", PATHS)
def test_client_is_told_in_its_dialect_before_the_first_token(
    api: Service, fakes: Serve, path: str
) -> None:
    fake = fakes(SimulatedModel("alpha"))
    register(api, fake)
    silence = Silence()
    fake.fakes[0].script(path, silence)
    with ThreadPoolExecutor(1) as pool:
        asked: Future[httpx.Response] = pool.submit(api.ask, "POST", path, PROMPT)
        fake.run(silence.arrived.wait(), SECONDS)
        ended = cancel(api)
        assert ended.status_code == 200, ended.text
        answer = asked.result(SECONDS)
    assert (ended.status_code, ended.json()["model"]) == (200, "alpha:latest")
    assert answer.status_code == 499
    assert "the request was cancelled" in message_of(answer.json())
    request_id = answer.headers["x-request-id"]
    assert ended.json()["id"] == request_id
    receipt = api.run(receipt_of(api, request_id))
    assert (receipt.outcome, receipt.server.name) == ("cancelled", "one")
    assert receipt.queued_ms is not None
    [entry] = api.run(api.opened.audit.list(action="request")) if api.opened else []
    assert (entry.action, entry.subject, entry.outcome) == ("request.cancel", request_id, "ok")
    assert entry.before["model"] == "alpha:latest"
    assert on_their_way(api) == []


def test_stream_ends_with_an_error_and_the_server_is_let_go(api: Service, fakes: Serve) -> None:
    fake = fakes(SimulatedModel("alpha", says="one two three"))
    register(api, fake)
    fake.fakes[0].before_token = HoldAt(1)
    lines: list[str] = []
    with api.client() as client, client.stream("POST", "/api/chat", json=PROMPT) as answer:
        pieces = answer.iter_lines()
        lines.append(next(pieces))
        assert cancel(api).status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):  # no end mark
            lines.extend(pieces)
    assert '"code": "request_cancelled"' in lines[-1]
    assert on_their_way(api) == []
    fake.fakes[0].before_token = None
    assert api.ask("POST", "/api/chat", PROMPT | {"stream": False}).status_code == 200


def test_request_that_waits_for_its_turn_can_be_ended(api: Service, fakes: Serve) -> None:
    fake = fakes(SimulatedModel("alpha"))
    register(api, fake)
    silence = Silence()
    fake.fakes[0].script("/api/chat", silence)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(api.ask, "POST", "/api/chat", PROMPT)
        fake.run(silence.arrived.wait(), SECONDS)
        second = pool.submit(api.ask, "POST", "/api/chat", PROMPT)
        while len(requests := on_their_way(api)) < 2:
            pass
        for request in requests[::-1]:
            assert api.ask("POST", f"/api/requests/{request['id']}/cancel").status_code == 200
        assert (first.result(SECONDS).status_code, second.result(SECONDS).status_code) == (499, 499)


def test_key_that_may_only_ask_ends_its_own_requests_alone(api: Service, fakes: Serve) -> None:
    fake = fakes(SimulatedModel("alpha"))
    register(api, fake)
    own, foreign = add(api, "own"), add(api, "foreign")
    reader = add(api, "reader", can=["read"])
    silence = Silence()
    fake.fakes[0].script("/api/chat", silence)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, api, own, json=PROMPT)
        fake.run(silence.arrived.wait(), SECONDS)
        assert cancel(api, reader).status_code == 403
        refused = cancel(api, foreign)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
        assert cancel(api, own).status_code == 200
        assert asked.result(SECONDS).status_code == 499
    assert api.opened is not None
    entries = api.run(api.opened.audit.list(action="request"))
    assert [(one.who, one.outcome) for one in entries] == [("own", "ok"), ("foreign", "not_found")]


def test_request_that_is_not_there_is_not_found(api: Service) -> None:
    refused = api.ask("POST", "/api/requests/0123456789abcdef/cancel")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
    assert api.ask("POST", "/api/requests/x/cancel").status_code == 422
