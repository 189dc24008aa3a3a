"""Who may come in: tokens, hosts, origins, bodies and their limits. Nothing foreign is echoed or
passed on.
"""

import json
import logging
import re
import socket
import time
from typing import Any

import pytest
from fastapi.routing import APIRoute

from ollama_admin.api import guard
from ollama_admin.api.app import create_app
from ollama_admin.api.bodies import DEPTH
from ollama_admin.api.reach import Needs
from ollama_admin.client import Client
from ollama_admin.domain.callers import OWNER
from ollama_admin.domain.keys import Right
from ollama_admin.gateway.limits import VALUES_LIMIT, Limits
from ollama_admin.gateway.paths import RIGHTS, Kind
from tests.api.conftest import Serve, register
from tests.api.service import AUTHORIZED, TOKEN, Service, answer_of, read_all, request

OPEN = {"/healthz", "/readyz", "/docs", "/docs/{name}", "/openapi.json"}
NEEDS_A_KEY_ALONE = [("GET", "/metrics")]
NEEDS_DATABASE = [
    ("GET", "/api/servers"),
    ("POST", "/api/servers"),
    ("GET", "/api/servers/1"),
    ("PATCH", "/api/servers/1"),
    ("DELETE", "/api/servers/1"),
    ("POST", "/api/servers/1/check"),
    ("POST", "/api/servers/1/discover"),
    ("POST", "/api/servers/1/drain"),
    ("POST", "/api/servers/1/resume"),
    ("POST", "/api/discover"),
    ("GET", "/api/servers/1/models"),
    ("GET", "/api/models"),
    ("GET", "/api/fleet/ps"),
    ("GET", "/api/fleet/show"),
    ("POST", "/api/fleet/pull"),
    ("GET", "/api/fleet/activity"),
    ("POST", "/api/requests/1/cancel"),
    ("POST", "/api/fleet/sync"),
    ("GET", "/api/fleet/diff"),
    ("POST", "/api/fleet/outdated"),
    ("POST", "/api/fleet/remove"),
    ("POST", "/api/fleet/copy"),
    ("POST", "/api/fleet/load"),
    ("POST", "/api/fleet/unload"),
    ("POST", "/api/plan"),
    ("POST", "/api/apply"),
    ("POST", "/api/generate"),
    ("POST", "/api/chat"),
    ("POST", "/api/route"),
    ("GET", "/api/receipts/1"),
    ("GET", "/api/audit"),
    ("GET", "/api/usage"),
    ("GET", "/api/usage/me"),
    ("GET", "/api/keys"),
    ("POST", "/api/keys"),
    ("GET", "/api/keys/1"),
    ("PATCH", "/api/keys/1"),
    ("DELETE", "/api/keys/1"),
    ("POST", "/api/keys/1/rotate"),
    ("POST", "/api/keys/1/revoke"),
]
RELAYED = [
    ("GET", "/api/tags"),
    ("GET", "/api/ps"),
    ("POST", "/api/show"),
    ("GET", "/v1/models"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/messages"),
    ("DELETE", "/api/delete"),
    ("GET", "/servers/one/"),
]
ASKING = (  # POST, and nothing is changed; who asked may end what was asked
    *("/api/generate", "/api/chat", "/api/route"),
    "/api/requests/{request_id}/cancel",
)
NEW = {"name": "gpu", "url": "10.0.0.1"}
NEW_BYTES = json.dumps(NEW).encode()
FEW = Limits(body=1000, body_large=5000, head_time=0.3, body_time=0.6, body_idle=0.3)


def every_route(router: Any) -> set[tuple[str, str]]:
    found = set()
    for route in router.routes:
        if isinstance(route, APIRoute):
            found |= {(method, route.path) for method in route.methods}
        else:
            found |= every_route(route.original_router)
    return found


def decisions(router: Any) -> dict[tuple[str, str], list[Needs]]:
    """What each route says of who may come in."""
    found = {}
    for route in router.routes:
        if isinstance(route, APIRoute):
            said = [one.dependency for one in route.dependencies]
            mine = [one for one in said if isinstance(one, Needs)]
            found |= {(method, route.path): mine for method in route.methods}
        else:
            found |= decisions(route.original_router)
    return found


async def test_every_route_has_decided_who_may_come_in(sqlite_url: str) -> None:
    async with Client(database_url=sqlite_url, environ={}) as client:
        decided = decisions(create_app(client, Limits(), OWNER))
    undecided = [route for route, said in decided.items() if len(said) != 1]
    assert undecided == []
    open_to_all = {path for (_, path), [said] in decided.items() if said.right is None}
    assert open_to_all == OPEN
    changing = {Right.MANAGE, Right.ADMIN}
    for (method, path), [said] in decided.items():
        is_change = method not in ("GET", "HEAD") and path not in ASKING
        assert (said.right in changing) == is_change or said.right is Right.ADMIN, (method, path)


async def test_a_route_without_a_decision_is_noticed(sqlite_url: str) -> None:
    async with Client(database_url=sqlite_url, environ={}) as client:
        app = create_app(client, Limits(), OWNER)
        app.add_api_route("/api/new", lambda: None)
    assert [route for route, said in decisions(app).items() if not said] == [("GET", "/api/new")]


def test_every_kind_of_call_of_the_gateway_has_decided_who_may_come_in() -> None:
    assert RIGHTS.keys() == set(Kind)


def _template(path: str) -> str:
    for noun in ("server", "key", "receipt", "request"):
        path = path.replace(f"{noun}s/1", f"{noun}s/{{{noun}_id}}")
    return path


async def test_every_route_stands_in_one_of_the_tables(sqlite_url: str) -> None:
    async with Client(database_url=sqlite_url, environ={}) as client:
        routes = every_route(create_app(client, Limits(), OWNER))
    needing = {(method, _template(path)) for method, path in NEEDS_DATABASE + NEEDS_A_KEY_ALONE}
    assert routes == needing | {("GET", path) for path in OPEN}
    assert OPEN - {"/docs/{name}"} == guard.OPEN


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *NEEDS_DATABASE,
        *NEEDS_A_KEY_ALONE,
        *RELAYED,
        ("GET", "/nothing"),
        ("GET", "/healthz/"),
        ("PUT", "/api/servers"),
    ],
)
def test_nothing_but_the_open_routes_answers_without_the_token(
    shared_api: Service, method: str, path: str
) -> None:
    with shared_api.client(headers={}) as client:
        refused = client.request(method, path)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (
        401,
        'Bearer realm="ollama-admin"',
    )
    document = refused.json()
    error = document["error"]
    if path == "/v1/messages":
        assert (document["type"], error["type"]) == ("error", "authentication_error")
    elif isinstance(error, str):
        assert document["code"] == "unauthorized"
    else:
        assert error["code"] == "unauthorized"


