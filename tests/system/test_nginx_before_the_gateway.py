"""A real nginx before the gateway, as an operator puts it there: TLS apart, buffering off, below a
path of its own.
"""

import socket
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
from tests.system import nginx

pytestmark = pytest.mark.system

HI = [{"role": "user", "content": "hi"}]
CONFIG = """
proxy_http_version 1.1;
proxy_set_header Connection "";
proxy_buffering off;
proxy_request_buffering off;
server {{
    listen 127.0.0.1:{port};
    location /models/ {{ proxy_pass {url}/; }}
}}
"""


@pytest.fixture
def front(gateway: Gateway, tmp_path: Path) -> Iterator[str]:  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port = opened.getsockname()[1]
        http = CONFIG.format(port=port, url=gateway.url)
        with nginx.running(tmp_path, http, [opened]):
            yield f"http://127.0.0.1:{port}/models"


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
