"""The page Requests: what is on its way and can be ended, the log, and all of one request."""

import asyncio
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest

from ollama_admin.domain.answers import Stats
from ollama_admin.domain.keys import KeyRef
from ollama_admin.domain.receipts import Receipt
from ollama_admin.domain.servers import ServerRef
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.store import new_receipts as store
from tests.api.conftest import Serve, register
from tests.api.service import SECONDS, Service
from tests.fake_ollama import Silence
from tests.gateway.test_keys import ask
from tests.receipts import new_receipt
from tests.web.browsing import new_key, signed_in

NOW = datetime.now(UTC)
CHAT = {"model": "alpha", "messages": [{"role": "user", "content": "hi"}]}
BAD = "<script>alert(1)</script>\u202e" + "x" * 300


def write(service: Service, receipts: Sequence[Receipt]) -> None:
    assert service.opened is not None
    service.run(service.opened._resources.db.write(store.add, receipts))


def receipt(**values: Any) -> Receipt:
    return new_receipt(**{"created_at": NOW - timedelta(minutes=5)} | values)


def test_empty_log_says_what_to_do_first(sqlite_api: Service) -> None:
    with signed_in(sqlite_api) as person:
        html = person.get("/ui/requests").text
    assert "No request is on its way" in html
    assert "ollama-admin generate" in html


def test_request_on_its_way_is_seen_and_ended(api: Service, fakes: Serve) -> None:
    fake = fakes(SimulatedModel("alpha"))
    register(api, fake)
    silence = Silence()
    fake.fakes[0].script("/api/chat", silence)
    with signed_in(api) as person, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(api.ask, "POST", "/api/chat", CHAT)
        fake.run(silence.arrived.wait(), SECONDS)
        [request] = api.ask("GET", "/api/fleet/activity").json()["requests"]
        path = f"/ui/requests/{request['id']}"
        assert f'formaction="{path}/cancel"' in person.get("/ui/requests").text
        assert "on its way" in person.get(path).text
        ended = person.send(f"{path}/cancel", page="/ui/requests")
        assert (ended.status_code, ended.headers["location"]) == (303, "/ui/requests")
        assert asked.result(SECONDS).status_code == 499
        assert "was cancelled" in person.get("/ui/requests").text
        api.run(_written(api))
        html = person.get(path).text
    for text in ("cancelled", "came", "sent", "done", "No server that has the model"):
        assert text in html


async def _written(service: Service) -> None:
    assert service.opened is not None
    while not await service.opened.receipts.list():
        await asyncio.sleep(0.01)


def test_one_request_tells_who_was_passed_over_and_what_was_proven(sqlite_api: Service) -> None:
    passed = {"gpu-2": "it is draining", BAD: "another build " + BAD}
    write(sqlite_api, [receipt(passed_over=passed, queued_ms=1500, request_id="ab" * 8)])
    with signed_in(sqlite_api) as person:
        html = person.get(f"/ui/requests/{'ab' * 8}").text
        assert person.get("/ui/requests/1").text.count("<dt>") == html.count("<dt>")
        assert person.get("/ui/requests/2").status_code == 404
        assert person.get("/ui/requests/x").status_code == 404
    for text in ("gpu-2", "it is draining", "1.50 s", "1.90 s", "d" * 64, "listed this build"):
        assert text in html
    assert "<script>alert" not in html
    assert "\u202e" not in html


def test_tokens_that_no_server_told_are_not_told_twice(sqlite_api: Service) -> None:
    write(sqlite_api, [receipt(stats=Stats(total_ms=1)), receipt()])
    with signed_in(sqlite_api) as person:
        html = person.get("/ui/requests").text
    assert '<td class="number">not told</td>' in html
    assert "not told in" not in html
    assert "11 in, 7 out" in html