@pytest.mark.parametrize(
    "given",
    [
        ("",),
        ("Bearer",),
        ("Bearer ",),
        (f"Bearer {TOKEN}x",),
        (f"Bearer {TOKEN[:-1]}",),
        (f"Basic {TOKEN}",),
        (f"{TOKEN}",),
        ("Bearer ' OR 1=1 --",),
        ("Bearer \xff\xfe",),
        ("Bearer " + "x" * 60_000,),
    ],
)
def test_a_wrong_token_is_refused_in_one_way(shared_api: Service, given: tuple[str, ...]) -> None:
    lines = "".join(f"Authorization: {value}\r\n" for value in given)
    head = f"GET /api/servers HTTP/1.1\r\nHost: localhost\r\n{lines}Connection: close\r\n\r\n"
    status, _, document = answer_of(shared_api.raw(head.encode("latin-1")))
    assert status == 401
    assert document["error"]["code"] == "unauthorized"
    assert document["error"]["message"] in ("a key is missing", "the key is not known")
    assert document["error"]["hint"].startswith("send it as Authorization: Bearer KEY")


def test_two_tokens_are_no_token(shared_api: Service) -> None:
    lines = f"Authorization: Bearer {TOKEN}\r\n" * 2
    head = f"GET /api/servers HTTP/1.1\r\nHost: localhost\r\n{lines}Connection: close\r\n\r\n"
    status, _, document = answer_of(shared_api.raw(head.encode()))
    assert (status, document["error"]["message"]) == (
        400,
        "the header authorization is given twice",
    )


