"""`docs/api.md`: every command line of it runs, every route is called, every code is explained."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ollama_admin.api import problems
from ollama_admin.api.app import create_app
from ollama_admin.client import Client
from ollama_admin.domain.callers import OWNER
from ollama_admin.gateway.limits import Limits
from ollama_admin.simulator.model import SimulatedModel
from tests.api.conftest import Serve
from tests.api.service import TOKEN, Service
from tests.fake_ollama_thread import FakeOllamaThread
from tests.model_registry import ModelRegistry

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
MODEL = "llama3.2:3b"
PLACES = ("http://192.168.1.10:11434", "http://192.168.1.20:11434")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def calls() -> list[tuple[str, str]]:
    """Method and path of every curl."""
    found = []
    for line in "".join(blocks("sh")).replace("\\\n", " ").split("curl ")[1:]:
        method = re.search(r"-X (\w+)", line)
        path = re.search(r'"\$URL(/[^"?]*)', line)
        assert path is not None, line
        found.append(
            (
                method[1] if method else "POST" if " -d " in line else "GET",
                path[1]
                .replace("keys/1", "keys/{key_id}")
                .replace("/1", "/{server_id}")
                .replace("/$ID", "/{receipt_id}"),
            )
        )
    return found


async def test_every_route_is_called(sqlite_url: str) -> None:
    async with Client(database_url=sqlite_url, environ={}) as client:
        paths = create_app(client, Limits(), OWNER).openapi()["paths"]
    routes = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    routes.remove(("POST", "/api/requests/{request_id}/cancel"))  # there is none to be ended
    assert routes | {("GET", "/openapi.json")} <= set(calls())
    assert set(calls()) - routes == {
        ("GET", "/openapi.json"),
        ("GET", "/api/tags"),
        ("POST", "/api/generate"),
        ("POST", "/v1/chat/completions"),
    }


def test_every_command_runs_word_for_word(database_url: str, fakes: Serve, tmp_path: Path) -> None:
    first, second = (fakes(SimulatedModel(MODEL, says="Rayleigh scattering")) for _ in range(2))
    install, tls, settings, *commands = blocks("sh")
    assert "ollama-admin serve" in install
    assert "--tls-cert" in tls
    script = settings + "".join(commands)
    for place, fake in zip(PLACES, (first, second), strict=True):
        assert place in script
        script = script.replace(place, fake.url)
    key = {"OLLAMA_ADMIN_SECRET_KEY": "k" * 43 + "="}
    registry = FakeOllamaThread(ModelRegistry())
    with registry, Service(database_url, environ=key) as service:
        script = script.replace("http://192.168.1.30:5000", registry.url)
        ran = subprocess.run(
            ["/bin/sh", "-e", "-c", script.replace("http://127.0.0.1:8421", service.url)],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "OLLAMA_ADMIN_API_TOKEN": TOKEN},
            capture_output=True,
            text=True,
        )
    assert (ran.returncode, ran.stderr) == (0, ""), ran
    assert ran.stdout.count('"done":true') == 3
    assert ran.stdout.count("Rayleigh") == 4
    assert "only-an-example" not in ran.stdout
    assert len(second.requests()) > 0


def test_the_python_example_runs(api: Service, fakes: Serve, tmp_path: Path) -> None:
    fake = fakes(SimulatedModel(MODEL, says="Rayleigh scattering"))
    api.ask("POST", "/api/servers", {"name": "first", "url": fake.url})
    api.ask("POST", "/api/discover")
    [example] = blocks("python")
    code = example.replace("http://127.0.0.1:8421", api.url)
    environ = os.environ | {"OLLAMA_ADMIN_API_TOKEN": TOKEN}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environ, cwd=tmp_path
    )
    assert (ran.stdout, ran.stderr) == ("Rayleigh scattering\n", "")


@pytest.mark.parametrize("code", [*problems._CODES.values(), "internal_error", "server_stopping"])
def test_every_code_of_the_service_alone_is_explained(code: str) -> None:
    found = re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE, re.MULTILINE)
    rows = {name: int(status) for status, name in found}
    assert code in rows
    statuses = {name: status for status, name in problems._CODES.items()}
    assert statuses.get(code, rows[code]) == rows[code]


def test_routes_are_made_once_for_all_applications() -> None:
    """A request waits for none to be made."""
    first, second = (create_app(Client(environ={}), Limits(), OWNER) for _ in range(2))
    assert any(getattr(route, "path", "") == "/api/servers" for route in first.routes)
    assert list(map(id, first.routes)) == list(map(id, second.routes))
