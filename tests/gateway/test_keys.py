"""Keys at the door: who comes in, by which way, to what, and what they see of the rest."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.store.tables import metadata
from tests.api.conftest import Serve, register
from tests.api.service import AUTHORIZED, TOKEN, Service
from tests.gateway.upstream import sent_to
from tests.store.revisions import execute

CHAT = {"model": "alpha", "messages": [{"role": "user", "content": "hi"}], "stream": False}
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NOT_KNOWN = "the key is not known"


def add(service: Service, name: str = "team", **columns: Any) -> str:
    """The text of a new key."""
    assert service.opened is not None
    return service.run(service.opened.keys.add(name=name, **columns)).text.reveal()


def ask(
    service: Service, key: str | None, method: str = "POST", path: str = "/api/chat", **more: Any
) -> httpx.Response:
    """One request with this key alone."""
    headers = httpx.Headers(more.pop("headers", {}))
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    if method == "POST":
        more.setdefault("json", CHAT)
    with service.client(headers=headers) as client:
        return client.request(method, path, **more)


def basic(key: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{key}".encode()).decode()


WAYS: dict[str, Callable[[str], tuple[str, dict[str, str]]]] = {
    "bearer": lambda key: ("", {"Authorization": f"Bearer {key}"}),
    "x-api-key": lambda key: ("", {"x-api-key": key}),
    "basic": lambda key: ("", {"Authorization": basic(key)}),
    "path": lambda key: (f"/k/{key}", {}),
    "beside a placeholder": lambda key: (
        "",
        {"Authorization": "Bearer ollama", "x-api-key": key},
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_key_opens_by_each_way_and_is_written_nowhere(
    api: Service, fakes: Serve, database_url: str, way: str
) -> None:
    fake = fakes("alpha")
    register(api, fake)
    key = add(api)
    prefix, headers = WAYS[way](key)
    answer = ask(api, None, path=f"{prefix}/api/chat", headers={**headers, "Referer": key})
    assert answer.status_code == 200, answer.text
    refused = ask(api, None, "GET", f"{prefix}/api/servers", headers=headers)
    assert refused.status_code in (403, 404)
    secret = key[14:]
    assert secret not in answer.text + refused.text + "".join(api.logged + api.said)
    assert not [sent for sent in fake.requests() if secret in repr((sent.headers, sent.body))]
    api.receipt(answer.headers["x-request-id"])
    for table in metadata.tables:
        assert secret not in str(execute(database_url, f"SELECT * FROM {table}"))


@pytest.mark.parametrize("way", WAYS)
def test_wrong_key_opens_nothing_by_any_way(sqlite_api: Service, way: str) -> None:
    key = add(sqlite_api)
    prefix, headers = WAYS[way](key[:-1] + ("A" if key[-1] != "A" else "B"))
    answer = ask(sqlite_api, None, path=f"{prefix}/api/chat", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.json()["error"].startswith(NOT_KNOWN)


def test_what_is_wrong_with_a_key_is_not_said(api: Service) -> None:
    keys = {
        "expired": add(api, "expired", expires_at=LONG_AGO),
        "foreign": add(api, "foreign", networks=["10.0.0.0/8"]),
        "revoked": add(api, "revoked"),
        "removed": add(api, "removed"),
        "unknown": "oadm_00000000_" + "x" * 43,
        "no key": "hello",
    }
    assert api.opened is not None
    api.run(api.opened.keys.revoke("revoked"))
    api.run(api.opened.keys.remove("removed"))
    answers = {name: ask(api, key) for name, key in keys.items()}
    assert {answer.status_code for answer in answers.values()} == {401}
    assert len({answer.text for answer in answers.values()}) == 1
    assert NOT_KNOWN in answers["expired"].text


def test_rotated_key_opens_with_both_until_the_overlap_is_over(api: Service, fakes: Serve) -> None:
    register(api, fakes("alpha"))
    old = add(api)
    assert api.opened is not None
    keys = api.opened.keys
    new = api.run(keys.rotate("team", overlap=timedelta(hours=1))).text.reveal()
    assert [ask(api, key).status_code for key in (old, new)] == [200, 200]
    newest = api.run(keys.rotate("team")).text.reveal()
    assert [ask(api, key).status_code for key in (old, new, newest)] == [401, 401, 200]


RIGHTS = {
    ("ask", "POST", "/api/chat"): 200,
    ("ask", "GET", "/api/tags"): 200,
    ("ask", "GET", "/api/servers"): 403,
    ("ask", "DELETE", "/servers/one/api/delete"): 403,
    ("ask", "POST", "/servers/one/api/pull"): 403,
    ("read", "GET", "/api/servers"): 200,
    ("read", "POST", "/api/chat"): 403,
    ("read", "GET", "/api/tags"): 403,
    ("read", "POST", "/api/discover"): 403,
    ("manage", "POST", "/api/discover"): 200,
    ("manage", "GET", "/api/models"): 200,
    ("manage", "POST", "/servers/one/api/pull"): 200,  # the failure is a record of its stream
    ("manage", "POST", "/api/chat"): 403,
    ("admin", "POST", "/api/chat"): 200,
    ("admin", "POST", "/api/discover"): 200,
}


@pytest.mark.parametrize(("right", "method", "path"), RIGHTS)
def test_right_is_needed(
    sqlite_api: Service, fakes: Serve, right: str, method: str, path: str
) -> None:
    register(sqlite_api, fakes("alpha"))
    key = add(sqlite_api, can=[right])
    body = None if path == "/api/discover" else CHAT
    answer = ask(sqlite_api, key, method, path, json=body)
    assert answer.status_code == RIGHTS[right, method, path], answer.text
    if answer.status_code == 403:
        assert "key team has no right to" in answer.text


def test_open_routes_need_no_key(sqlite_api: Service, fakes: Serve) -> None:
    register(sqlite_api, fakes("alpha"))
    for path in ("/", "/api/version", "/healthz", "/readyz"):
        assert ask(sqlite_api, "wrong", "GET", path).status_code == 200


def test_models_of_other_globs_are_as_if_they_were_not_there(api: Service, fakes: Serve) -> None:
    fake = fakes("alpha", "beta:7b")
    register(api, fake)
    key = add(api, models=["beta*"])
    tags = ask(api, key, "GET", "/api/tags").json()["models"]
    assert [model["name"] for model in tags] == ["beta:7b"]
    listed = ask(api, key, "GET", "/v1/models").json()["data"]
    assert [model["id"] for model in listed] == ["beta:7b"]
    assert ask(api, key, "GET", "/v1/models/alpha").status_code == 404
    refused = ask(api, key)
    assert (refused.status_code, refused.json()["code"]) == (404, "model_not_found")
    assert ask(api, key, path="/api/show", json={"model": "alpha"}).status_code == 404
    assert ask(api, key, path="/servers/one/api/chat").status_code == 404
    assert ask(api, key, "GET", "/servers/one/api/tags").status_code == 403
    missing = ask(api, key, json=CHAT | {"model": "alph"})
    assert "alpha" not in missing.text
    assert ask(api, key, json=CHAT | {"model": "library/BETA:7b"}).status_code == 200
    assert len(sent_to(fake, "/api/chat")) == 1


def test_servers_of_other_globs_are_as_if_they_were_not_there(api: Service, fakes: Serve) -> None:
    one = fakes(SimulatedModel("alpha", build="1"), "gamma")
    two = fakes(SimulatedModel("alpha", build="2"))
    register(api, one, two)
    key = add(api, servers=["TWO"])
    answer = ask(api, key)
    assert (answer.status_code, answer.headers["x-ollama-admin-server"]) == (200, "two")
    tags = ask(api, key, "GET", "/api/tags").json()["models"]
    assert [model["name"] for model in tags] == ["alpha:latest"]
    assert {model["digest"] for model in tags} == {SimulatedModel("alpha", build="2").digest}
    assert ask(api, key, json=CHAT | {"model": "gamma"}).status_code == 404
    for more in (
        {"path": "/servers/one/api/chat"},
        {"path": "/servers/nothing/api/chat"},
        {"headers": {"X-Ollama-Admin-Server": "one"}},
        {"headers": {"X-Ollama-Admin-Server-URL": one.url}},
        {"json": CHAT | {"server_url": one.url}},
    ):
        refused = ask(api, key, **more)
        assert (refused.status_code, refused.json()["code"]) == (404, "server_not_found")
        assert "nearest" not in refused.text
    assert ask(api, key, "GET", "/servers/one/api/tags").status_code == 404
    assert ask(api, key, "GET", "/servers/two/api/tags").status_code == 200


def test_a_key_may_ask_the_servers_that_carry_its_label_now(api: Service, fakes: Serve) -> None:
    one, two = (fakes(SimulatedModel("alpha", build=build)) for build in "12")
    ids = register(api, one, two)
    key = add(api, servers=["label:gpu=a100"])

    def answering() -> tuple[int, str | None, int]:
        answer = ask(api, key)
        tags = ask(api, key, "GET", "/api/tags").json()["models"]
        return answer.status_code, answer.headers.get("x-ollama-admin-server"), len(tags)

    def label(id_: int, value: str | None) -> None:
        changed = api.ask("PATCH", f"/api/servers/{id_}", {"labels": {"gpu": value}})
        assert changed.status_code == 200

    assert answering() == (404, None, 0)
    label(ids[1], "a100")
    assert answering() == (200, "two", 1)
    assert ask(api, key, path="/servers/one/api/chat").status_code == 404
    assert ask(api, key, "GET", "/servers/two/api/tags").status_code == 200
    label(ids[1], None)
    label(ids[0], "a100")
    assert answering() == (200, "one", 1)
    assert ask(api, key, "GET", "/servers/two/api/tags").status_code == 404


LABEL = "X-Ollama-Admin-Label"


@pytest.mark.parametrize(
    ("more", "status", "server"),
    [
        ({"headers": {LABEL: "gpu=a100"}}, 200, "two"),
        ({"headers": [(LABEL, "gpu"), (LABEL, "room=2")]}, 200, "two"),
        ({"json": CHAT | {"labels": ["gpu=a100"]}}, 200, "two"),
        ({"json": CHAT | {"labels": ["room"]}, "headers": {LABEL: "gpu=t4"}}, 404, None),
        ({"json": CHAT | {"labels": None}, "headers": {LABEL: "gpu=t4"}}, 200, "one"),
        ({"json": CHAT | {"labels": "gpu"}}, 400, None),
        ({"json": CHAT | {"labels": [1]}}, 400, None),
        ({"headers": {LABEL: "gpu=a100", "X-Ollama-Admin-Server": "two"}}, 400, None),
        ({"headers": {LABEL: "="}}, 400, None),
        ({"path": "/v1/chat/completions", "headers": {LABEL: "gpu=a100"}}, 200, "two"),
    ],
)
def test_a_call_says_by_labels_which_servers_may_answer(
    sqlite_api: Service, fakes: Serve, more: dict[str, Any], status: int, server: str | None
) -> None:
    one, two = register(sqlite_api, fakes("alpha"), fakes("alpha"))
    sqlite_api.ask("PATCH", f"/api/servers/{one}", {"labels": {"gpu": "t4"}})
    sqlite_api.ask("PATCH", f"/api/servers/{two}", {"labels": {"gpu": "a100", "room": "2"}})
    answer = ask(sqlite_api, add(sqlite_api), **more)
    assert (answer.status_code, answer.headers.get("x-ollama-admin-server")) == (status, server)


def test_only_who_may_manage_names_a_server_that_is_not_registered(
    sqlite_api: Service, fakes: Serve
) -> None:
    body = CHAT | {"server_url": fakes("alpha").url}
    asking, managing = add(sqlite_api, "a"), add(sqlite_api, "m", can=["ask", "manage"])
    assert ask(sqlite_api, asking, json=body).status_code == 404
    assert ask(sqlite_api, managing, json=body).status_code == 200


def test_remote_models_are_for_keys_that_may(api: Service, fakes: Serve) -> None:
    far = SimulatedModel("far-cloud", remote_host="https://ollama.com:443", remote_model="far")
    register(api, fakes(far))
    body = CHAT | {"model": "far-cloud"}
    staying, leaving = add(api, "s"), add(api, "l", allow_remote=True)
    refused = ask(api, staying, json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "remote_not_allowed")
    assert ask(api, staying, "GET", "/api/tags").json() == {"models": []}
    assert ask(api, staying, "GET", "/api/status").json()["cloud"]["disabled"]
    assert ask(api, leaving, json=body).status_code == 200
    assert len(ask(api, leaving, "GET", "/api/tags").json()["models"]) == 1
    assert not ask(api, leaving, "GET", "/api/status").json()["cloud"]["disabled"]


def test_prompt_is_kept_whole_unless_the_key_lets_it_be_cut(
    sqlite_api: Service, fakes: Serve
) -> None:
    fake = fakes("alpha")
    register(sqlite_api, fake)
    whole, cut = add(sqlite_api, "whole"), add(sqlite_api, "cut", allow_truncate=True)
    for key in (whole, cut):
        assert ask(sqlite_api, key).status_code == 200
    first, second = [sent.body for sent in sent_to(fake, "/api/chat")]
    assert (first.get("truncate"), "truncate" in second) == (False, False)


def test_requests_without_a_key_are_those_of_their_network(api: Service, fakes: Serve) -> None:
    register(api, fakes("alpha"))
    add(api, "elsewhere", anonymous=True, networks=["10.0.0.0/8"])
    assert ask(api, None).status_code == 401
    add(api, "wide", anonymous=True, networks=["127.0.0.0/8"], models=["beta"])
    assert ask(api, None).status_code == 404
    add(api, "narrow", anonymous=True, networks=["127.0.0.1"])
    answer = ask(api, None)
    assert answer.status_code == 200
    receipt = api.receipt(answer.headers["x-request-id"])
    assert receipt.key is not None
    assert receipt.key.name == "narrow"
    assert ask(api, "ollama").status_code == 200
    assert ask(api, "wrong").status_code == 401
    foreign = {"Host": "evil.example"}
    assert ask(api, None, headers=foreign).status_code == 403
    assert ask(api, TOKEN, headers=foreign).status_code == 200


@pytest.mark.parametrize("path", ["/api/tags", "/v1/models", "/api/servers"])
def test_key_in_a_query_is_refused(sqlite_api: Service, path: str) -> None:
    key = add(sqlite_api, can=["admin"])
    for query in (f"?key={key}", f"?a=1&api_key={key}", f"?x={key}", "?access_token=x"):
        answer = ask(sqlite_api, None, "GET", path + query, headers=AUTHORIZED)
        assert answer.status_code == 400
        assert "query" in answer.text
    assert key[14:] not in "".join(sqlite_api.logged)


def test_change_of_a_key_is_in_force_at_once_here(api: Service, fakes: Serve) -> None:
    register(api, fakes("alpha"))
    key = add(api)
    assert ask(api, key).status_code == 200
    assert api.opened is not None
    api.run(api.opened.keys.update("team", models=["beta"]))
    assert ask(api, key).status_code == 404
    api.run(api.opened.keys.revoke("team"))
    assert ask(api, key).status_code == 401


def test_change_that_another_process_wrote_is_in_force_soon(
    api: Service, database_url: str, fakes: Serve
) -> None:
    register(api, fakes("alpha"))
    key = add(api)
    assert ask(api, key).status_code == 200
    execute(
        database_url,
        "UPDATE ollama_keys SET secret_hash = NULL",
        "UPDATE ollama_registry SET revision = revision + 1",
    )
    ends = datetime.now(UTC) + timedelta(seconds=30)
    while ask(api, key).status_code == 200:
        assert datetime.now(UTC) < ends


def test_wrong_keys_ask_the_database_nothing(api: Service) -> None:
    key = add(api)
    assert ask(api, "x").status_code == 401
    assert api.opened is not None
    db = api.opened._resources.db
    reads: list[object] = []
    run = db._run
    db._run = lambda *words: reads.append(words) or run(*words)  # type: ignore[method-assign, func-returns-value]
    with api.client(headers={}) as client:
        for number in range(300):
            wrong = f"{key[:14]}{number:043}"
            headers = {"Authorization": f"Bearer {wrong}"}
            assert client.get("/api/tags", headers=headers).status_code == 401
    glances = [words for words in reads if words[0] is db._glance_engine]
    assert len(reads) == len(glances)


def test_receipt_tells_the_key_the_client_and_the_server_s_version(
    api: Service, fakes: Serve
) -> None:
    register(api, fakes("alpha"))
    key = add(api)
    answer = ask(api, key, headers={"User-Agent": f"tool/1 {key}"})
    receipt = api.receipt(answer.headers["x-request-id"])
    assert receipt.key is not None
    assert (receipt.key.id, receipt.key.name) == (1, "team")
    assert receipt.client == f"tool/1 {key[:13]}_********"
    assert receipt.server_version is not None
    with_token = ask(api, TOKEN)
    receipt = api.receipt(with_token.headers["x-request-id"])
    assert receipt.key is not None
    assert (receipt.key.id, receipt.key.name) == (None, "OLLAMA_ADMIN_API_TOKEN")


def test_last_use_of_a_key_is_written_when_the_service_ends(
    database_url: str, fakes: Serve
) -> None:
    with Service(database_url) as service:
        register(service, fakes("alpha"))
        assert ask(service, add(service)).status_code == 200
    [(used,)] = execute(database_url, "SELECT last_used_at FROM ollama_keys")
    assert used is not None


# limits


def told(answer: httpx.Response, what: str) -> list[str]:
    return [answer.headers[f"x-ratelimit-{part}-{what}"] for part in ("limit", "remaining")]


def test_limits_are_told_and_kept(api: Service, fakes: Serve) -> None:
    register(api, fakes("alpha"))
    key = add(api, requests_per_minute=1000, tokens_per_day=100_000, max_concurrent=3)
    for _ in range(2):
        answer = ask(api, key)
        assert answer.status_code == 200
    assert told(answer, "requests") == ["1000", "998"]
    limit, remaining = told(answer, "tokens")
    assert limit == "100000"
    assert int(remaining) < 100_000
    assert answer.headers["x-ratelimit-reset-tokens"].endswith("s")
    without = ask(api, TOKEN)
    assert not [name for name in without.headers if name.startswith("x-ratelimit")]


def test_spent_tokens_are_429_that_need_not_be_tried_again(api: Service, fakes: Serve) -> None:
    fake = fakes(SimulatedModel("alpha", says="one two three four five"))
    register(api, fake)
    key = add(api, tokens_per_day=4)
    whole = ask(api, key)
    assert (whole.status_code, whole.json()["done"]) == (200, True)
    for path, body in (("/api/chat", CHAT), ("/v1/chat/completions", CHAT), ("/v1/messages", CHAT)):
        refused = ask(api, key, path=path, json=body)
        assert refused.status_code == 429, refused.text
        assert "key team has used its 4 tokens of today" in refused.text
        assert refused.headers["x-should-retry"] == "false"
        assert int(refused.headers["retry-after"]) > 0
    assert len(sent_to(fake, "/api/chat")) == 1


def test_too_many_requests_a_minute_are_429(sqlite_api: Service, fakes: Serve) -> None:
    register(sqlite_api, fakes("alpha"))
    key = add(sqlite_api, requests_per_minute=2)
    answers = [ask(sqlite_api, key) for _ in range(6)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 2
    assert "x-should-retry" not in refused[0].headers
    assert 0 < int(refused[0].headers["retry-after"]) <= 60
    assert refused[0].json()["code"] == "limit_reached"


def test_stream_without_counts_is_estimated_by_its_pieces(api: Service, fakes: Serve) -> None:
    register(api, fakes(SimulatedModel("alpha", says="one two three four five")))
    key = add(api, tokens_per_day=100_000)
    body = CHAT | {"stream": True}
    answer = ask(api, key, path="/v1/chat/completions", json=body)
    receipt = api.receipt(answer.headers["x-request-id"])
    assert receipt.estimated
    assert receipt.stats is not None
    assert receipt.stats.output_tokens == answer.text.count("data: ")
    body |= {"stream_options": {"include_usage": True}}
    answer = ask(api, key, path="/v1/chat/completions", json=body)
    receipt = api.receipt(answer.headers["x-request-id"])
    assert receipt.estimated is False


# usage and receipts


def test_key_sees_its_own_usage_and_receipts(api: Service, fakes: Serve) -> None:
    register(api, fakes("alpha"))
    mine, other = add(api, "mine"), add(api, "other")
    ids = {}
    for key in (mine, other, TOKEN):
        ids[key] = ask(api, key).headers["x-request-id"]
        api.receipt(ids[key])
    [own] = ask(api, mine, "GET", "/api/usage/me").json()
    assert (own["key"], own["requests"]) == ({"id": 1, "name": "mine"}, 1)
    assert ask(api, mine, "GET", f"/api/receipts/{ids[mine]}").status_code == 200
    for key in (other, TOKEN):
        hidden = ask(api, mine, "GET", f"/api/receipts/{ids[key]}")
        assert hidden.status_code == 404
    assert ask(api, mine, "GET", "/api/usage").status_code == 403
    everyone = ask(api, TOKEN, "GET", "/api/usage").json()
    assert len(everyone) == 3
    [one] = ask(api, TOKEN, "GET", "/api/usage?key=other").json()
    assert one["key"]["name"] == "other"
    assert ask(api, TOKEN, "GET", "/api/usage?key=nobody").status_code == 404
    [token] = ask(api, TOKEN, "GET", "/api/usage/me").json()
    assert token["key"] == {"id": None, "name": "OLLAMA_ADMIN_API_TOKEN"}
