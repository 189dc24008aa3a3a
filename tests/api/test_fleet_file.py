"""`/api/plan` and `/api/apply`: the same JSON as the commands', for keys that administrate."""

import json

import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Registry
from tests.api.conftest import Serve
from tests.api.service import Service

FILE = """\
version: 1
owner: team
servers: [{name: gpu-1, url: "http://10.0.0.1", labels: {country: no}}]
keys: [{name: office, can: [ask]}]
"""


def test_plan_is_applied_by_its_fingerprint_and_then_there_is_nothing_to_do(api: Service) -> None:
    planned = api.ask("POST", "/api/plan", {"file": FILE})
    assert planned.status_code == 200
    plan = planned.json()
    assert [(step["action"], step["name"]) for step in plan["steps"]] == [
        ("add", "gpu-1"),
        ("add", "office"),
    ]
    assert api.ask("GET", "/api/servers").json() == []
    other = api.ask("POST", "/api/apply", {"file": FILE, "plan": "0" * 32})
    assert (other.status_code, other.json()["error"]["code"]) == (412, "state_changed")
    applied = api.ask("POST", "/api/apply", {"file": FILE, "plan": plan["fingerprint"]})
    assert applied.status_code == 200
    [key] = applied.json()["keys"]
    assert key["key"].startswith("oadm_")
    [server] = api.ask("GET", "/api/servers").json()
    assert (server["managed_by"], server["labels"]) == ("team", {"country": "no"})
    again = api.ask("POST", "/api/apply", {"file": FILE}).json()
    assert (again["plan"]["pending"], again["keys"]) == (0, [])


@pytest.mark.parametrize("path", ["/api/plan", "/api/apply"])
def test_mistakes_and_conflicts_are_told_with_their_places(sqlite_api: Service, path: str) -> None:
    wrong = sqlite_api.ask("POST", path, {"file": "version: 1\nowner: a\nservers: 3\n"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "invalid_file")
    assert wrong.json()["error"]["message"].startswith("line 3, column 10: ")
    sqlite_api.ask("POST", "/api/servers", {"name": "gpu-1", "url": "http://mine"})
    taken = sqlite_api.ask("POST", path, {"file": FILE})
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "file_conflict")


def test_references_of_secrets_cannot_be_set_through_the_api(sqlite_api: Service) -> None:
    for more in (
        "auth: {type: bearer, secret: env:HOME}",
        "headers: {X-A: file:/etc/passwd}",
    ):
        text = f"version: 1\nowner: a\nservers: [{{name: a, url: 'https://a', {more}}}]\n"
        for path in ("/api/plan", "/api/apply"):
            refused = sqlite_api.ask("POST", path, {"file": text})
            assert (refused.status_code, "references" in refused.text) == (422, True)
    assert sqlite_api.ask("GET", "/api/servers").json() == []


def test_key_that_may_only_manage_plans_nothing(sqlite_api: Service) -> None:
    """What a file says of keys is for those who may see and change them."""
    issued = sqlite_api.ask("POST", "/api/keys", {"name": "m", "can": ["manage"]}).json()
    for path in ("/api/plan", "/api/apply"):
        headers = {"Authorization": f"Bearer {issued['key']}"}
        answer = sqlite_api.ask("POST", path, {"file": FILE}, headers=headers)
        assert answer.status_code == 403


def test_models_are_pulled_in_events_after_the_rows(sqlite_api: Service, fakes: Serve) -> None:
    alpha = SimulatedModel("alpha", size=1000)
    url = fakes(registry=Registry([alpha])).url
    text = (
        f"version: 1\nowner: a\nservers: [{{name: one, url: {url}}}]\n"
        "models: [{name: alpha, servers: [one]}]\n"
    )
    answer = sqlite_api.ask("POST", "/api/apply", {"file": text, "pull": True})
    first, *_, last = [json.loads(line) for line in answer.text.splitlines()]
    assert (first["event"], first["plan"]["pending"]) == ("applied", 2)
    assert (last["event"], last["failed"]) == ("applied", 0)
    assert last["pulls"]["results"][0]["digest"] == alpha.digest
    assert sqlite_api.ask("POST", "/api/plan", {"file": text}).json()["steps"] == []