def test_log_is_filtered_by_what_stands_in_the_url(sqlite_api: Service) -> None:
    two = ServerRef(id=2, name="two", url="http://two")
    write(
        sqlite_api,
        [
            receipt(model="alpha:latest", key=KeyRef(id=1, name="team")),
            receipt(model="beta:latest", asked_model="beta", server=two, outcome="server_busy"),
            receipt(model="gamma:latest", asked_model="gamma", outcome="cancelled"),
            receipt(created_at=NOW - timedelta(days=3), model="old:latest", asked_model="old"),
        ],
    )
    seen = {
        "": "alpha beta gamma",
        "model=BETA": "beta",
        "server=two": "beta",
        "key=team": "alpha",
        "outcome=failed": "beta",
        "outcome=cancelled": "gamma",
        "outcome=ok": "alpha",
        "since=7d": "alpha beta gamma old",
        "since=nonsense&outcome=nonsense": "alpha beta gamma",
        "model=nothing": "",
        "server=nobody": "",
        "below=2": "alpha",
        "below=999": "",
    }
    with signed_in(sqlite_api) as person:
        for query, names in seen.items():
            answer = person.get(f"/ui/requests?{query}")
            assert answer.status_code == 200, query
            shown = [
                name for name in ("alpha", "beta", "gamma", "old") if f"{name}:" in answer.text
            ]
            assert shown == names.split(), query
        assert "no server named" in person.get("/ui/requests?server=nobody").text


def test_log_of_millions_is_looked_through_in_parts(
    sqlite_api: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ollama_admin.services.receipts.LOOKED_AT", 2)
    write(sqlite_api, [receipt(outcome="server_busy"), receipt(), receipt(), receipt()])
    with signed_in(sqlite_api) as person:
        html = person.get("/ui/requests?outcome=failed").text
        assert "None of the requests that were looked through is asked for here." in html
        assert "looked through back to" in html
        older = re.search(r'href="([^"]*below=[^"]*)">Look further back', html)
        assert older is not None
        html = person.get(unescape(older[1])).text
    assert "server_busy" in html
    assert "Look further back" not in html


def test_log_is_turned_page_by_page(sqlite_api: Service) -> None:
    write(sqlite_api, [receipt(model=f"m{number}:1", asked_model=None) for number in range(70)])
    with signed_in(sqlite_api) as person:
        first = person.get("/ui/requests").text
        assert "below=21" in first
        assert ("m69:1" in first, "m20:1" in first, "m19:1" in first) == (True, True, False)
        second = person.get("/ui/requests?below=21").text
        assert ("m19:1" in second, "m0:1" in second, "m20:1" in second) == (True, True, False)


def test_key_that_may_only_ask_sees_its_own_requests(api: Service, fakes: Serve) -> None:
    fake = fakes(SimulatedModel("alpha"))
    register(api, fake)
    mine, other = new_key(api, "mine"), new_key(api, "other")
    write(
        api,
        [
            receipt(model="secret:1", key=KeyRef(id=2, name="other")),
            receipt(model="own:1", key=KeyRef(id=1, name="mine")),
        ],
    )
    silence = Silence()
    fake.fakes[0].script("/api/chat", silence)
    with signed_in(api, mine) as person, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, api, other, json=CHAT)
        fake.run(silence.arrived.wait(), SECONDS)
        [request] = api.ask("GET", "/api/fleet/activity").json()["requests"]
        html = person.get("/ui/requests?key=other").text
        assert ("own:1" in html, "secret:1" in html) == (True, False)
        assert request["id"] not in html
        for path in ("/ui/requests/1", f"/ui/requests/{request['id']}"):
            assert person.get(path).status_code == 404
        path = f"/ui/requests/{request['id']}/cancel"
        assert person.send(path, page="/ui/requests").status_code == 404
        assert api.ask("POST", f"/api/requests/{request['id']}/cancel").status_code == 200
        asked.result(SECONDS)


def test_names_are_text_in_every_cell(sqlite_api: Service) -> None:
    server = ServerRef(id=1, name=BAD, url=BAD)
    key = KeyRef(id=1, name=BAD)
    row = receipt(
        model=BAD, asked_model=BAD, server=server, key=key, client=BAD, server_version=BAD
    )
    write(sqlite_api, [row])
    with signed_in(sqlite_api) as person:
        for path in ("/ui/requests", "/ui/requests/1"):
            html = person.get(path).text
            assert "<script>alert" not in html
            assert "\u202e" not in html
            assert "&lt;script&gt;" in html
