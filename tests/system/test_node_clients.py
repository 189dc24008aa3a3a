"""The official `ollama` and `openai` for JavaScript, from npm, against the gateway."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.clients.conftest import (  # noqa: F401 (fixtures for here too)
    CALL,
    PERSON,
    SAYS,
    THOUGHT,
    Gateway,
    gateway,
    running,
    upstream,
)
from tests.test_readme import sections_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

PACKAGES = ("ollama@0.6.4", "openai@6.49.0")
SCRIPT = Path(__file__).with_name("clients.mjs")


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"these tests need {name}: apt-get install nodejs npm")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the packages are installed, with the script beside them, which finds them there."""
    folder = tmp_path_factory.mktemp("node")
    command = [program("npm"), "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(
        [*command, "--prefix", str(folder), *PACKAGES], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    shutil.copy(SCRIPT, folder)
    return folder


@pytest.fixture
def told(gateway: Gateway, folder: Path) -> Any:  # noqa: F811
    """What the script prints."""
    command = [program("node"), str(folder / SCRIPT.name), gateway.url, gateway.key]
    done = subprocess.run([*command, gateway.with_key], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_clients_for_javascript_are_answered(told: Any) -> None:
    for way in ("byHeader", "byPath"):
        of_ollama = told[way]
        assert "alpha:latest" in of_ollama.pop("listed")
        assert of_ollama.pop("missing")["status"] == 404
        assert "/servers/NAME" in of_ollama.pop("deleted")["message"]
        assert of_ollama == {
            "shown": ["completion"],
            "generated": SAYS,
            "chat": SAYS,
            "streamed": SAYS,
            "called": CALL.arguments,
            "formed": PERSON,
            "thought": THOUGHT,
            "vectors": 2,
            "running": True,
            "pulled": "success",
        }
    for way in ("openai", "openaiByPath"):
        of_openai = told[way]
        assert "alpha:latest" in of_openai.pop("listed")
        missing = of_openai.pop("missing")
        assert (missing["status"], "nothing" in missing["message"]) == (404, True)
        assert of_openai == {
            "found": "org/space:Tag-1",
            "chat": SAYS,
            "streamed": SAYS,
            "called": CALL.arguments,
            "vectors": 3,
            "response": SAYS,
            "events": SAYS,
        }
    for wrong in (told["wrongKey"], told["wrongKeyOpenai"]):
        assert wrong["status"] == 401
        assert "the key is not known" in wrong["message"]


def test_the_documented_block_prints_what_the_model_says(
    gateway: Gateway,  # noqa: F811
    folder: Path,
) -> None:
    [block] = sections_of("docs/clients.md", "js")["ollama for JavaScript"]
    block = block.replace("http://127.0.0.1:8421", gateway.url).replace("KEY", gateway.key)
    script = folder / "documented.mjs"
    script.write_text(block.replace("MODEL", "alpha"))
    command = [program("node"), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == f"{SAYS}\n", done.stderr
