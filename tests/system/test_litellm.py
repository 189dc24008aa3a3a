"""`export --to litellm`, loaded by LiteLLM itself: it asks the servers of the fleet with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ollama_admin.simulator.model import SimulatedModel
from tests.cli.conftest import Serve, serve, sqlite_cli  # noqa: F401 (fixtures for here too)
from tests.cli.running import Cli

LITELLM = "litellm==1.110.2"
ASK = """
import json, sys, yaml
from litellm import Router

settings = yaml.safe_load(open(sys.argv[1]))
router = Router(model_list=settings["model_list"], num_retries=0)
messages = [{"role": "user", "content": "hi"}]
answers = {
    name: router.completion(model=name, messages=messages).choices[0].message.content
    for name in sorted({each["model_name"] for each in settings["model_list"]})
}
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def litellm_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has LiteLLM, which is too much for the other tests' own."""
    folder = tmp_path_factory.mktemp("litellm")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", LITELLM], check=True)
    return python


@pytest.mark.system
@pytest.mark.timeout(900)
def test_litellm_asks_the_servers_of_the_fleet(
    litellm_python: Path,
    sqlite_cli: Cli,  # noqa: F811
    serve: Serve,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOKEN", "sesame")
    one = serve(SimulatedModel("alpha:7b", says="I am alpha"))
    two = serve(SimulatedModel("beta:7b", says="I am beta"))
    sqlite_cli("server", "add", "one", one.url, "--auth", "bearer", "--secret-ref", "env:TOKEN")
    sqlite_cli("server", "add", "two", f"{two.url}/v1")
    assert sqlite_cli("discover").exit_code == 0
    config = tmp_path / "config.yaml"
    config.write_text(sqlite_cli("export", "--to", "litellm").stdout)
    ran = subprocess.run(
        [litellm_python, "-W", "ignore", "-c", ASK, config],
        capture_output=True,
        text=True,
        env=os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == {
        "alpha:7b": "I am alpha",
        "beta:7b": "I am beta",
    }
    [asked] = [each for each in one.requests() if each.path == "/api/chat"]
    assert asked.headers["authorization"] == "Bearer sesame"
