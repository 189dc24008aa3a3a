"""Each route that changes something leaves one row in the audit, also where it is refused; a test
walks them all.
"""

from typing import Any

import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Registry
from tests.api.conftest import Serve
from tests.api.service import Service
from tests.api.test_audit import entries
from tests.api.test_guard import NEEDS_DATABASE

Route = tuple[str, str]

ALPHA = SimulatedModel("alpha")
ON = {"servers": ["one"]}
# in this order, one builds on the other; None is the body of what has none
CHANGES: dict[Route, tuple[str, Any]] = {
    ("POST", "/api/servers"): ("server.add", {"name": "one"}),
    ("PATCH", "/api/servers/1"): ("server.update", {"priority": 3}),
    ("POST", "/api/servers/1/drain"): ("server.drain", None),
    ("POST", "/api/servers/1/resume"): ("server.resume", None),
    ("POST", "/api/fleet/pull"): ("model.pull", ON | {"model": "alpha"}),
    ("POST", "/api/fleet/copy"): (
        "model.copy",
        ON | {"source": "alpha", "destination": "beta"},
    ),
    ("POST", "/api/fleet/remove"): ("model.delete", ON | {"model": "beta"}),
    ("POST", "/api/keys"): ("key.add", {"name": "team"}),
    ("PATCH", "/api/keys/1"): ("key.update", {"weight": 2}),
    ("POST", "/api/keys/1/rotate"): ("key.rotate", None),
    ("POST", "/api/keys/1/revoke"): ("key.revoke", None),
    ("DELETE", "/api/keys/1"): ("key.remove", None),
    ("DELETE", "/api/servers/1"): ("server.remove", None),
}
# what asks, shows, or changes what a server does at the moment; the rows of `sync` are its pulls',
# and that of a request which was ended is in tests/gateway/test_cancelling.py
OTHERS = {
    *("/api/plan", "/api/apply"),  # each change of a file has its row: services/test_fleet_file.py
    "/api/servers/1/check",
    "/api/servers/1/discover",
    "/api/discover",
    "/api/fleet/sync",
    "/api/fleet/outdated",
    "/api/fleet/load",
    "/api/fleet/unload",
    "/api/generate",
    "/api/chat",
    "/api/route",
    "/api/requests/1/cancel",
}


def test_every_route_is_a_change_or_none() -> None:
    changing = {route for route in NEEDS_DATABASE if route[0] != "GET"}
    assert {route for route in changing if route[1] not in OTHERS} == set(CHANGES)


def test_every_change_leaves_one_row(api: Service, fakes: Serve) -> None:
    fake = fakes(registry=Registry([ALPHA]))
    told = {}
    for (method, path), (_, body) in CHANGES.items():
        count = len(entries(api))
        url = {"url": fake.url} if path == "/api/servers" else {}
        answer = api.ask(method, path, body and body | url)
        assert answer.status_code < 300, (method, path, answer.text)
        new = entries(api)[: len(entries(api)) - count]
        told[method, path] = [one["action"] for one in new]
        assert new[0]["outcome"] == "ok"
        assert (new[0]["before"], new[0]["after"]) != (None, None)
        assert new[0]["way"] == "api"
    assert told == {route: [action] for route, (action, _) in CHANGES.items()}


@pytest.mark.parametrize("route", [route for route in CHANGES if route[1].endswith("1")])
def test_change_of_what_is_not_there_leaves_one_row(sqlite_api: Service, route: Route) -> None:
    action, body = CHANGES[route]
    assert sqlite_api.ask(*route, body).status_code == 404
    [entry] = entries(sqlite_api)
    assert (entry["action"], entry["outcome"], entry["after"]) == (action, entry["outcome"], None)
    assert entry["outcome"] in ("server_not_found", "not_found")
