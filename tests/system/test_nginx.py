"""A real nginx in front of a simulated server: Basic, Bearer and an API key, with the right secret
and with others.
"""

import base64
import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from ollama_admin.cli.app import app
from tests.fake_ollama import FakeOllama, SimulatedModel
from tests.fake_ollama_thread import FakeOllamaThread
from tests.system import nginx

pytestmark = pytest.mark.system

SECRET = 'p"ss:w/rd=+ é'
TOKEN = "tok-0123456789abcdef=="
SAYS = "I am alpha and I came through nginx"
WAYS: Mapping[str, tuple[list[str], str]] = {
    "basic": (["--auth", "basic", "--username", "operator"], SECRET),
    "bearer": (["--auth", "bearer"], TOKEN),
    "api_key": (["--auth", "api_key"], TOKEN),
}
CONFIG = """
proxy_http_version 1.1;
proxy_buffering off;
map $http_authorization $bearer {{ default 0; "Bearer {token}" 1; }}
map $http_x_api_key $api_key {{ default 0; "{token}" 1; }}
server {{
    listen 127.0.0.1:{basic};
    auth_basic "models";
    auth_basic_user_file {folder}/users;
    location / {{ proxy_pass {upstream}; }}
}}
server {{
    listen 127.0.0.1:{bearer};
    location / {{ if ($bearer = 0) {{ return 401; }} proxy_pass {upstream}; }}
}}
server {{
    listen 127.0.0.1:{api_key};
    location / {{ if ($api_key = 0) {{ return 401; }} proxy_pass {upstream}; }}
}}
"""


@dataclass(frozen=True, slots=True)
class Front:
    """The URLs of nginx, by the way in which each asks for credentials."""

    urls: Mapping[str, str]
    fake: FakeOllamaThread


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("nginx")
    with ExitStack() as stack:
        fake = stack.enter_context(FakeOllamaThread(FakeOllama(SimulatedModel("alpha", says=SAYS))))
        sockets = {way: stack.enter_context(socket.create_server(("127.0.0.1", 0))) for way in WAYS}
        ports = {way: opened.getsockname()[1] for way, opened in sockets.items()}
        (folder / "users").write_text(f"operator:{salted(SECRET)}\n", encoding="utf-8")
        http = CONFIG.format(folder=folder, token=TOKEN, upstream=fake.url, **ports)
        stack.enter_context(nginx.running(folder, http, sockets.values()))
        yield Front({way: f"http://127.0.0.1:{port}" for way, port in ports.items()}, fake)


def salted(password: str) -> str:
    """What stands in a file of users for a password: its salted SHA-1, which nginx reads
    everywhere.
    """
    salt = os.urandom(8)
    return (
        "{SSHA}" + base64.b64encode(hashlib.sha1(password.encode() + salt).digest() + salt).decode()
    )


@dataclass(frozen=True, slots=True)
class Ran:
    exit_code: int
    stdout: str
    stderr: str


def run(*words: str, stdin: str = "") -> Ran:
    ran = CliRunner().invoke(app, list(words), input=stdin, catch_exceptions=False)
    return Ran(ran.exit_code, ran.stdout, ran.stderr)


@pytest.fixture
def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", database_url)
    made = run("secrets", "generate-key")
    monkeypatch.setenv("OLLAMA_ADMIN_SECRET_KEY", made.stdout.strip())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("database")
def test_a_server_behind_nginx_is_discovered_and_answers(way: str, front: Front) -> None:
    options, secret = WAYS[way]
    added = run(
        "server", "add", "gpu", front.urls[way], *options, "--secret-stdin", stdin=secret + "\n"
    )
    assert (added.exit_code, added.stderr) == (0, "")
    discovered = run("-o", "json", "discover")
    assert discovered.exit_code == 0, discovered
    assert json.loads(discovered.stdout)["results"][0]["added"] == ["alpha:latest"]
    asked = run("generate", "--model", "alpha", "hi")
    assert asked == Ran(0, SAYS, "")
    assert run("server", "check", "gpu").exit_code == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("database")
def test_a_url_that_is_not_registered_is_asked_with_credentials_of_its_own(
    way: str, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, secret = WAYS[way]
    monkeypatch.setenv("GPU_SECRET", secret)
    ask = ["generate", "--model", "alpha", "hi", "--server-url", front.urls[way], *options]
    assert run(*ask, "--secret-env", "GPU_SECRET") == Ran(0, SAYS, "")
    assert run(*ask, "--secret-ref", "env:GPU_SECRET") == Ran(0, SAYS, "")
    monkeypatch.setenv("GPU_SECRET", "another")
    refused = run(*ask, "--secret-ref", "env:GPU_SECRET")
    assert refused.exit_code == 6
    assert (
        refused.stderr.splitlines()[0]
        == f"error: server {front.urls[way]} refused the request (401)"
    )


@pytest.mark.parametrize("given", ["a wrong secret", "no secret"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("database")
def test_a_refused_request_says_so_in_one_line_with_the_name_and_the_next_step(
    way: str, given: str, front: Front
) -> None:
    options = [*WAYS[way][0], "--secret-stdin"] if given == "a wrong secret" else []
    added = run(
        "server", "add", "gpu", front.urls[way], *options, stdin="hunter2" if options else ""
    )
    assert added.exit_code == 0
    assert (
        added.stderr.splitlines()[0]
        == "note: server gpu refused the request (401) (the server is kept)"
    )
    before = len(front.fake.requests())
    for words in (
        ["discover", "gpu"],
        ["server", "check", "gpu"],
        ["generate", "--model", "alpha", "--server", "gpu", "hi"],
    ):
        refused = run(*words)
        assert (refused.exit_code, refused.stdout) == (6, "")
        error, hint = refused.stderr.splitlines()
        assert error == "error: server gpu refused the request (401)"
        assert "ollama-admin server update gpu" in hint
        assert ("--secret-stdin" if options else "--auth") in hint
        document = json.loads(run("-o", "json", *words).stderr)["error"]
        assert document["code"] == "server_unauthorized"
    assert len(front.fake.requests()) == before  # nothing came through
    state = json.loads(run("-o", "json", "server", "show", "gpu").stdout)
    assert (state["status"], state["last_error"]) == (
        "unauthorized",
        "server gpu refused the request (401)",
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("database")
def test_the_next_step_that_is_named_helps(way: str, front: Front) -> None:
    options, secret = WAYS[way]
    run("server", "add", "gpu", front.urls[way], *options, "--secret-stdin", stdin="hunter2")
    assert run("discover", "gpu").exit_code == 6
    assert run("server", "update", "1", "--secret-stdin", stdin=secret).exit_code == 0
    assert run("discover", "gpu").exit_code == 0
    assert run("generate", "--model", "alpha", "hi") == Ran(0, SAYS, "")
