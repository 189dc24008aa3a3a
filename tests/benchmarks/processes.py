"""Whole processes, as a person starts them: what they print, and the time and memory that they
take.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ollama_admin.settings import DATABASE_URL
from tests.benchmarks.measuring import BenchmarkError

PROGRAM = str(Path(sys.executable).with_name("ollama-admin"))
PATIENCE = 60  # seconds after which a process is killed
KILLED = -9

_LAUNCHER = str(Path(__file__).with_name("launcher.py"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """`wall` and `cpu` (user and system) in ms, `peak` in MiB of resident memory."""

    code: int
    wall: float
    cpu: float
    peak: float
    stderr: str


def environ(database_url: str | None = None, **more: str) -> dict[str, str]:
    """The environment of a process: of what is meant for Ollama or this program the database alone,
    and nothing that is meant for Python, which may have been told not to keep what it compiles.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OLLAMA", "PYTHON"))
    }
    given = {} if database_url is None else {DATABASE_URL: database_url}
    return kept | given | {"COLUMNS": "80"} | more


def attempt(
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    stdout: Path = Path(os.devnull),
    memory: int = 0,
) -> Ran:
    """Run a command to its end, or for PATIENCE seconds, in at most `memory` bytes (0: as much as
    there is).
    """
    launch = [
        sys.executable,
        "-I",
        "-S",
        _LAUNCHER,
        str(PATIENCE),
        str(memory),
        str(stdout),
        *command,
    ]
    done = subprocess.run(launch, env=env, cwd="/", capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchmarkError(f"{command[0]} could not be started: {done.stderr}")
    return Ran(**json.loads(done.stdout), stderr=done.stderr)


def run(command: Sequence[str], env: Mapping[str, str], *, stdout: Path = Path(os.devnull)) -> Ran:
    """As `attempt`, and an error when the command fails."""
    ran = attempt(command, env, stdout=stdout)
    if ran.code != 0:
        raise BenchmarkError(f"{' '.join(command)} ended with {ran.code}: {ran.stderr}")
    return ran
