"""The fleet as the settings of other programs; tests/system has LiteLLM itself load them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from ollama_admin.client import Client
from ollama_admin.domain.secret import Reference
from ollama_admin.errors import InvalidInput
from ollama_admin.store.tables import models
from ollama_admin.vault import new_key
from tests.services import fleets

SECRET = "hunter2"
TOKEN = Reference(kind="env", name="TOKEN")
# of an endpoint in Olla's configuration
OLLA = {
    *("url", "name", "type", "priority", "model_url", "health_check_url"),
    *("check_interval", "check_timeout", "auth"),
}


@pytest.fixture
async def client(database_url: str, notes: list[str]) -> AsyncIterator[Client]:
    """A fleet of two Ollama servers, two that are not, and one that is inactive."""
    environ = {"OLLAMA_ADMIN_SECRET_KEY": new_key().reveal()}
    async with Client(database_url=database_url, environ=environ, on_note=notes.append) as opened:
        await write(opened)
        yield opened


async def write(client: Client) -> None:
    add = client.servers.add
    bearer: dict[str, Any] = {"auth_type": "bearer"}
    await add(name="a no 1", url="http://a:11434", max_concurrent=4, priority=3, labels={"x": "y"})
    await add(name="b", url="https://b", auth_config={"token": TOKEN}, **bearer)
    await add(name="v", url="http://v:8000/v1", auth_config={"token": TOKEN}, **bearer)
    await add(name="w", url="http://w:8000/v1", auth_config={"token": SECRET}, **bearer)
    await add(name="off", url="http://off", is_active=False)
    await client._resources.db.write(hold)


def hold(connection: Any) -> None:
    for server_id, names in {
        1: ["alpha:7b", "embed"],
        2: ["alpha:7b"],
        3: ["qwen"],
        5: ["x"],
    }.items():
        fleets.hold(connection, server_id, [(name, None) for name in names])
    is_embed = models.c.name == "embed"
    connection.execute(models.update().where(is_embed).values(capabilities=["embedding"]))


async def test_litellm_gets_a_deployment_for_each_model_on_each_server(client: Client) -> None:
    settings = yaml.safe_load(await client.fleet.file.export_to("litellm"))
    assert settings.keys() == {"model_list"}
    assert [
        (each["model_name"], each["litellm_params"].pop("model"), each["litellm_params"])
        for each in settings["model_list"]
    ] == [
        ("alpha:7b", "ollama_chat/alpha:7b", _params("http://a:11434", 4)),
        ("embed", "ollama/embed", _params("http://a:11434", 4)),
        ("alpha:7b", "ollama_chat/alpha:7b", _params("https://b", 1, "os.environ/TOKEN")),
        ("qwen", "openai/qwen", _params("http://v:8000/v1", 1, "os.environ/TOKEN")),
    ]
    assert settings["model_list"][1]["model_info"] == {"mode": "embedding"}


def _params(url: str, most: int, key: str | None = None) -> dict[str, Any]:
    params = {"api_base": url, "max_parallel_requests": most}
    return params if key is None else params | {"api_key": key}


async def test_key_of_openai_is_sent_to_no_server_of_the_fleet(client: Client) -> None:
    """LiteLLM sends OPENAI_API_KEY where a deployment has no key of its own."""
    await client._resources.db.write(fleets.hold, 4, [("other", None)])
    settings = yaml.safe_load(await client.fleet.file.export_to("litellm"))
    [other] = [each for each in settings["model_list"] if each["model_name"] == "other"]
    assert other["litellm_params"]["api_key"] == "none"


async def test_open_webui_gets_its_variables(client: Client, tmp_path: Path) -> None:
    (tmp_path / "openwebui.env").write_text(await client.fleet.file.export_to("openwebui"))
    assert dotenv_values(tmp_path / "openwebui.env", interpolate=False) == {
        "ENABLE_OLLAMA_API": "true",
        "OLLAMA_BASE_URLS": "http://a:11434;https://b",
        "ENABLE_OPENAI_API": "true",
        "OPENAI_API_BASE_URLS": "http://v:8000/v1;http://w:8000/v1",
        "OPENAI_API_KEYS": "${TOKEN};none",
    }


async def test_olla_gets_static_endpoints(client: Client) -> None:
    settings = yaml.safe_load(await client.fleet.file.export_to("olla"))
    assert settings["discovery"]["type"] == "static"
    endpoints = settings["discovery"]["static"]["endpoints"]
    assert [(each["name"], each["type"], each["priority"]) for each in endpoints] == [
        ("a no 1", "ollama", 103),
        ("b", "ollama", 100),
        ("v", "openai-compatible", 100),
        ("w", "openai-compatible", 100),
    ]
    assert all(each.keys() <= OLLA for each in endpoints)
    assert endpoints[2]["auth"] == {"type": "bearer", "token": "${TOKEN}"}


async def test_variables_are_read_back_by_import_env(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "fleet.env"
    path.write_text(await client.fleet.file.export_to("env"))
    async with Client(database_url=f"sqlite:///{tmp_path / 'second.db'}", environ={}) as second:
        await second.import_env([path])
        columns = ("name", "url", "api_version", "max_concurrent", "priority", "capabilities")
        own, other = [
            [
                tuple(getattr(row, name) for name in columns)
                for row in sorted(await each.servers.list(), key=lambda row: row.id)
                if row.is_active
            ]
            for each in (client, second)
        ]
    assert own == other


@pytest.mark.parametrize(
    ("tool", "lost"),
    [("litellm", "w"), ("openwebui", "b, w"), ("olla", "w"), ("env", "b, v, w")],
)
async def test_no_secret_is_written_and_what_is_left_out_is_said(
    client: Client, notes: list[str], tool: str, lost: str
) -> None:
    notes.clear()
    assert SECRET not in await client.fleet.file.export_to(tool)
    assert notes == [f"left out are the credentials of {lost}: give them to {tool} yourself"]


async def test_program_that_is_not_known_is_an_error(client: Client) -> None:
    with pytest.raises(InvalidInput) as caught:
        await client.fleet.file.export_to("nginx")
    assert caught.value.hint == "there are: litellm, openwebui, olla, env"
