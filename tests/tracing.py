"""Runs the program and writes down which of its functions were entered, in order.

    python -m tests.tracing FILE WORDS...

runs `ollama-admin WORDS...` in this process, and then writes a JSON list into FILE: for each entry
the file in the package, the function, and whether that was on the main thread. Generators count
when they begin, not when they go on.

    python -m tests.tracing FILE --client MODEL

writes down the second answer of one `Client`, when all modules are loaded.
"""

import asyncio
import dis
import json
import os
import subprocess
import sys
import threading
from functools import cache, partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import ollama_admin
from ollama_admin.client import Client

PACKAGE = f"{Path(ollama_admin.__file__).parent}{os.sep}"


@cache
def begins(code: CodeType) -> int:
    """Where a function begins, as `f_lasti` counts: what a generator goes on with is behind it."""
    return next(step.offset for step in dis.get_instructions(code) if step.opname == "RESUME")


class Entry(NamedTuple):
    file: str  # as ollama_admin/cli/servers.py
    function: str  # as Servers.list
    is_main: bool

    @property
    def is_step(self) -> bool:
        """Whether a reader would call it a step: `__init__` and its like are none."""
        return not self.function.rpartition(".")[2].startswith("__")


def traced(
    *words: str, folder: Path, environ: dict[str, str] | None = None, code: int = 0
) -> list[Entry]:
    """The entries of one run of the program, which must end with that exit code."""
    done, result = start(*words, folder=folder, environ=environ), folder / "trace.json"
    _, errors = done.communicate()
    assert done.returncode == code, errors
    return read(result)


def start(
    *words: str, folder: Path, environ: dict[str, str] | None = None
) -> "subprocess.Popen[str]":
    """Begin a run; when it has ended, `read` tells what is in `folder`/trace.json."""
    command = [sys.executable, "-m", "tests.tracing", str(folder / "trace.json"), *words]
    return subprocess.Popen(
        command,
        env={**os.environ, **(environ or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def read(result: Path) -> list[Entry]:
    return [Entry(*entry) for entry in json.loads(result.read_text())]


def _main(result: Path, words: list[str]) -> None:
    from ollama_admin.__main__ import main

    entries: list[Entry] = []

    def look(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        is_ours = event == "call" and code.co_filename.startswith(PACKAGE)
        if is_ours and frame.f_lasti <= begins(code) and code.co_name != "<module>":
            file = f"ollama_admin/{code.co_filename.removeprefix(PACKAGE)}"
            is_main = threading.current_thread() is threading.main_thread()
            entries.append(Entry(file, code.co_qualname.replace(".<locals>", ""), is_main))

    sys.argv[1:] = words
    run = main
    if words[0] == "--client":
        run = partial(asyncio.run, _answer_twice(words[1], entries))
    threading.setprofile(look)
    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(None)
        result.write_text(json.dumps(entries))


async def _answer_twice(model: str, entries: list[Entry]) -> None:
    async with Client() as client:
        await client.generate(prompt="hi", model=model)
        while not await client.receipts.list(limit=1):  # what is written beside belongs to that one
            await asyncio.sleep(0)
        entries.clear()
        await client.generate(prompt="hi", model=model)
        sys.setprofile(None)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