def test_a_token_of_a_megabyte_is_no_proper_request(shared_api: Service) -> None:
    head = (
        "GET /api/servers HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
        f"{'x' * 2**20}\r\n\r\n"
    )
    with shared_api.connect() as connection:
        connection.sendall(head.encode())
        status, headers, document = answer_of(read_all(connection))
    assert (status, headers["connection"]) == (431, "close")
    assert document["error"]["code"] == "bad_request"


def test_the_token_in_the_query_or_a_cookie_is_no_token(sqlite_api: Service) -> None:
    with sqlite_api.client(headers={"Cookie": f"token={TOKEN}"}) as client:
        assert client.get("/api/servers").status_code == 401
        assert client.get(f"/api/servers?token={TOKEN}").status_code == 400
    assert TOKEN not in "".join(sqlite_api.log(2))


# hosts and origins


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1:8421",
        "localhost.",
        "[::2]",
        "@localhost",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/healthz", "/docs", "/api/servers"])
def test_a_foreign_host_is_refused_everywhere(shared_api: Service, host: str, path: str) -> None:
    head = (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: "
        "close\r\n\r\n"
    )
    status, _, document = answer_of(shared_api.raw(head.encode()))
    assert (status, document["error"]["code"]) == (403, "host_not_allowed")


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "LOCALHOST:8421", "[::1]:9", "api.example"]
)
def test_own_hosts_and_those_that_were_allowed_are_served(sqlite_url: str, host: str) -> None:
    with Service(sqlite_url, allow_hosts=("API.example",)) as service:
        assert answer_of(service.raw(request("GET", "/healthz", Host=host)))[0] == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"]
)
def test_a_foreign_origin_is_refused_and_no_answer_has_headers_for_it(
    shared_api: Service, origin: str
) -> None:
    for method in ("GET", "OPTIONS"):
        status, headers, _ = answer_of(
            shared_api.raw(request(method, "/api/servers", Origin=origin))
        )
        assert status == 403
        assert not [name for name in headers if name.startswith("access-control-")]


def test_a_page_of_our_own_may_ask(shared_api: Service) -> None:
    status, headers, _ = answer_of(
        shared_api.raw(request("GET", "/api/servers", Origin="http://127.0.0.1"))
    )
    assert status == 200
    assert not [name for name in headers if name.startswith("access-control-")]


def test_what_proxies_add_changes_nothing(sqlite_api: Service) -> None:
    more = {
        "X_Forwarded_Host": "evil.example",
        "X_Forwarded_For": "6.6.6.6",
        "X_Forwarded_Proto": "https",
        "Forwarded": "host=evil",
    }
    status, headers, document = answer_of(
        sqlite_api.raw(request("POST", "/api/servers", NEW_BYTES, **more))
    )
    assert (status, headers["location"]) == (201, f"/api/servers/{document['id']}")
    assert "evil" not in sqlite_api.log(1)[0]


@pytest.mark.parametrize(
    "head",
    [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: -5\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Host: evil.example\r\n",
    ],
)
def test_a_request_that_two_readers_could_cut_differently_is_refused(
    shared_api: Service, head: str
) -> None:
    data = (
        "POST /api/servers HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
        f"{TOKEN}\r\n{head}\r\n0\r\n\r\n"
    )
    status, _, document = answer_of(shared_api.raw(data.encode()))
    assert 400 <= status < 500 or status == 501
    assert document["error"].keys() >= {"code", "message", "hint"}


def test_nothing_of_the_client_reaches_the_ollama_server_but_what_it_asked(
    sqlite_api: Service, fakes: Serve
) -> None:
    fake = fakes("alpha")
    register(sqlite_api, fake)
    fake.call(fake.fakes[0].requests.clear)
    more = {
        "Cookie": "canary=1",
        "X_Forwarded_For": "canary",
        "Forwarded": "for=canary",
        "X_Real_IP": "canary",
        "X_Api_Key": "canary",
        "X_OpenWebUI_User_Email": "canary",
        "Referer": "canary",
    }
    body = json.dumps({"model": "alpha", "prompt": "hi", "stream": False}).encode()
    assert answer_of(sqlite_api.raw(request("POST", "/api/generate", body, **more)))[0] == 200
    for sent in fake.requests():
        assert not {"authorization", "cookie", "referer"} & sent.headers.keys()
        assert not [value for value in sent.headers.values() if "canary" in value]


