"""The command `llm` with its plugin for Ollama, with the key in its URL and in its headers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.clients.conftest import SAYS, WRONG, Gateway

LLM = Path(sys.executable).with_name("llm")


def run(folder: Path, host: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "LLM_USER_PATH": str(folder)}
    environ |= {"OLLAMA_HOST": host, **more}
    command = [str(LLM), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=50)


@pytest.mark.parametrize("way", ["path", "password"])
def test_models_are_listed_and_asked(gateway: Gateway, tmp_path: Path, way: str) -> None:
    host = gateway.with_key if way == "path" else gateway.with_password
    listed = run(tmp_path, host, "ollama", "models")
    assert "alpha:latest" in listed.stdout, listed.stderr
    asked = run(tmp_path, host, "-m", "ollama/alpha:latest", "hi")
    assert asked.stdout.strip() == SAYS, asked.stderr
    whole = run(tmp_path, host, "-m", "ollama/alpha:latest", "--no-stream", "hi")
    assert whole.stdout.strip() == SAYS, whole.stderr


def test_a_text_is_embedded(gateway: Gateway, tmp_path: Path) -> None:
    done = run(tmp_path, gateway.with_key, "embed", "-m", "ollama/emb:latest", "-c", "x")
    assert len(json.loads(done.stdout)) == 3, done.stderr


def test_a_wrong_key_ends_in_an_error(gateway: Gateway, tmp_path: Path) -> None:
    host = gateway.with_key.replace(gateway.key, WRONG)
    assert run(tmp_path, host, "-m", "ollama/alpha:latest", "hi").returncode != 0
