"""Other processes that migrate a database: many at once, one that is killed on its way, one that
freezes.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 60

# Children of one process, which has loaded the modules; each prints what it applied. They start
# when the gate opens.
MIGRATE_AT_ONCE = """
import os, sys, traceback
from ollama_admin.settings import Settings
from ollama_admin.store.migrations import upgrade

def migrate():
    os.close(opener)
    os.read(gate, 1)
    applied = upgrade(Settings.read({}, sys.argv[1])).applied
    os.write(1, f"[{','.join(applied)}] ".encode())

gate, opener = os.pipe()
children = []
for _ in range(int(sys.argv[2])):
    children.append(os.fork())
    if not children[-1]:
        try:
            migrate()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
os.close(opener)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""

# The command itself, which begins when it is told to.
COMMAND = """
import runpy, sys
import ollama_admin.cli.app, ollama_admin.store.migrations

sys.argv = ["ollama-admin", "--database-url", sys.argv[1], "migrate"]
print("ready", flush=True)
sys.stdin.readline()
runpy.run_module("ollama_admin", run_name="__main__")
"""

# The same in children of one process, which has loaded the modules; each writes into files of its
# own. Prints how they ended.
COMMANDS_AT_ONCE = """
import json, os, sys
import ollama_admin.store.migrations
from ollama_admin.cli.app import main

def migrate(number):
    os.close(opener)
    os.read(gate, 1)
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{sys.argv[3]}/{number}.{name}", os.O_CREAT | os.O_WRONLY), stream)
    os.environ["OLLAMA_ADMIN_DATABASE_URL"] = sys.argv[1]
    sys.argv = ["ollama-admin", "-o", "json", "migrate"]
    main()

gate, opener = os.pipe()
children = []
for number in range(int(sys.argv[2])):
    children.append(os.fork())
    if not children[-1]:
        try:
            migrate(number)
        finally:
            sys.stdout.flush()
os.close(opener)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))
"""

# Reads lines of a URL and a number; the child for each is killed at that step: before or after a
# statement, or before a commit. Prints how it ended.
MIGRATE_AND_DIE = """
import os, signal, sys, traceback
from sqlalchemy import Engine, event
from ollama_admin.settings import Settings
from ollama_admin.store.migrations import upgrade

def die_at(step):
    left = iter(range(step))

    def count(*_):
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(Engine, name, count)

for line in sys.stdin:
    url, step = line.split()
    child = os.fork()
    if child == 0:
        try:
            die_at(int(step))
            upgrade(Settings.read({}, url))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

MIGRATE_AND_FREEZE = """
import os, signal, sys
from sqlalchemy import Engine, event
from ollama_admin.settings import Settings
from ollama_admin.store.migrations import upgrade

@event.listens_for(Engine, "after_cursor_execute")
def freeze(connection, cursor, statement, *_):
    if "CREATE TABLE ollama_servers" in statement:
        os.kill(os.getpid(), signal.SIGSTOP)

upgrade(Settings.read({}, sys.argv[1]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended."""

    code: int
    output: str
    errors: str


def migrate_at_once(url: str, count: int) -> list[str]:
    """Migrate in so many processes at the same time, none of which may fail; what those applied
    that did something.
    """
    ended = _ended(_start(sys.executable, "-c", MIGRATE_AT_ONCE, url, str(count)))
    assert ended.code == 0, ended.errors
    applied = ended.output.split()
    assert len(applied) == count
    return [revisions for revisions in applied if revisions != "[]"]


def run_command_at_once(url: str, count: int) -> list[Ended]:
    """Run `ollama-admin migrate` so many times, all let go when the last has loaded its modules."""
    processes = [_start(sys.executable, "-c", COMMAND, url) for _ in range(count)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return [_ended(process) for process in processes]


def fork_commands_at_once(url: str, count: int, folder: Path) -> list[Ended]:
    """The same, without loading the modules so many times."""
    ended = _ended(_start(sys.executable, "-c", COMMANDS_AT_ONCE, url, str(count), str(folder)))
    assert ended.code == 0, ended.errors
    texts = (
        (folder / f"{number}.{name}").read_text()
        for number in range(count)
        for name in ("out", "err")
    )
    return [
        Ended(code=code, output=output, errors=errors)
        for code, output, errors in zip(json.loads(ended.output), texts, texts, strict=False)
    ]


class Killer:
    """Migrates in a process that is killed at a chosen step."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def killed(self, url: str, step: int) -> bool:
        """Whether the migration was killed at the step; False when it had fewer and ended well."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{url} {step}\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        assert code in (0, -signal.SIGKILL)
        return code != 0


@contextmanager
def killer() -> Iterator[Killer]:
    process = _start(sys.executable, "-c", MIGRATE_AND_DIE)
    try:
        yield Killer(process)
    finally:
        assert _ended(process).code == 0


@contextmanager
def frozen_migration(url: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that stands still in the middle of its migration, holding the lock; unless killed,
    it then goes on.
    """
    process = _start(sys.executable, "-c", MIGRATE_AND_FREEZE, url)
    try:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        ended = _ended(process)
    assert ended.code in (0, -signal.SIGKILL), ended.errors


def _start(*command: str) -> "subprocess.Popen[str]":
    options: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    return subprocess.Popen(command, text=True, **options)


def _ended(process: "subprocess.Popen[str]") -> Ended:
    try:
        output, errors = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Ended(code=process.returncode, output=output, errors=errors)
