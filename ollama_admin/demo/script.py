"""The demo: the real commands, run one after another against two simulated servers.

Each command is printed as it is typed and runs as a process of its own, so that what is shown is
what a reader gets.
"""

import asyncio
import errno
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from ollama_admin.demo.gateway import ask_gateway
from ollama_admin.errors import DemoFailed
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import SimulatedServer

Say = Callable[[str], None]

PIPE_CLOSED = 141  # how a command ends that has lost its reader, which is ours too

QWEN = SimulatedModel(
    "qwen3-vl:8b",
    says="Hello! This is qwen3-vl:8b, the model that was named.",
    capabilities=("completion", "tools", "vision"),
    context_length=262144,
    size=6_140_000_000,
    family="qwen3vl",
    parameter_size="8.8B",
    quantization_level="Q4_K_M",
)
ANOTHER_QWEN = replace(QWEN, build="another", digest="", says="Another build of qwen3-vl:8b.")
LLAMA = SimulatedModel(
    "llama3.2:3b",
    says="Hello! This is llama3.2:3b.",
    capabilities=("completion", "tools"),
    context_length=131072,
    size=2_020_000_000,
    family="llama",
    parameter_size="3.2B",
    quantization_level="Q4_K_M",
)


def run(say: Say, *, keep: bool) -> None:
    """Play the demo; `keep` leaves its folder and says how to go on."""
    folder = Path(tempfile.mkdtemp(prefix="ollama-admin-demo-"))
    try:
        asyncio.run(_play(say, folder))
        if keep:
            _say_how_to_go_on(say, folder)
        _say_what_is_next(say)
    finally:
        if not keep:
            shutil.rmtree(folder)


async def _play(say: Say, folder: Path) -> None:
    async with AsyncExitStack() as stack:
        general = await stack.enter_async_context(SimulatedServer(QWEN, LLAMA))
        small = await stack.enter_async_context(SimulatedServer(LLAMA))
        say("This demo talks to two SIMULATED Ollama servers on this machine; no model runs.")
        say(f"Database: {folder / 'demo.db'} (SQLite)")
        (folder / ".env").write_text(_legacy_env(general.url, small.url), encoding="utf-8")
        step = _Step(say, folder)
        say("\n# A legacy .env names two servers, and one model for everybody:")
        say((folder / ".env").read_text(encoding="utf-8").rstrip())
        say("\n# Move it into the database:")
        await step("import-env", "--discover")
        say("\n# What there is:")
        await step("server", "list")
        await step("models")
        say(
            "\n# OLLAMA_MODEL in the environment says llama3.2:3b, OLLAMA_HOST a server that does "
            "not exist."
        )
        say("# The model that is named answers:")
        await step("generate", "--model", "qwen3-vl:8b", "Say hello")
        say("\n\n# A model that no server has is an error, and nothing is pulled:")
        await step("generate", "--model", "qwen3-vl:32b", "Say hello", expect=3)
        say("\n# A pin says which build a name stands for:")
        await step("pin", "set", "qwen3-vl:8b")
        general.point("qwen3-vl:8b", ANOTHER_QWEN)
        say(
            "\n# Now somebody puts another build under that name on the server. It does not answer:"
        )
        await step("generate", "--model", "qwen3-vl:8b", "Say hello", expect=6)
        say("\n# Discovery reports it:")
        await step("discover")
        say("\n# Which server would answer for another model, and why no other:")
        await step("generate", "--model", "llama3.2:3b", "--explain")
        say("\n# Programs ask one URL, as they would ask Ollama, OpenAI or Anthropic:")
        await ask_gateway(say, step.environ, folder, "llama3.2:3b")
        say("\n# What became of each request, without prompts and answers:")
        await step("receipts", "list")


def _legacy_env(general: str, small: str) -> str:
    return (
        f"OLLAMA_URL_1={general}/v1\nOLLAMA_CAPABILITIES_1=general,vision\n"
        "OLLAMA_MAX_CONCURRENT_1=2\n"
        f"OLLAMA_URL_2={small}\nOLLAMA_MODEL=llama3.2:3b\nOLLAMA_KEEP_ALIVE=5m\n"
    )


class _Step:
    """Runs one command as a reader would, with an environment that tries to interfere."""

    def __init__(self, say: Say, folder: Path) -> None:
        self._say = say
        self._folder = folder
        self.environ = _hostile(os.environ, folder)

    async def __call__(self, *words: str, expect: int = 0) -> None:
        self._say(f"\n$ ollama-admin {shlex.join(words)}")
        sys.stdout.flush()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ollama_admin",
            *words,
            cwd=self._folder,
            env=self.environ,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.STDOUT,
        )
        code = await process.wait()
        if code == PIPE_CLOSED:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if code != expect:
            raise DemoFailed(f"the step ended with exit code {code}, not {expect}")


def _hostile(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    return dict(environ) | {
        "OLLAMA_ADMIN_DATABASE_URL": _database_url(folder),
        "OLLAMA_MODEL": "llama3.2:3b",
        "OLLAMA_HOST": "http://127.0.0.1:9",
    }


def _database_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'demo.db'}"


def _say_what_is_next(say: Say) -> None:
    say("\nNext, with a server of yours (after `. .venv/bin/activate`, if it was `make demo`):")
    say("  ollama-admin server add first http://localhost:11434")
    say("  ollama-admin discover")
    say("  ollama-admin generate --model NAME 'Say hello'")


def _say_how_to_go_on(say: Say, folder: Path) -> None:
    say("\nThe simulated servers are gone; the database is kept. Use it with:")
    say(f"  export OLLAMA_ADMIN_DATABASE_URL={shlex.quote(_database_url(folder))}")
    say("  ollama-admin server list")
    say(f"Remove it with: rm -r {shlex.quote(str(folder))}")
