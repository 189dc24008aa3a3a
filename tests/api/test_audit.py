"""`/api/audit`, and what the service writes into it."""

import time
from typing import Any

from tests.api.conftest import Serve, register
from tests.api.service import Service
from tests.cli.running import Cli


def entries(api: Service, count: int = 0, **filters: Any) -> list[Any]:
    """The audit, once it has so many entries: one of the gateway is written after the answer."""
    ends = time.monotonic() + 30
    while True:
        answer = api.ask("GET", "/api/audit", params=filters)
        assert answer.status_code == 200, answer.text
        if len(answer.json()) >= count:
            found: list[Any] = answer.json()
            return found
        assert time.monotonic() < ends, answer.json()


def test_changes_over_http_name_their_key(api: Service) -> None:
    text = api.ask("POST", "/api/keys", {"name": "boss", "can": ["admin"]}).json()["key"]
    with api.client(headers={"Authorization": f"Bearer {text}"}) as client:
        client.post("/api/servers", json={"name": "gpu", "url": "10.0.0.1"})
        conflict = client.post("/api/servers", json={"name": "gpu", "url": "10.0.0.2"})
    refused, added, key = entries(api)
    assert (added["who"], added["key_id"], added["way"]) == ("boss", 1, "api")
    assert (added["action"], added["before"], added["after"]["url"]) == (
        "server.add",
        None,
        "http://10.0.0.1:11434",
    )
    assert (refused["action"], refused["outcome"]) == ("server.add", "server_exists")
    assert refused["request_id"] == conflict.headers["x-request-id"]
    assert (key["who"], key["key_id"]) == ("OLLAMA_ADMIN_API_TOKEN", None)
    assert text[14:] not in str(entries(api))


def test_request_without_the_right_is_in_it(api: Service, fakes: Serve) -> None:
    register(api, fakes("alpha"))
    text = api.ask("POST", "/api/keys", {"name": "asker"}).json()["key"]
    with api.client(headers={"Authorization": f"Bearer {text}"}) as client:
        assert client.get("/api/servers").status_code == 403
        assert client.delete("/api/servers/1").status_code == 403
        assert client.post("/servers/one/api/pull", json={"model": "x"}).status_code == 403
    found = [(one["who"], one["subject"]) for one in entries(api, refused=True)]
    assert found == [
        ("asker", "POST /servers/one/api/pull"),
        ("asker", "DELETE /api/servers/1"),
    ]


def test_change_of_a_server_s_models_is_in_it(api: Service, fakes: Serve) -> None:
    register(api, fakes("alpha"))
    before = len(entries(api))
    pulled = api.ask("POST", "/servers/one/api/pull", {"model": "beta"})
    newest = entries(api, before + 1)[0]
    assert newest["request_id"] == pulled.headers["x-request-id"]
    assert (newest["action"], newest["subject"]) == ("model.pull", "model beta on server one")


def test_audit_comes_in_pages(api: Service) -> None:
    for number in range(3):
        api.ask("POST", "/api/keys", {"name": f"k{number}"})
    first = api.ask("GET", "/api/audit?limit=2")
    assert [one["id"] for one in first.json()] == [3, 2]
    assert first.headers["link"] == '</api/audit?limit=2&cursor=2>; rel="next"'
    assert [one["id"] for one in api.ask("GET", "/api/audit?cursor=2").json()] == [1]


def test_command_line_leaves_the_same_rows_and_lists_them(sqlite_cli: Cli) -> None:
    sqlite_cli("key", "add", "team")
    assert sqlite_cli("key", "add", "team").exit_code == 4
    refused, added = sqlite_cli.json("audit", "list").data
    assert (added["way"], added["action"], added["after"]["name"]) == ("cli", "key.add", "team")
    assert refused["outcome"] == "conflict"
    heading, first, second = sqlite_cli("audit", "list").stdout.splitlines()
    assert heading.split()[:6] == ["ID", "WHEN", "WHO", "ACTION", "SUBJECT", "OUTCOME"]
    assert "conflict" in first
    assert "key 1, team" in second
    only = sqlite_cli.json("audit", "list", "--refused", "--since", "1h", "--action", "key").data
    assert only == [refused]