# bodies


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ('Application/JSON;charset="UTF-8"', 201),
        ("", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json; charset=latin-1", 415),
        ("application/vnd.api+json", 415),
        ("multipart/form-data; boundary=x", 415),
    ],
)
def test_a_body_is_json_in_utf_8(sqlite_api: Service, kind: str, status: int) -> None:
    assert (
        answer_of(sqlite_api.raw(request("POST", "/api/servers", NEW_BYTES, Content_Type=kind)))[0]
        == status
    )


def test_a_compressed_body_is_refused(shared_api: Service) -> None:
    raw = shared_api.raw(request("POST", "/api/servers", NEW_BYTES, Content_Encoding="gzip"))
    assert answer_of(raw)[0] == 415


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        b'{"name": "a", "name": "b", "url": "10.0.0.1"}',
        b'{"name": "\\ud800", "url": "10.0.0.1"}',
        b'{"priority": NaN}',
        b'{"priority": 1e999}',
        b'{"priority": ' + b"9" * 5000 + b"}",
        b"[" * 100_000 + b"]" * 100_000,
        b"[" * (DEPTH + 2) + b"]" * (DEPTH + 2),
        b'{"name": "gpu"} x',
        b"\xef\xbb\xbf{}",
    ],
)
def test_a_body_that_has_no_single_meaning_is_refused(shared_api: Service, body: bytes) -> None:
    status, _, document = answer_of(shared_api.raw(request("POST", "/api/servers", body)))
    assert (status, document["error"]["code"]) == (400, "bad_request")


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"1", b"{}"])
@pytest.mark.parametrize(("path", "status"), [("/api/servers", 422), ("/api/generate", 400)])
def test_a_body_that_is_no_object_or_an_empty_one_is_invalid(
    shared_api: Service, path: str, body: bytes, status: int
) -> None:
    assert answer_of(shared_api.raw(request("POST", path, body)))[0] == status


def test_a_body_of_too_many_values_is_refused_before_it_is_read(shared_api: Service) -> None:
    body = b'{"model": "alpha", "context": [' + b"1," * (VALUES_LIMIT + 1) + b"1]}"
    assert answer_of(shared_api.raw(request("POST", "/api/generate", body)))[0] == 413


@pytest.mark.parametrize(
    ("path", "most"), [("/api/servers", FEW.body), ("/api/generate", FEW.body_large)]
)
def test_a_body_has_a_limit_whatever_it_says_of_its_length(
    sqlite_url: str, path: str, most: int
) -> None:
    with Service(sqlite_url, limits=FEW) as service:
        body = b'"' + b"x" * most + b'"'
        chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n"
        endless = (
            request("POST", path, Transfer_Encoding="chunked", Content_Type="application/json")
            + chunk
        )
        for data in (
            request("POST", path, body),
            request("POST", path, b"{}", Content_Length="9" * 18),
            endless,
        ):
            status, _, document = answer_of(service.raw(data))
            assert status == 413
            assert "longer than" in str(document)


