"""Which build answers: a demand holds back the end until it is proven, and another server is asked
only within the build and before the first byte.
"""

import asyncio
import json

import pytest

from ollama_admin.simulator.http import encode_chunk
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import HoldAt
from tests.api.conftest import Serve, prefer, register
from tests.api.service import SECONDS, Service, protocols, request
from tests.api.test_leaving import in_use, until
from tests.fake_ollama import Answer, Ending, Held, Raw, Silence
from tests.fake_ollama_thread import FakeOllamaThread
from tests.gateway.answers import MODEL, SAMPLES, STREAMS, Sample
from tests.gateway.test_bad_servers import last_record, message_of
from tests.gateway.upstream import RELAYED, chunked, head, pieces, script, sent_to

OLD, NEW = (SimulatedModel(MODEL, build=build) for build in ("old", "new"))
DEMAND = {"X-Ollama-Admin-Digest": OLD.digest}


def held_answer(sample: Sample) -> tuple[asyncio.Event, Raw]:
    """An answer whose end comes when the event is set."""
    before, event = sample.body.removesuffix(sample.mark), asyncio.Event()
    rest = encode_chunk(sample.mark) + encode_chunk(b"")
    return event, Raw((head(sample.content_type) + encode_chunk(before), event, rest), Ending.KEEP)


def point(fake: FakeOllamaThread, model: SimulatedModel) -> None:
    fake.call(lambda: fake.fakes[0].point(MODEL, model))


@pytest.mark.parametrize("name", STREAMS)
def test_a_demand_that_holds_gives_the_end_when_it_is_proven(
    sqlite_api: Service, fakes: Serve, name: str
) -> None:
    sample, fake = SAMPLES[name], fakes(OLD)
    register(sqlite_api, fake)
    script(fake, sample.path, pieces(chunked(sample.body, sample.content_type, 50), 30, 200))
    body = {"model": MODEL, **RELAYED[sample.path]}
    heard = sqlite_api.heard(sample.path, body, headers=DEMAND)
    assert (heard.status, heard.is_whole, heard.body) == (200, True, sample.body)
    receipt = sqlite_api.receipt(heard.headers["x-request-id"])
    assert (receipt.proof, receipt.verified, receipt.digest) == ("digest", True, OLD.digest)


@pytest.mark.parametrize("name", STREAMS)
def test_a_tag_that_moves_while_a_demand_is_answered_never_gives_the_end(
    sqlite_api: Service, fakes: Serve, name: str
) -> None:
    sample, fake = SAMPLES[name], fakes(OLD)
    register(sqlite_api, fake)
    event, answer = held_answer(sample)
    script(fake, sample.path, answer)

    def move() -> None:
        point(fake, NEW)
        fake.call(event.set)

    body = {"model": MODEL, **RELAYED[sample.path]}
    heard = sqlite_api.heard(sample.path, body, headers=DEMAND, at_first=move)
    assert (heard.status, heard.is_whole) == (200, False)
    assert heard.body.startswith(sample.body.removesuffix(sample.mark))
    assert sample.mark.strip() not in heard.body
    assert message_of(sample.path, last_record(sample, heard.body))
    assert sqlite_api.receipt(heard.headers["x-request-id"]).outcome == "model_mismatch"


@pytest.mark.parametrize("name", STREAMS)
def test_a_tag_that_moves_without_a_demand_is_answered_and_its_receipt_tells(
    sqlite_api: Service, fakes: Serve, name: str
) -> None:
    sample, fake = SAMPLES[name], fakes(OLD)
    register(sqlite_api, fake)
    event, answer = held_answer(sample)
    script(fake, sample.path, answer)

    def move() -> None:
        point(fake, NEW)
        fake.call(event.set)

    body = {"model": MODEL, **RELAYED[sample.path]}
    heard = sqlite_api.heard(sample.path, body, at_first=move)
    assert (heard.status, heard.is_whole, heard.body) == (200, True, sample.body)
    receipt = sqlite_api.receipt(heard.headers["x-request-id"])
    assert (receipt.outcome, receipt.verified) == ("ok", False)
    assert receipt.proof in ("drift", "changed")


@pytest.mark.parametrize("path", RELAYED)
def test_a_demand_that_fails_before_is_409_and_nothing_is_sent(
    sqlite_api: Service, fakes: Serve, path: str
) -> None:
    fake = fakes(OLD)
    register(sqlite_api, fake)
    point(fake, NEW)
    refused = sqlite_api.ask("POST", path, {"model": MODEL, **RELAYED[path]}, headers=DEMAND)
    assert refused.status_code == 409
    assert message_of(path, refused.json())
    assert sent_to(fake, path) == []


