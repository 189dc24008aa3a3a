"""Many commands at the same time, as processes."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Children of one process that has loaded the modules: to load them so many times would take longer
# than the commands. They start when the gate opens, and write into files of their own.
AT_ONCE = """
import json, os, sys
import ollama_admin.client, ollama_admin.ollama.http, ollama_admin.services.generate
import ollama_admin.store.listings, psycopg
from ollama_admin.cli.app import main

url, count, folder, words = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]

def run(number):
    os.close(opener)
    os.read(gate, 1)
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{folder}/{number}.{name}", os.O_CREAT | os.O_WRONLY), stream)
    os.environ["OLLAMA_ADMIN_DATABASE_URL"] = url
    sys.argv = ["ollama-admin", *words]
    main()

gate, opener = os.pipe()
children = []
for number in range(count):
    children.append(os.fork())
    if not children[-1]:
        try:
            run(number)
        finally:
            sys.stdout.flush()
os.close(opener)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    code: int
    output: str
    errors: str


def run_at_once(url: str, count: int, folder: Path, *words: str) -> list[Ended]:
    """How so many runs of a command ended that began at the same time."""
    command = [sys.executable, "-c", AT_ONCE, url, str(count), str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [
        Ended(
            code=code,
            output=(folder / f"{number}.out").read_text(),
            errors=(folder / f"{number}.err").read_text(),
        )
        for number, code in enumerate(json.loads(done.stdout))
    ]
