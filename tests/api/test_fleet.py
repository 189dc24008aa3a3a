"""`/api/fleet`: what several servers pull, hold and run, over HTTP."""

import json
from typing import Any

import httpx
import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Registry
from tests.api.conftest import Serve, register
from tests.api.service import Service
from tests.fake_ollama import Silence

ALPHA = SimulatedModel("alpha", size=10_000)
NEW_ALPHA = SimulatedModel("alpha", build="2", size=20_000)
PULL = "/api/fleet/pull"


def pulled(service: Service, **body: Any) -> list[dict[str, Any]]:
    answer = service.ask("POST", PULL, body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_pull_is_a_line_for_each_event_and_the_report(api: Service, fakes: Serve) -> None:
    servers = [fakes(registry=Registry([ALPHA])) for _ in range(2)]
    register(api, *servers)
    events = pulled(api, model="alpha", servers=["one", 2])
    assert [event["event"] for event in events].count("result") == 2
    end = events[-1]
    assert (end["event"], end["failed"]) == ("end", 0)
    assert end["builds"] == [{"model": "alpha", "digest": ALPHA.digest, "servers": ["one", "two"]}]
    assert [row["received"] for row in end["results"]] == [10_000, 10_000]
    models = api.ask("GET", "/api/models").json()
    assert sorted(model["server"] for model in models) == ["one", "two"]
    [last, _] = api.ask("GET", "/api/audit?action=model.pull").json()
    assert (last["way"], last["outcome"]) == ("api", "ok")


def test_server_that_fails_is_a_result_and_the_status_is_200(api: Service, fakes: Serve) -> None:
    servers = [fakes(registry=Registry([ALPHA])), fakes(registry=Registry([NEW_ALPHA])), fakes()]
    register(api, *servers)
    end = pulled(api, model="alpha", all=True, digest=ALPHA.digest[:12])[-1]
    assert end["failed"] == 2
    codes = [row["error"] and row["error"]["code"] for row in end["results"]]
    assert codes == [None, "model_mismatch", "model_not_found"]


BAD: dict[str, tuple[dict[str, Any], tuple[int, str]]] = {
    "no server": ({"model": "alpha"}, (422, "invalid_input")),
    "an unknown server": ({"model": "alpha", "servers": ["x"]}, (404, "server_not_found")),
    "a glob": ({"model": "a*", "all": True}, (422, "invalid_input")),
    "a digest that is none": (
        {"model": "alpha", "all": True, "digest": "1"},
        (422, "invalid_input"),
    ),
    "servers and all": (
        {"model": "alpha", "all": True, "servers": ["one"]},
        (422, "invalid_input"),
    ),
    "an unknown field": ({"model": "alpha", "all": True, "insecure": 1}, (422, "invalid_input")),
}


@pytest.mark.parametrize("mistake", BAD)
def test_mistake_is_refused_before_anything_is_pulled(
    sqlite_api: Service, fakes: Serve, mistake: str
) -> None:
    fake = fakes()
    register(sqlite_api, fake)
    body, expected = BAD[mistake]
    assert refused(sqlite_api.ask("POST", PULL, body)) == expected
    assert not fake.call(lambda: fake.fakes[0].requests_to("/api/pull"))


def test_client_that_leaves_stops_the_pull(sqlite_api: Service, fakes: Serve) -> None:
    fake, silence = fakes(), Silence()
    register(sqlite_api, fake)
    fake.call(lambda: fake.fakes[0].script("/api/pull", silence))
    body = {"model": "alpha", "servers": ["one"]}
    with sqlite_api.client() as client, client.stream("POST", PULL, json=body) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines))["status"] == "waiting"
        fake.run(silence.arrived.wait())
    fake.run(fake.fakes[0].until(lambda: bool(fake.fakes[0].abandoned)))


def test_key_pulls_what_it_may_where_it_may(sqlite_api: Service, fakes: Serve) -> None:
    servers = [fakes(registry=Registry([ALPHA])) for _ in range(2)]
    register(sqlite_api, *servers)
    made = {"name": "ops", "can": ["manage"], "models": ["alpha"], "servers": ["one"]}
    key = sqlite_api.ask("POST", "/api/keys", made).json()["key"]
    own = {"Authorization": f"Bearer {key}"}

    def ask(**body: Any) -> httpx.Response:
        return sqlite_api.ask("POST", PULL, body, headers=own)

    end = json.loads(ask(model="alpha", all=True).text.splitlines()[-1])
    assert [row["server"]["name"] for row in end["results"]] == ["one"]
    assert refused(ask(model="alpha", servers=["two"])) == (404, "server_not_found")
    assert refused(ask(model="beta", servers=["one"])) == (404, "model_not_found")
    reader = sqlite_api.ask("POST", "/api/keys", {"name": "r", "can": ["ask", "read"]}).json()[
        "key"
    ]
    answer = sqlite_api.ask(
        "POST", PULL, {"model": "alpha", "all": True}, headers={"Authorization": f"Bearer {reader}"}
    )
    assert answer.status_code == 403
