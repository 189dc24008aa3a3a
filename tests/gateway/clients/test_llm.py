"""The command `llm` with its plugin for Ollama, with the key in its URL and in its headers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.clients.conftest import SAYS, WRONG, Gateway
from tests.test_readme import blocks_of

# The command itself; to load it takes more than all that it is told here.
LLM = """
import json, sys
from llm.cli import cli
for words in json.loads(sys.argv[1]):
    cli(words, standalone_mode=False)
    print(end=chr(0), flush=True)
"""


def run(folder: Path, host: str, *commands: list[str]) -> tuple[list[str], str]:
    """What each command says, one after the other in one process, and what they say on stderr."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "LLM_USER_PATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", LLM, json.dumps(commands)],
        env=environ | {"OLLAMA_HOST": host},
        capture_output=True,
        text=True,
        timeout=50,
    )
    *said, rest = done.stdout.split("\0")
    assert (len(said), rest) == (len(commands), ""), done.stderr
    return said, done.stderr


@pytest.mark.parametrize("way", ["path", "password"])
def test_models_are_listed_and_asked(gateway: Gateway, tmp_path: Path, way: str) -> None:
    host = gateway.with_key if way == "path" else gateway.with_password
    ask = ["-m", "ollama/alpha:latest", "hi"]
    said, errors = run(tmp_path, host, ["ollama", "models"], ask, ["--no-stream", *ask])
    listed, asked, whole = said
    assert "alpha:latest" in listed, errors
    assert asked.strip() == SAYS, errors
    assert whole.strip() == SAYS, errors


def test_a_text_is_embedded(gateway: Gateway, tmp_path: Path) -> None:
    embed = ["embed", "-m", "ollama/emb:latest", "-c", "x"]
    (said,), errors = run(tmp_path, gateway.with_key, embed)
    assert len(json.loads(said)) == 3, errors


def test_a_wrong_key_ends_in_an_error(gateway: Gateway, tmp_path: Path) -> None:
    host = gateway.with_key.replace(gateway.key, WRONG)
    with pytest.raises(AssertionError, match="Unknown model"):
        run(tmp_path, host, ["-m", "ollama/alpha:latest", "hi"])


def test_the_documented_block_is_answered(gateway: Gateway, tmp_path: Path) -> None:
    [block] = blocks_of("docs/clients.md", "llm")
    block = block.replace("http://127.0.0.1:8421", gateway.url).replace("KEY", gateway.key)
    script = block.replace("MODEL", "alpha:latest")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {"PATH": path, "HOME": str(tmp_path), "LLM_USER_PATH": str(tmp_path)}
    asked = subprocess.run(
        ["/bin/sh", "-e", "-c", script], env=environ, capture_output=True, text=True, timeout=50
    )
    assert asked.stdout.strip() == SAYS, asked.stderr