@pytest.mark.parametrize(
    "part", ["", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: x\r\n"]
)
def test_a_head_that_does_not_come_to_its_end_is_not_waited_for(sqlite_url: str, part: str) -> None:
    with Service(sqlite_url, limits=FEW) as service, service.connect() as connection:
        connection.sendall(part.encode())
        assert dripped(connection, b"X-A: b\r\n" if part else b"") == b""


@pytest.mark.parametrize("drip", [b"", b" "])
def test_a_body_that_does_not_come_to_its_end_is_not_waited_for(
    sqlite_url: str, drip: bytes
) -> None:
    with Service(sqlite_url, limits=FEW) as service, service.connect() as connection:
        connection.sendall(request("POST", "/api/servers", b"{", Content_Length="900"))
        answer = dripped(connection, drip)
        assert not answer or answer_of(answer)[0] == 408


def dripped(connection: socket.socket, data: bytes) -> bytes:
    """What comes back while more is sent, a little at a time, until the other side gives up."""
    connection.settimeout(0.05)
    ends, found = time.monotonic() + 20, b""
    while time.monotonic() < ends:
        try:
            if data:
                connection.sendall(data)
            chunk = connection.recv(65536)
        except TimeoutError:
            continue
        except ConnectionError:
            return found
        if not chunk:
            return found
        found += chunk
    raise AssertionError("it waited for more")


def test_hundreds_of_idle_connections_keep_nobody_out(sqlite_url: str) -> None:
    with Service(sqlite_url, limits=Limits(head_time=5)) as service:
        idle = [service.connect() for _ in range(300)]
        try:
            assert service.ask("GET", "/api/servers").status_code == 200
        finally:
            for connection in idle:
                connection.close()


# methods, paths and shapes


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("TRACE", "/api/servers", 405),
        ("OPTIONS", "/api/servers", 405),
        ("HEAD", "/api/generate", 405),
        ("PUT", "/api/servers/1", 405),
        ("GET", "/api/generate", 405),
        ("POST", "/api/tags", 405),
        ("GET", "/api/servers/", 404),
        ("GET", "//api/servers", 404),
        ("GET", "/api/../api/servers", 404),
        ("POST", "/api/pull", 400),
        ("DELETE", "/api/delete", 400),
        ("POST", "/api/signout", 404),
        ("GET", "/api/experimental/aliases", 404),
        ("GET", "/docs/../../etc/passwd", 404),
        ("GET", "/docs/__init__.py", 404),
        ("GET", "/api/servers/one", 422),
        ("GET", "/api/servers/0", 422),
        ("GET", "/api/servers/9223372036854775808", 422),
        ("GET", "/api/servers/9223372036854775807", 404),
    ],
)
def test_every_error_is_a_document_with_a_request_id(
    shared_api: Service, method: str, path: str, status: int
) -> None:
    raw = shared_api.raw(request(method, path))
    if method == "HEAD":
        raw = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    found, headers, document = answer_of(raw)
    assert found == status
    assert re.fullmatch(r"[0-9a-f]{16}", headers["x-request-id"])
    assert not [name for name in headers if name.startswith("access-control-")]
    assert ("allow" in headers) == (status == 405)
    if document is not None:
        error = document["error"]
        assert (
            document.keys() == {"error", "code"}
            if isinstance(error, str)
            else error.keys() == {"code", "message", "hint"}
        )


