"""How clients come in: keys in four forms, prefixes, methods, pages of browsers; and what of them
goes on to a server.
"""

import base64
import json

import pytest

from ollama_admin.gateway import exchange
from ollama_admin.gateway.bodies import read
from tests.api.conftest import Serve, register
from tests.api.service import TOKEN, Service, answer_of, request
from tests.gateway.upstream import RELAYED, sent_to

BASIC = base64.b64encode(f"me:{TOKEN}".encode()).decode()
BODY = json.dumps({"model": "alpha", "prompt": "hi", "stream": False}).encode()
PATHS = [*RELAYED, "/api/tags", "/api/ps", "/api/show", "/v1/models", "/v1/models/hf.co%2Fa%2Fb:q"]


@pytest.mark.parametrize(
    ("prefix", "headers"),
    [
        ("", {"Authorization": f"Bearer {TOKEN}"}),
        ("", {"Authorization": f"bearer  {TOKEN}"}),
        ("", {"Authorization": f"Basic {BASIC}"}),
        ("", {"Authorization": "", "X_Api_Key": TOKEN}),
        ("", {"Authorization": "Bearer ollama", "X_Api_Key": TOKEN}),
        (f"/k/{TOKEN}", {"Authorization": ""}),
        (f"/k/{TOKEN}", {"Authorization": "Bearer ollama-local"}),
        (f"/k/{TOKEN}/servers/one", {"Authorization": "Bearer none"}),
        ("/servers/one", {"Authorization": f"Bearer {TOKEN}"}),
    ],
)
def test_a_key_in_any_form_lets_in_and_goes_no_further(
    sqlite_api: Service, fakes: Serve, prefix: str, headers: dict[str, str]
) -> None:
    fake = fakes("alpha")
    register(sqlite_api, fake)
    more = {"Cookie": f"a={TOKEN}", "Referer": f"http://x/k/{TOKEN}/", "Forwarded": f"for={TOKEN}"}
    more |= {"X_Forwarded_For": TOKEN, "X_Forwarded_Prefix": f"/k/{TOKEN}", **headers}
    raw = sqlite_api.raw(request("POST", f"{prefix}/api/generate", BODY, **more))
    assert answer_of(raw)[0] == 200
    assert TOKEN.encode() not in raw
    [sent] = sent_to(fake, "/api/generate")
    assert not {"authorization", "cookie", "referer", "forwarded"} & sent.headers.keys()
    assert TOKEN not in str(sent)
    assert TOKEN not in "".join(sqlite_api.logged)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("prefix", "headers", "says"),
    [
        ("", {"Authorization": ""}, "a key is missing"),
        ("", {"Authorization": "Bearer ollama"}, "a key is missing"),
        ("", {"Authorization": "Bearer canary-wrong"}, "the key is not known"),
        ("", {"Authorization": "", "X_Api_Key": "canary-wrong"}, "the key is not known"),
        ("/k/canary-wrong", {"Authorization": ""}, "the key is not known"),
    ],
)
def test_no_key_and_a_wrong_one_are_401_in_the_dialect_and_in_no_log(
    shared_api: Service, path: str, prefix: str, headers: dict[str, str], says: str
) -> None:
    method = "POST" if path in RELAYED or path == "/api/show" else "GET"
    raw = shared_api.raw(request(method, prefix + path, **headers))
    status, heard, document = answer_of(raw)
    assert (status, heard["www-authenticate"]) == (401, 'bearer realm="ollama-admin"')
    error = document["error"]
    assert (error if isinstance(error, str) else error["message"]).startswith(says)
    if path == "/v1/messages":
        assert (document["type"], error["type"]) == ("error", "authentication_error")
    elif path.startswith("/v1/"):
        assert error["code"] == "unauthorized"
    assert "canary-wrong" not in raw.decode() + "".join(shared_api.logged)


@pytest.mark.parametrize("path", ["/v1/{}", "/servers/{}/api/tags", "/servers/x/v1/{}"])
def test_long_paths_of_anybody_are_not_remembered(shared_api: Service, path: str) -> None:
    """A thousand of them would take 64 MB."""
    exchange._shown.cache_clear()
    for end in ("a", "b", "c"):
        sent = request("GET", path.format("x" * 60_000 + end), Authorization="")
        assert answer_of(shared_api.raw(sent))[0] == 401
    assert exchange._shown.cache_info().currsize == 1
    assert len(shared_api.logged[-1]) < 500


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("prefix", ["", "/k/wrong"])
def test_anybody_may_ask_whether_ollama_is_running(
    shared_api: Service, method: str, prefix: str
) -> None:
    raw = shared_api.raw(request(method, f"{prefix}/", Authorization="Bearer wrong", Host="x.test"))
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == (b"Ollama is running" if method == "GET" else b"")


