"""Rotations in other processes: many at once, and one that is killed at a chosen step."""

import subprocess
import sys
from typing import IO, Self

SECONDS = 60

# Reads lines of a number; the child for each is killed at that step: before a statement or a
# commit, before a file of keys is opened, moved or removed. Prints how it ended.
ROTATE_AND_DIE = """
import asyncio, os, signal, sys, traceback
from sqlalchemy import Engine, event
from ollama_admin.client import Client

def die_at(step):
    left = iter(range(step))

    def count(*_):
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(name, arguments):
        if name in ("open", "os.rename", "os.link", "os.remove") and ".key" in str(arguments):
            count()

    event.listen(Engine, "before_cursor_execute", count)
    event.listen(Engine, "commit", count)
    sys.addaudithook(watch)

async def rotate():
    async with Client() as client:
        await client.secrets.rotate()

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            die_at(int(line))
            asyncio.run(rotate())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Rotations:
    """Rotates the secrets of the database and the key that the environment names."""

    def __enter__(self) -> Self:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen([sys.executable, "-c", ROTATE_AND_DIE], text=True, **pipes)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=SECONDS)

    def dying_at(self, step: int) -> int:
        """How the one ended that is killed at the step: -9, or 0 when it had fewer."""
        _pipe(self._process.stdin).write(f"{step}\n")
        _pipe(self._process.stdin).flush()
        return int(_pipe(self._process.stdout).readline())


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