@pytest.mark.parametrize("name", STREAMS)
def test_the_next_server_is_asked_within_the_build_and_before_the_first_byte(
    sqlite_api: Service, fakes: Serve, name: str
) -> None:
    sample, one, two, other = SAMPLES[name], fakes(OLD), fakes(OLD), fakes(NEW)
    first, *_ = register(sqlite_api, one, two, other)
    prefer(sqlite_api, first)
    script(one, sample.path, Answer(503, {"error": "away"}))
    script(two, sample.path, Raw((chunked(sample.body, sample.content_type),), Ending.KEEP))
    body = {"model": MODEL, **RELAYED[sample.path]}
    heard = sqlite_api.heard(sample.path, body)
    assert (heard.status, heard.body) == (200, sample.body)
    assert heard.headers["x-ollama-admin-server"] == "two"
    script(one, sample.path, Answer(503, {"error": "away"}))
    script(two, sample.path, Answer(503, {"error": "away, too"}))
    assert sqlite_api.heard(sample.path, body).status == 503
    before = sample.body.removesuffix(sample.mark)
    script(one, sample.path, Raw((head(sample.content_type) + encode_chunk(before),)))
    assert not sqlite_api.heard(sample.path, body).is_whole
    assert len(sent_to(two, sample.path)) == 2
    assert sent_to(other, sample.path) == []


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
def test_a_client_that_leaves_ends_the_work_at_the_server(
    sqlite_api: Service, fakes: Serve, path: str
) -> None:
    hold = HoldAt(1)
    fake = fakes(SimulatedModel(MODEL, says="one two three"), before_token=hold)
    register(sqlite_api, fake)
    body = json.dumps({"model": MODEL, "stream": True, **RELAYED[path]}).encode()
    with sqlite_api.connect() as connection:
        connection.sendall(request("POST", path, body))
        fake.run(hold.reached.wait(), SECONDS)
    fake.run(fake.fakes[0].client_left.wait(), SECONDS)
    until(lambda: in_use(sqlite_api) <= 1)


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_what_path_and_headers_ask_for_holds_where_the_answer_is_translated(
    sqlite_api: Service, fakes: Serve, path: str
) -> None:
    one, two = fakes(OLD), fakes(NEW)
    first, _ = register(sqlite_api, one, two, api_version="v1")
    prefer(sqlite_api, first)
    body = {"model": MODEL, "stream": False, **RELAYED[path]}
    for prefix, headers in (
        ("/servers/two", {}),
        ("", {"X-Ollama-Admin-Server": "two"}),
        ("", {"X-Ollama-Admin-Server-URL": two.url}),
        ("", {"X-Ollama-Admin-Digest": NEW.digest}),
    ):
        heard = sqlite_api.heard(prefix + path, body, headers=headers)
        assert (heard.status, sent_to(one, "/v1/chat/completions")) == (200, [])
        receipt = sqlite_api.receipt(heard.headers["x-request-id"])
        assert (receipt.outcome, receipt.server and receipt.server.name) == ("ok", "two")
    assert len(sent_to(two, "/v1/chat/completions")) == 4
    point(two, OLD)
    demand = {"X-Ollama-Admin-Digest": NEW.digest}
    refused = sqlite_api.ask("POST", f"/servers/two{path}", body, headers=demand)
    assert refused.status_code == 409
    assert len(sent_to(two, "/v1/chat/completions")) == 4


def test_a_client_that_leaves_while_its_plan_is_made_leaves_a_receipt(
    sqlite_api: Service, fakes: Serve
) -> None:
    fake, held = fakes(MODEL), Held()
    script(fake, "/api/tags", held)
    script(fake, "/api/generate", Silence())
    body = {"model": MODEL, "prompt": "hi", "server_url": fake.url}
    with sqlite_api.connect() as connection:
        connection.sendall(request("POST", "/api/generate", json.dumps(body).encode()))
        fake.run(held.arrived.wait(), SECONDS)
    until(lambda: not protocols(sqlite_api.port))
    fake.call(held.release.set)
    logged = next(line for line in sqlite_api.log(1) if "POST" in line)
    assert " 499 " in logged
    receipt = sqlite_api.receipt(logged.split()[0])
    assert (receipt.outcome, receipt.proof, receipt.asked_model) == ("cancelled", None, MODEL)
