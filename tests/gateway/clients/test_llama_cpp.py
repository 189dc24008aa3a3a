"""A real llama.cpp behind the gateway: its /v1 as it is, asked by the official clients."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import llama_server
from tests.api.service import TOKEN, Service

SENTENCE = "I am llama behind the gateway"
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def url(migrated_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("llama")
    path = shutil.copy(migrated_sqlite_file, folder / "one.db")
    with (
        llama_server.serve(folder, model_id="lla", sentence=SENTENCE) as server,
        Service(f"sqlite:///{path}") as service,
    ):
        row = {"name": "lla", "url": server.url, "api_version": "v1"}
        assert service.ask("POST", "/api/servers", row).status_code == 201
        assert service.ask("POST", "/api/discover").json()["failed"] == 0
        yield service.url


def test_openai_is_answered_whole_and_in_pieces(url: str) -> None:
    from openai import NotFoundError, OpenAI

    with OpenAI(base_url=f"{url}/v1", api_key=TOKEN, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["lla"]
        answer = client.chat.completions.create(model="lla", messages=HI)
        assert (answer.choices[0].message.content or "").strip() == SENTENCE
        stream = client.chat.completions.create(model="lla", messages=HI, stream=True)
        said = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        assert "".join(said).strip() == SENTENCE
        text = client.completions.create(model="lla", prompt="hi").choices[0].text
        assert text.strip() == SENTENCE
        with pytest.raises(NotFoundError, match="nothing"):
            client.chat.completions.create(model="nothing", messages=HI)


def test_ollama_is_answered_by_translation(url: str) -> None:
    import ollama

    with ollama.Client(f"{url}/k/{TOKEN}") as client:
        assert (client.chat("lla", HI).message.content or "").strip() == SENTENCE
        pieces = [piece.message.content or "" for piece in client.chat("lla", HI, stream=True)]
        assert "".join(pieces).strip() == SENTENCE
