"""A real nginx before the gateway, as an operator puts it there: TLS apart, buffering off, below a
path of its own.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import ollama
import pytest

from ollama_admin.simulator.server import HoldAt
from tests.gateway.clients.conftest import (  # noqa: F401 (fixtures for here too)
    SAYS,
    Gateway,
    gateway,
    running,
    upstream,
)

pytestmark = pytest.mark.system

HI = [{"role": "user", "content": "hi"}]
CONFIG = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_buffering off;
    proxy_request_buffering off;
    server {{
        listen 127.0.0.1:{port};
        location /models/ {{ proxy_pass {url}/; }}
    }}
}}
"""


@pytest.fixture
def front(gateway: Gateway, tmp_path: Path) -> Iterator[str]:  # noqa: F811
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        pytest.fail("these tests need nginx: apt-get install nginx-light")
    # nginx takes over a socket that listens already: nothing to wait for
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port = opened.getsockname()[1]
        user = "user root;" if os.geteuid() == 0 else ""
        config = tmp_path / "nginx.conf"
        config.write_text(CONFIG.format(folder=tmp_path, user=user, port=port, url=gateway.url))
        environ = {**os.environ, "NGINX": f"{opened.fileno()};"}
        command = [program, "-p", str(tmp_path), "-e", f"{tmp_path}/error.log", "-c", str(config)]
        with subprocess.Popen(command, env=environ, pass_fds=[opened.fileno()]) as process:
            yield f"http://127.0.0.1:{port}/models"
            process.terminate()


def test_official_clients_are_answered_below_the_path(front: str, gateway: Gateway) -> None:  # noqa: F811
    # here: each process of the tests would take a second to load it
    from openai import OpenAI

    with ollama.Client(f"{front}/k/{gateway.key}") as client:
        assert "alpha:latest" in [model.model for model in client.list().models]
        assert client.chat("alpha", HI).message.content == SAYS
    with OpenAI(base_url=f"{front}/v1", api_key=gateway.key, max_retries=0) as client_:
        assert client_.models.retrieve("org/space:Tag-1").id == "org/space:Tag-1"
        assert client_.responses.create(model="alpha", input="hi").output_text == SAYS


def test_the_first_piece_comes_before_the_last_was_made(front: str, gateway: Gateway) -> None:  # noqa: F811
    fake = gateway.upstream.fakes[0]
    held = HoldAt(2)
    fake.before_token = held
    try:
        headers = {"Authorization": f"Bearer {gateway.key}"}
        body = {"model": "alpha", "messages": HI}
        with httpx.stream("POST", f"{front}/api/chat", json=body, headers=headers) as answer:
            lines = answer.iter_lines()
            assert '"I"' in next(lines)
            gateway.upstream.call(held.release.set)
            assert '"done":true' in list(lines)[-1]
    finally:
        fake.before_token = None
