"""The step of the demo that asks by HTTP: `serve`, and `curl` as an OpenAI client would ask it."""

import asyncio
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from ollama_admin.errors import DemoFailed

KEY = "key-of-the-demo"
PATIENCE = 30.0  # seconds
_LISTENING = b"listening on "


async def ask_gateway(
    say: Callable[[str], None], environ: Mapping[str, str], folder: Path, model: str
) -> None:
    """Ask the model by the gateway; DemoFailed where another one answers, or none."""
    if find_spec("uvicorn") is None or shutil.which("curl") is None:
        say("(left out: it needs curl, and the packages of pip install '.[server]')")
        return
    async with _served(environ, folder) as url:
        say(f"\n$ OLLAMA_ADMIN_API_TOKEN={KEY} ollama-admin serve")
        body = {"model": model, "messages": [{"role": "user", "content": "Say hello"}]}
        words = ["curl", "-sS", f"{url}/v1/chat/completions", "-H", f"Authorization: Bearer {KEY}"]
        words += ["-d", json.dumps(body)]
        say(f"$ {shlex.join(words)}")
        said = await _output(words, folder)
        say(said)
        if f'"model":"{model}"' not in said:
            raise DemoFailed("the gateway did not answer with the model that was named")


@asynccontextmanager
async def _served(environ: Mapping[str, str], folder: Path) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ollama_admin",
        "serve",
        "--port",
        "0",
        cwd=folder,
        env=dict(environ) | {"OLLAMA_ADMIN_API_TOKEN": KEY},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            yield await _url_of(process)
    except TimeoutError as exc:
        raise DemoFailed("the gateway did not start, or did not answer") from exc
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()


async def _url_of(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None  # noqa: S101 (it was asked for)
    async for line in process.stderr:
        _, found, rest = line.partition(_LISTENING)
        if found:
            return rest.partition(b",")[0].decode()
    raise DemoFailed("the gateway did not start")


async def _output(words: list[str], folder: Path) -> str:
    """What a command prints; no proxy and no `.curlrc` stands between it and this machine."""
    environ = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder)}
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, env=environ
    )
    said, _ = await process.communicate()
    return said.decode().strip()
