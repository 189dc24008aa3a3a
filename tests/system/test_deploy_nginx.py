"""`deploy/nginx/ollama-admin.conf` in a real nginx: TLS, streams, clients' addresses."""

import json
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import HoldAt
from tests.api.service import AUTHORIZED, Service
from tests.certificates import Authority
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread
from tests.system import nginx

pytestmark = pytest.mark.system

SNIPPET = Path(__file__).parents[2] / "deploy" / "nginx" / "ollama-admin.conf"
BODY = {"model": "alpha", "messages": [{"role": "user", "content": "hi"}]}


def put(text: str, what: str, instead: str) -> str:
    assert text.count(what) == 1, what
    return text.replace(what, instead)


@pytest.fixture
def fake() -> Iterator[FakeOllamaThread]:
    with FakeOllamaThread(FakeOllama(SimulatedModel("alpha"))) as thread:
        yield thread


@pytest.fixture
def service(
    migrated_sqlite_file: Path, tmp_path: Path, fake: FakeOllamaThread
) -> Iterator[Service]:
    path = shutil.copy(migrated_sqlite_file, tmp_path / "one.db")
    hosts = ("models.example.com",)
    with Service(f"sqlite:///{path}", allow_hosts=hosts, proxies=("127.0.0.1",)) as service:
        service.ask("POST", "/api/servers", {"name": "one", "url": fake.url})
        assert service.ask("POST", "/api/discover").json()["failed"] == 0
        yield service


@pytest.fixture
def front(service: Service, tmp_path: Path) -> Iterator[str]:
    issued = Authority(tmp_path, "test").issue("models")
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port = opened.getsockname()[1]
        text = put(SNIPPET.read_text(), "127.0.0.1:8421;", f"127.0.0.1:{service.port};")
        text = put(text, "listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
        text = put(text, "/etc/ssl/models.example.com.pem", str(issued.certificate))
        text = put(text, "/etc/ssl/models.example.com.key", str(issued.key))
        with nginx.running(tmp_path, text, [opened]):
            yield f"https://127.0.0.1:{port}"


def client(front: str, address: str = "127.0.0.1", **more: str) -> httpx.Client:
    """One that comes from that address of this machine."""
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    transport = httpx.HTTPTransport(local_address=address, verify=unverified)
    headers = {"Host": "models.example.com"} | more
    return httpx.Client(base_url=front, headers=headers, transport=transport, timeout=30)


def test_the_first_piece_comes_before_the_last_was_made(front: str, fake: FakeOllamaThread) -> None:
    held = HoldAt(2)
    fake.fakes[0].before_token = held
    with (
        client(front, **AUTHORIZED) as asking,
        asking.stream("POST", "/api/chat", json=BODY) as answer,
    ):
        lines = answer.iter_lines()
        assert json.loads(next(lines))["done"] is False
        fake.call(held.release.set)
        assert json.loads(list(lines)[-1])["done"] is True


def test_the_network_of_a_key_is_that_of_the_client(front: str, service: Service) -> None:
    assert service.opened is not None
    columns = {"anonymous": True, "networks": ["127.0.0.9"]}
    service.run(service.opened.keys.add(name="office", **columns))
    forged = {"X-Forwarded-For": "127.0.0.9"}
    with client(front, "127.0.0.9") as office, client(front, "127.0.0.8", **forged) as stranger:
        assert office.post("/api/chat", json=BODY | {"stream": False}).status_code == 200
        assert stranger.post("/api/chat", json=BODY | {"stream": False}).status_code == 401
