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


def fleet(service: Service, fakes: Serve) -> None:
    register(service, fakes(ALPHA), fakes(NEW_ALPHA), fakes("beta"))


def outcome(service: Service, verb: str, **body: Any) -> list[tuple[str, str, str | None]]:
    answer = service.ask("POST", f"/api/fleet/{verb}", body)
    assert answer.status_code == 200, answer.text
    return [
        (row["server"]["name"], row["change"], row["error"] and row["error"]["code"])
        for row in answer.json()["results"]
    ]


def test_models_are_loaded_listed_and_unloaded(api: Service, fakes: Serve) -> None:
    fleet(api, fakes)
    assert outcome(api, "load", model="alpha", servers=["one", 3], keep_alive="1h") == [
        ("one", "loaded", None),
        ("three", "failed", "model_not_found"),
    ]
    running = api.ask("GET", "/api/fleet/ps?server=one&server=2").json()
    assert running["failed"] == 0
    assert [[model["name"] for model in row["models"]] for row in running["results"]] == [
        ["alpha:latest"],
        [],
    ]
    assert outcome(api, "unload", model="alpha", all=True) == [
        ("one", "unloaded", None),
        ("two", "not loaded", None),
        ("three", "not there", None),
    ]


def test_model_is_shown_copied_and_removed(api: Service, fakes: Serve) -> None:
    fleet(api, fakes)
    shown = api.ask("GET", "/api/fleet/show", params={"model": "alpha", "server": "two"}).json()
    assert (shown["server"]["name"], shown["digest"]) == ("two", NEW_ALPHA.digest)
    assert [holder["server"]["name"] for holder in shown["holders"]] == ["one", "two"]
    copied = outcome(api, "copy", source="alpha", destination="me/a:1", servers=["one"])
    assert copied == [("one", "copied", None)]
    assert outcome(api, "remove", model="alpha", servers=["one"]) == [("one", "removed", None)]
    names = {model["name"] for model in api.ask("GET", "/api/servers/1/models").json()}
    assert names == {"me/a:1"}
    missing = api.ask("GET", "/api/fleet/show?model=gamma")
    assert refused(missing) == (404, "model_not_found")
    actions = [row["action"] for row in api.ask("GET", "/api/audit?action=model").json()]
    assert actions == ["model.delete", "model.copy"]


@pytest.mark.parametrize("verb", ["remove", "load", "unload"])
def test_change_names_its_servers(sqlite_api: Service, verb: str) -> None:
    answer = sqlite_api.ask("POST", f"/api/fleet/{verb}", {"model": "alpha"})
    assert refused(answer) == (422, "invalid_input")


def test_key_reads_what_it_may_and_changes_nothing_without_the_right(
    sqlite_api: Service, fakes: Serve
) -> None:
    fleet(sqlite_api, fakes)
    made = {"name": "r", "can": ["read"], "models": ["alpha"], "servers": ["two"]}
    key = sqlite_api.ask("POST", "/api/keys", made).json()["key"]
    own = {"Authorization": f"Bearer {key}"}
    running = sqlite_api.ask("GET", "/api/fleet/ps", headers=own).json()
    assert [row["server"]["name"] for row in running["results"]] == ["two"]
    shown = sqlite_api.ask("GET", "/api/fleet/show?model=alpha", headers=own).json()
    assert [holder["server"]["name"] for holder in shown["holders"]] == ["two"]
    for path in ("/api/fleet/ps?server=one", "/api/fleet/show?model=beta"):
        assert sqlite_api.ask("GET", path, headers=own).status_code == 404
    body = {"model": "alpha", "servers": ["two"]}
    for verb in ("remove", "load", "unload"):
        answer = sqlite_api.ask("POST", f"/api/fleet/{verb}", body, headers=own)
        assert answer.status_code == 403


def test_service_that_stops_in_mid_pull_says_so(sqlite_url: str, fakes: Serve) -> None:
    fake, silence = fakes(), Silence()
    with Service(sqlite_url, grace=0.2) as service:
        register(service, fake)
        fake.call(lambda: fake.fakes[0].script("/api/pull", silence))
        body = {"model": "alpha", "servers": ["one"]}
        with service.client() as client, client.stream("POST", PULL, json=body) as answer:
            lines = answer.iter_lines()
            assert json.loads(next(lines))["status"] == "waiting"
            fake.run(silence.arrived.wait())
            service.stop()
            *_, last = lines
        assert json.loads(last)["error"]["code"] == "server_stopping"
    fake.run(fake.fakes[0].until(lambda: bool(fake.fakes[0].abandoned)))
