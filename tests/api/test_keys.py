"""`/api/keys`"""

from typing import Any

import httpx

from tests.api.service import Service
from tests.cli.test_keys import KEY_FIELDS


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def add(api: Service, **columns: Any) -> Any:
    answer = api.ask("POST", "/api/keys", {"name": "team", **columns})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_key_is_added_changed_and_removed(api: Service) -> None:
    answer = api.ask("POST", "/api/keys", {"name": "team", "can": ["admin"], "note": "x"})
    assert (answer.status_code, answer.headers["location"]) == (201, "/api/keys/1")
    added = answer.json()
    assert list(added) == [*KEY_FIELDS, "key"]
    text = added.pop("key")
    assert api.ask("GET", "/api/keys/1").json() == added
    change = {"models": ["qwen*"], "note": None, "expires_at": "2999-01-01T00:00:00Z"}
    changed = api.ask("PATCH", "/api/keys/1", change).json()
    assert (changed["models"], changed["note"]) == (["qwen*"], None)
    with api.client(headers={"Authorization": f"Bearer {text}"}) as client:
        assert client.get("/api/keys").status_code == 200
    refused = api.ask("DELETE", "/api/keys/1")
    assert code(refused) == (409, "conflict")
    hint = refused.json()["error"]["hint"]
    assert hint.endswith("ollama-admin key add NAME --can admin; or insist with force")
    assert api.ask("DELETE", "/api/keys/1?force=true").status_code == 204
    assert code(api.ask("GET", "/api/keys/1")) == (404, "not_found")


def test_rotated_and_revoked_keys_are_in_force_at_once(api: Service) -> None:
    old = add(api, can=["read"])["key"]
    rotated = api.ask("POST", "/api/keys/1/rotate?overlap=60").json()
    new = rotated["key"]

    def statuses() -> list[int]:
        found = []
        for key in (old, new):
            with api.client(headers={"Authorization": f"Bearer {key}"}) as client:
                found.append(client.get("/api/servers").status_code)
        return found

    assert statuses() == [200, 200]
    revoked = api.ask("POST", "/api/keys/1/revoke").json()
    assert (revoked["is_active"], "key" in revoked) == (False, False)
    assert statuses() == [401, 401]


def test_only_who_may_administrate_sees_and_changes_keys(api: Service) -> None:
    key = add(api, can=["ask", "manage"])["key"]
    with api.client(headers={"Authorization": f"Bearer {key}"}) as client:
        for method, path in (("GET", "/api/keys"), ("POST", "/api/keys/1/rotate")):
            answer = client.request(method, path)
            assert code(answer) == (403, "forbidden")
            assert answer.json()["error"]["message"] == "key team has no right to admin"
        assert code(client.post("/api/keys", json={"name": "mine"})) == (403, "forbidden")
        assert code(client.patch("/api/keys/1", json={"can": ["admin"]})) == (403, "forbidden")
    assert len(api.ask("GET", "/api/keys").json()) == 1


def test_list_comes_in_pages(api: Service) -> None:
    for number in range(3):
        add(api, name=f"k{number}")
    first = api.ask("GET", "/api/keys?limit=2")
    assert [key["id"] for key in first.json()] == [1, 2]
    assert first.headers["link"] == '</api/keys?limit=2&cursor=2>; rel="next"'
    assert [key["id"] for key in api.ask("GET", "/api/keys?cursor=2").json()] == [3]


def test_wrong_input_is_refused(sqlite_api: Service) -> None:
    for body in (
        {"name": "7"},
        {"name": "k", "can": ["x"]},
        {"name": "k", "networks": ["10.0.0.1/8"]},
        {"name": "k", "expires_at": "soon"},
        {"name": "k", "expires_at": 7},
        {"name": "k", "weight": 0},
        {"name": "k", "anonymous": True},
        {"name": "k", "secret_hash": "0"},
    ):
        assert code(sqlite_api.ask("POST", "/api/keys", body)) == (422, "invalid_input")
    add(sqlite_api)
    assert code(sqlite_api.ask("POST", "/api/keys", {"name": "TEAM"})) == (409, "conflict")
    assert code(sqlite_api.ask("PATCH", "/api/keys/1", {})) == (422, "invalid_input")
    assert len(sqlite_api.ask("GET", "/api/keys").json()) == 1
