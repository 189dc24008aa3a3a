"""`/api/servers` and `/api/models`: rows, pages, conflicts and what a server is asked for."""

import pytest

from tests.api.conftest import Serve, register
from tests.api.service import Service

SERVER_KEYS = {
    *(
        "id",
        "name",
        "url",
        "api_version",
        "capabilities",
        "max_concurrent",
        "slots_in_use",
        "priority",
        "is_default",
    ),
    *(
        "is_active",
        "default_model",
        "auth_type",
        "auth_config",
        "headers",
        "status",
        "version",
        "last_error",
    ),
    *("last_seen_at", "last_discovered_at", "created_at", "updated_at"),
    *("labels", "is_draining", "status_since", "status_at"),
    *("latency_ms", "failures", "asked_last_until"),
    *("managed_by", "ca_file", "client_cert_file", "client_key_file", "proxy"),
}


def test_a_server_is_added_shown_changed_and_removed(api: Service) -> None:
    added = api.ask("POST", "/api/servers", {"name": "gpu", "url": "10.0.0.1", "max_concurrent": 3})
    assert added.status_code == 201
    assert added.headers["location"] == f"/api/servers/{added.json()['id']}"
    assert added.json().keys() == SERVER_KEYS
    assert (added.json()["url"], added.json()["max_concurrent"]) == ("http://10.0.0.1:11434", 3)
    path = added.headers["location"]
    assert api.ask("GET", path).json() == added.json()
    changed = api.ask(
        "PATCH", path, {"name": "big gpu", "is_default": True, "default_model": "alpha"}
    )
    assert changed.status_code == 200
    assert (changed.json()["name"], changed.json()["is_default"]) == ("big gpu", True)
    assert changed.json()["max_concurrent"] == 3
    assert api.ask("PATCH", path, {"default_model": None}).json()["default_model"] is None
    removed = api.ask("DELETE", path)
    assert (removed.status_code, removed.content) == (204, b"")
    assert api.ask("GET", path).status_code == 404
    assert api.ask("GET", path).json()["error"]["code"] == "server_not_found"


def test_certificates_and_proxy_of_a_server_are_set_and_emptied(api: Service) -> None:
    files = {"ca_file": "/ca.pem", "client_cert_file": "/cert.pem", "client_key_file": "/key.pem"}
    columns = files | {"proxy": "http://proxy:3128"}
    added = api.ask("POST", "/api/servers", {"name": "gpu", "url": "https://gpu"} | columns)
    assert added.status_code == 201, added.text
    assert added.json() | columns == added.json()
    path = added.headers["location"]
    half = api.ask("PATCH", path, {"client_cert_file": None})
    assert half.status_code == 422
    emptied = api.ask("PATCH", path, dict.fromkeys(columns))
    assert {emptied.json()[name] for name in columns} == {None}


@pytest.mark.parametrize(
    "body",
    [{"name": "GPU", "url": "10.0.0.9"}, {"name": "other", "url": "http://10.0.0.1:11434/v1"}],
)
def test_a_conflict_names_the_server_that_is_in_the_way(api: Service, body: dict[str, str]) -> None:
    first = api.ask("POST", "/api/servers", {"name": "gpu", "url": "10.0.0.1"}).json()["id"]
    other = api.ask("POST", "/api/servers", {"name": "third", "url": "10.0.0.3"}).json()["id"]
    for method, path in (("POST", "/api/servers"), ("PATCH", f"/api/servers/{other}")):
        refused = api.ask(method, path, body)
        assert refused.status_code == 409
        assert (refused.json()["error"]["code"], refused.json()["error"]["existing_id"]) == (
            "server_exists",
            first,
        )


def test_the_same_request_again_adds_nothing_and_names_the_first_one(api: Service) -> None:
    body = {"name": "gpu", "url": "10.0.0.1"}
    first = api.ask("POST", "/api/servers", body).json()["id"]
    assert api.ask("POST", "/api/servers", body).json()["error"]["existing_id"] == first
    assert len(api.ask("GET", "/api/servers").json()) == 1


@pytest.mark.parametrize(
    "field",
    [
        "id",
        "created_at",
        "updated_at",
        "status",
        "version",
        "last_seen_at",
        "slots_in_use",
        "role",
        "name_key",
    ],
)
def test_a_column_that_is_not_for_callers_is_refused(sqlite_api: Service, field: str) -> None:
    body = {"name": "gpu", "url": "10.0.0.1"}
    one = sqlite_api.ask("POST", "/api/servers", body).json()
    for method, path, given in (
        ("POST", "/api/servers", {"name": "b", "url": "10.0.0.2", field: 1}),
        ("PATCH", f"/api/servers/{one['id']}", {field: 1}),
    ):
        refused = sqlite_api.ask(method, path, given)
        assert refused.status_code == 422
        assert refused.json()["error"]["message"] == f"body.{field}: there is no such field"
    assert sqlite_api.ask("GET", "/api/servers").json() == [one]