@pytest.mark.parametrize("path", [*PATHS, "/", "/api/version", "/api/status"])
def test_options_of_a_page_are_answered_on_every_path(shared_api: Service, path: str) -> None:
    asked = {"Access_Control_Request_Headers": "x-api-key, x-stainless-lang, x-evil"}
    more = {"Origin": "vscode-webview://panel", "Authorization": "", **asked}
    status, headers, document = answer_of(shared_api.raw(request("OPTIONS", path, **more)))
    assert (status, document) == (204, None)
    assert headers["access-control-allow-origin"] == "vscode-webview://panel"
    allowed = headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "x-api-key", "anthropic-version", "x-stainless-lang"} <= set(allowed)
    assert "x-evil" not in allowed


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("http://localhost", True),
        ("https://localhost:3000", True),
        ("http://127.0.0.1:8080", True),
        ("http://[::1]:9", True),
        ("app://obsidian.md", True),
        ("file://", True),
        ("tauri://localhost", True),
        ("chrome-extension://abc", True),
        ("https://evil.example", False),
        ("https://localhost.evil.example", False),
        ("null", False),
        ("http://[", None),
    ],
)
def test_pages_come_in_from_where_ollama_lets_them(
    shared_api: Service, origin: str, is_allowed: bool | None
) -> None:
    status, headers, _ = answer_of(shared_api.raw(request("GET", "/api/tags", Origin=origin)))
    assert status == {True: 200, False: 403, None: 400}[is_allowed]
    assert headers.get("access-control-allow-origin") == (origin if is_allowed else None)


def test_websockets_and_counting_are_refused_as_clients_expect(
    sqlite_api: Service, fakes: Serve
) -> None:
    register(sqlite_api, fakes("alpha"))
    upgrade = {"Upgrade": "websocket", "Sec_WebSocket_Key": "x"}
    status, _, document = answer_of(sqlite_api.raw(request("GET", "/v1/responses", **upgrade)))
    assert (status, document["error"]["code"]) == (426, "upgrade_required")
    body = {"model": "alpha", "messages": []}
    counted = sqlite_api.ask("POST", "/v1/messages/count_tokens", body)
    assert (counted.status_code, counted.json()["type"]) == (404, "error")
    assert counted.json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff{}", 400),
        (b'{"model":null}', 400),
        (b'{"model":7}', 400),
        (b'{"prompt":"hi"}', 400),
        (b'{"model":"alpha","model":"beta"}', 400),
        (b'{"model":"alpha","Model":"beta"}', 400),
        (b'{"MODEL":"alpha"}', 400),
        (b'{"model":"alpha","prompt":"hi"} x', 400),
        (b"[" * 100_000, 400),
        (b'{"model":"alpha","n":[' + b"1," * 1_000_001 + b"1]}", 413),
    ],
)
@pytest.mark.parametrize("path", RELAYED)
def test_a_body_that_could_be_read_as_two_is_refused_and_sent_nowhere(
    shared_api: Service, path: str, body: bytes, status: int
) -> None:
    found, _, document = answer_of(shared_api.raw(request("POST", path, body)))
    assert found == status
    assert "error" in document


@pytest.mark.parametrize("path", ["/api/pull", "/api/push", "/api/create", "/api/copy"])
def test_what_changes_a_server_needs_its_name(sqlite_api: Service, fakes: Serve, path: str) -> None:
    fake = fakes("alpha")
    register(sqlite_api, fake)
    refused = sqlite_api.ask("POST", path, {"model": "beta"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert f"/servers/NAME{path}" in refused.json()["error"]
    assert sent_to(fake, path) == []


@pytest.mark.parametrize(
    ("blob", "is_one"),
    [
        ("sha256:" + "0a" * 32, True),
        ("sha256-" + "0A" * 32, True),
        ("sha256%3A" + "0a" * 32, True),
        ("../me", False),
        ("..%2fme", False),
        ("%2e%2e/me", False),
        ("sha256:" + "0a" * 32 + "/../../me", False),
        ("sha256:0a", False),
        ("", False),
    ],
)
def test_a_blob_is_named_by_its_digest_and_leads_to_no_other_path(
    sqlite_api: Service, fakes: Serve, blob: str, is_one: bool
) -> None:
    fake = fakes("alpha")
    register(sqlite_api, fake)
    before = len(fake.call(lambda: list(fake.fakes[0].requests)))
    answer = sqlite_api.raw(request("POST", f"/servers/one/api/blobs/{blob}", b"x"))
    sent = fake.call(lambda: fake.fakes[0].requests[before:])
    assert any(one.path == f"/api/blobs/{blob}" for one in sent) == is_one
    if not is_one:
        assert answer_of(answer)[0] == 404
        assert sent == []


def test_a_pull_of_what_is_there_succeeds_and_asks_nobody(
    sqlite_api: Service, fakes: Serve
) -> None:
    fake = fakes("alpha")
    register(sqlite_api, fake)
    answer = sqlite_api.ask("POST", "/api/pull", {"model": "alpha"})
    assert (answer.status_code, answer.json()) == (200, {"status": "success"})
    assert sent_to(fake, "/api/pull") == []


def test_six_hundred_shows_ask_a_server_once(sqlite_api: Service, fakes: Serve) -> None:
    fake = fakes("alpha")
    register(sqlite_api, fake)
    before = len(sent_to(fake, "/api/show"))
    with sqlite_api.client() as client:
        bodies = {client.post("/api/show", json={"model": "alpha"}).content for _ in range(600)}
    assert len(bodies) == 1
    assert len(sent_to(fake, "/api/show")) == before + 1


@pytest.mark.parametrize(
    ("digits", "is_read"), [(1, True), (309, True), (310, False), (5000, False)]
)
def test_a_long_number_of_a_body_is_not_put_together(digits: int, is_read: bool) -> None:
    """That would take the square of its length, in one step that stops all threads: 60 MiB of them
    took a second.
    """
    document = read(b'{"model":"alpha","n":%b}' % (b"9" * digits))
    assert document["n"] == (10**digits - 1 if is_read else "9" * digits)
