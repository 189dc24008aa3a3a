"""`/api/fleet/sync`: the same JSON as the command's."""

import json

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Registry
from tests.api.conftest import Serve, register
from tests.api.service import Service

ALPHA = SimulatedModel("alpha", size=10_000)


def test_servers_pull_what_another_one_holds(api: Service, fakes: Serve) -> None:
    register(api, fakes(ALPHA, registry=Registry([ALPHA])), fakes(registry=Registry([ALPHA])))
    asked = {"source": "one", "servers": [2]}
    planned = api.ask("POST", "/api/fleet/sync", asked | {"dry_run": True})
    assert planned.status_code == 200
    [step] = planned.json()["results"]
    assert (step["action"], step["is_done"]) == ("pull", False)
    answer = api.ask("POST", "/api/fleet/sync", asked)
    assert answer.headers["content-type"] == "application/x-ndjson"
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert events[-1]["event"] == "end"
    assert events[-1]["results"][0]["digest"] == ALPHA.digest
    assert events[-1]["failed"] == 0


def test_what_cannot_be_done_is_a_status(api: Service, fakes: Serve) -> None:
    register(api, fakes(registry=Registry([ALPHA])), fakes(ALPHA))
    refused = api.ask("POST", "/api/fleet/sync", {"source": 1, "servers": [2], "prune": True})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    assert api.ask("POST", "/api/fleet/sync", {"source": 1}).status_code == 422
    assert api.ask("POST", "/api/fleet/sync", {"source": 9, "all": True}).status_code == 404