def test_a_bug_is_a_document_too_and_tells_nothing(
    sqlite_api: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("canary")

    monkeypatch.setattr("ollama_admin.services.servers.Servers.page", broken)
    logging.getLogger("uvicorn.error").disabled = True
    try:
        answer = sqlite_api.ask("GET", "/api/servers")
    finally:
        logging.getLogger("uvicorn.error").disabled = False
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "canary" not in answer.text
    assert answer.headers["x-request-id"] in sqlite_api.log(1)[0]


def test_each_request_is_one_line_of_the_log_without_its_query(sqlite_api: Service) -> None:
    answer = sqlite_api.ask("GET", "/api/models?name=canary%0aforged")
    sqlite_api.ask("GET", "/x%0Aforged%1b[31m%E2%80%A8")
    first, second = sqlite_api.log(2)
    assert re.fullmatch(rf"{answer.headers['x-request-id']} GET /api/models 200 \d+ ms", first)
    assert re.fullmatch(r"[0-9a-f]{16} GET /x%0Aforged%1B%5B31m%E2%80%A8 404 \d+ ms", second)


def test_the_documentation_needs_no_other_host(shared_api: Service) -> None:
    with shared_api.client(headers={}) as client:
        page = client.get("/docs")
        assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(assets) == 4
        assert all(asset.startswith("/docs/") for asset in assets)
        for asset in assets:
            assert client.get(asset).status_code == 200
        assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "http" not in re.sub(r"<!DOCTYPE html>", "", page.text)


# secrets


SECRET = "canary-s3cret"
AUTHS = [
    {"auth_type": "basic", "auth_config": {"username": "me", "password": SECRET}},
    {"auth_type": "bearer", "auth_config": {"token": SECRET}},
    {"auth_type": "api_key", "auth_config": {"header_name": "X-Key", "key": SECRET}},
    {"headers": {"X-Extra": SECRET}},
]


@pytest.mark.parametrize("auth", AUTHS)
def test_secrets_are_stored_and_sent_and_never_shown(
    api: Service, fakes: Serve, auth: dict[str, Any]
) -> None:
    fake = fakes("alpha")
    with Service(api._database_url, environ={"OLLAMA_ADMIN_SECRET_KEY": "k" * 43 + "="}) as service:
        added = service.ask("POST", "/api/servers", {"name": "gpu", "url": fake.url, **auth})
        assert added.status_code == 201, added.text
        path = added.headers["location"]
        texts = [
            added.text,
            service.ask("GET", path).text,
            service.ask("GET", "/api/servers").text,
            service.ask("PATCH", path, {"priority": 3}).text,
            service.ask("PATCH", path, auth).text,
            service.ask("POST", f"{path}/check").text,
            service.ask("POST", "/api/servers", {"name": "gpu", "url": fake.url, **auth}).text,
            service.ask("PATCH", path, {**auth, "max_concurrent": SECRET}).text,
            service.ask("PATCH", path, {**auth, SECRET: 1}).text,
            service.ask("PATCH", path, {**auth, "auth_type": SECRET}).text,
            service.ask("PATCH", path, {"auth_config": [SECRET]}).text,
            service.ask(
                "PATCH", path, {"auth_type": "basic", "auth_config": {"token": SECRET}}
            ).text,
            service.ask("PATCH", path, {"headers": {"X-A": f"{SECRET}\n"}}).text,
            *service.said,
            *service.logged,
        ]
    assert not [text for text in texts if SECRET in text]
    checked = fake.requests()[-1]
    assert any(SECRET in value or "Basic" in value for value in checked.headers.values())


@pytest.mark.parametrize(
    "reference", ["env:HOME", "file:/etc/passwd", "env:OLLAMA_ADMIN_API_TOKEN"]
)
@pytest.mark.parametrize("place", ["auth_config", "headers"])
def test_references_cannot_be_set(sqlite_api: Service, reference: str, place: str) -> None:
    given: dict[str, Any] = {"headers": {"X-A": reference}}
    if place == "auth_config":
        given = {"auth_type": "bearer", "auth_config": {"token": reference}}
    one = sqlite_api.ask("POST", "/api/servers", NEW).json()["id"]
    for method, path, body in (
        ("POST", "/api/servers", {"name": "b", "url": "10.0.0.2", **given}),
        ("PATCH", f"/api/servers/{one}", given),
    ):
        refused = sqlite_api.ask(method, path, body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_input")
        assert "references cannot be set through the API" in refused.json()["error"]["message"]
    assert len(sqlite_api.ask("GET", "/api/servers").json()) == 1


def test_asterisks_that_were_shown_are_not_taken_for_a_secret(sqlite_api: Service) -> None:
    auth = {"auth_type": "bearer", "auth_config": {"token": "secret"}}
    added = sqlite_api.ask("POST", "/api/servers", {**NEW, **auth}).json()
    refused = sqlite_api.ask(
        "PATCH", f"/api/servers/{added['id']}", {"auth_config": added["auth_config"]}
    )
    assert refused.status_code == 422


def test_another_host_drops_the_credentials_of_the_old_one(sqlite_api: Service) -> None:
    auth = {"auth_type": "bearer", "auth_config": {"token": "secret"}}
    added = sqlite_api.ask("POST", "/api/servers", {**NEW, **auth}).json()
    moved = sqlite_api.ask("PATCH", f"/api/servers/{added['id']}", {"url": "10.0.0.2"}).json()
    assert (moved["auth_type"], moved["auth_config"]) == ("none", {})


def test_credentials_are_taken_away(sqlite_api: Service) -> None:
    auth = {"auth_type": "bearer", "auth_config": {"token": "secret"}, "headers": {"X-A": "b"}}
    added = sqlite_api.ask("POST", "/api/servers", {**NEW, **auth}).json()
    cleared = sqlite_api.ask(
        "PATCH", f"/api/servers/{added['id']}", {"auth_type": None, "headers": None}
    ).json()
    assert (cleared["auth_type"], cleared["auth_config"], cleared["headers"]) == ("none", {}, {})


def test_the_documentation_tells_no_token(shared_api: Service) -> None:
    assert TOKEN not in shared_api.ask("GET", "/openapi.json", headers=AUTHORIZED).text