def test_pages_have_every_row_once_while_rows_come_and_go(api: Service) -> None:
    def add(number: int) -> int:
        body = {"name": f"s-{number:02}", "url": f"10.0.1.{number}", "priority": number}
        return int(api.ask("POST", "/api/servers", body).json()["id"])

    ids = [add(number) for number in range(7)]
    seen, path = [], "/api/servers?limit=2"
    while path:
        answer = api.ask("GET", path)
        seen += [server["id"] for server in answer.json()]
        assert len(answer.json()) <= 2
        if len(seen) == 2:
            assert api.ask("DELETE", f"/api/servers/{ids[0]}").status_code == 204
            assert api.ask("DELETE", f"/api/servers/{ids[3]}").status_code == 204
            ids.append(add(7))
        path = answer.links["next"]["url"] if "next" in answer.links else ""
    assert seen == [*ids[:3], *ids[4:]]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=1000000000", "limit=x", "cursor=-1", "cursor=9e9", "page=2"],
)
@pytest.mark.parametrize("path", ["/api/servers", "/api/models", "/api/servers/1/models"])
def test_a_page_that_cannot_be_is_refused(shared_api: Service, path: str, query: str) -> None:
    refused = shared_api.ask("GET", f"{path}?{query}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_input")


def test_models_of_all_servers_and_of_one_are_listed_by_id(api: Service, fakes: Serve) -> None:
    first, second = register(api, fakes("alpha", "beta"), fakes("alpha", "gamma"))
    everything = api.ask("GET", "/api/models").json()
    assert [model["id"] for model in everything] == sorted(model["id"] for model in everything)
    assert {(model["server"], model["name"]) for model in everything} == {
        *(("one", name) for name in ("alpha:latest", "beta:latest")),
        *(("two", name) for name in ("alpha:latest", "gamma:latest")),
    }
    of_second = api.ask("GET", f"/api/servers/{second}/models").json()
    assert {model["server_id"] for model in of_second} == {second}
    assert [model["name"] for model in api.ask("GET", "/api/models?name=al*").json()] == [
        "alpha:latest"
    ] * 2
    assert api.ask("PATCH", f"/api/servers/{first}", {"is_active": False}).status_code == 200
    assert len(api.ask("GET", "/api/models").json()) == 2
    assert len(api.ask("GET", "/api/models?all=true").json()) == 4
    one_by_one, path = [], "/api/models?all=true&limit=1"
    while path:
        answer = api.ask("GET", path)
        one_by_one += answer.json()
        path = answer.links["next"]["url"] if "next" in answer.links else ""
    assert {model["id"] for model in one_by_one} == {model["id"] for model in everything}
    assert len(one_by_one) == 4


def test_check_and_discover_give_results_as_the_commands_do(api: Service, fakes: Serve) -> None:
    fake = fakes("alpha")
    one = api.ask("POST", "/api/servers", {"name": "one", "url": fake.url}).json()["id"]
    checked = api.ask("POST", f"/api/servers/{one}/check")
    assert checked.status_code == 200
    [result] = checked.json()["results"]
    assert result["server"] == {"id": one, "name": "one", "url": fake.url}
    assert (result["status"], result["error"], checked.json()["failed"]) == ("online", None, 0)
    found = api.ask("POST", f"/api/servers/{one}/discover").json()
    assert found["results"][0]["added"] == ["alpha:latest"]
    dead = api.ask("POST", "/api/servers", {"name": "dead", "url": "http://127.0.0.1:1"}).json()[
        "id"
    ]
    both = api.ask("POST", "/api/discover").json()
    assert both["failed"] == 1
    assert {r["server"]["id"]: r["error"] and r["error"]["code"] for r in both["results"]} == {
        one: None,
        dead: "server_unreachable",
    }
    assert api.ask("POST", f"/api/servers/{dead + 1}/check").status_code == 404


def test_a_server_is_kept_while_requests_run_there_unless_it_is_forced(
    api: Service, fakes: Serve
) -> None:
    assert api.ask("DELETE", "/api/servers/77?force=true").status_code == 404
    [one] = register(api, fakes("alpha"))
    assert api.ask("DELETE", f"/api/servers/{one}?force=true").status_code == 204


def test_discovery_of_a_capability_that_none_has_is_refused_as_documented(
    sqlite_api: Service,
) -> None:
    answer = sqlite_api.ask("POST", "/api/discover?capability=none")
    assert answer.status_code == 404
    documented = sqlite_api.ask("GET", "/openapi.json").json()
    assert "404" in documented["paths"]["/api/discover"]["post"]["responses"]
