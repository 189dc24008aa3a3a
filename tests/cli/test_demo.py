"""`ollama-admin demo`"""

import os
import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import Spawn
from tests.cli.running import Cli, Ran


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def commands(ran: Ran) -> list[list[str]]:
    return [
        shlex.split(line)[2:]
        for line in ran.stdout.splitlines()
        if line.startswith("$ ollama-admin ")
    ]


def test_demo_shows_the_whole_job_and_leaves_nothing(
    temporary: Path, spawn: Spawn, tmp_path: Path
) -> None:
    ran = spawn(
        "demo", environ={"OLLAMA_ADMIN_DATABASE_URL": f"sqlite:///{tmp_path / 'mine.db'}"}
    ).ended()
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert "SIMULATED" in ran.stdout.splitlines()[0]
    assert commands(ran) == [
        ["import-env", "--discover"],
        ["server", "list"],
        ["models"],
        ["generate", "--model", "qwen3-vl:8b", "Say hello"],
        ["generate", "--model", "qwen3-vl:32b", "Say hello"],
        ["pin", "set", "qwen3-vl:8b"],
        ["generate", "--model", "qwen3-vl:8b", "Say hello"],
        ["discover"],
        ["generate", "--model", "llama3.2:3b", "--explain"],
        ["receipts", "list"],
    ]
    assert "\nHello! This is qwen3-vl:8b, the model that was named.\n" in ran.stdout
    assert ran.stdout.count("This is llama3.2:3b") == 1  # by the gateway, where it was asked for
    assert "\n$ curl -sS http://127.0.0.1:" in ran.stdout
    assert '"model":"llama3.2:3b"' in ran.stdout
    assert "Another build" not in ran.stdout
    assert "nothing was sent to it" in ran.stdout
    assert "qwen3-vl:8b on ollama-1 is now another build" in ran.stdout
    assert (
        "error: no active server has model 'qwen3-vl:32b'\nhint: nearest: qwen3-vl:8b\n"
        in ran.stdout
    )
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "mine.db").exists()


def test_kept_database_is_used_as_the_demo_says(
    temporary: Path, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = spawn("demo", "--keep").ended()
    assert ran.exit_code == 0
    lines = [line.strip() for line in ran.stdout.splitlines()]
    [export] = [line for line in lines if line.startswith("export OLLAMA_ADMIN_DATABASE_URL=")]
    [url] = shlex.split(export.partition("=")[2])
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", url)
    assert "ollama-admin server list" in lines
    assert len(Cli().json("server", "list").data) == 2
    assert {model["name"] for model in Cli().json("models").data} == {"qwen3-vl:8b", "llama3.2:3b"}
    [removal] = [line for line in lines if line.startswith("Remove it with: rm -r ")]
    assert shlex.split(removal)[-1] == str(next(temporary.iterdir()))


def test_interrupted_demo_leaves_nothing(temporary: Path, spawn: Spawn) -> None:
    process = spawn("demo")
    process.until_stdout(b"$ ollama-admin import-env")
    process.interrupt()
    ran = process.ended()
    assert ran.exit_code == 130
    assert "Traceback" not in ran.stderr
    assert list(temporary.iterdir()) == []


def test_demo_whose_reader_leaves_ends_and_leaves_nothing(temporary: Path, spawn: Spawn) -> None:
    mine, theirs = os.pipe()
    process = spawn("demo", stdout=theirs)
    os.close(theirs)
    with os.fdopen(mine) as reader:
        while "import-env" not in reader.readline():
            pass
    ran = process.ended()
    assert ran.exit_code == 141
    assert "Traceback" not in ran.stderr
    assert list(temporary.iterdir()) == []
