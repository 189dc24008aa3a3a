"""Checks an installed `ollama-admin` from outside its checkout: `python -m tests.installed PROGRAM
FOLDER`.

Runs `migrate` and one discovery of a simulated server, on SQLite and on PostgreSQL.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from ollama_admin.cli.manual import shared_files
from ollama_admin.simulator.model import SimulatedModel
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread
from tests.postgres import OwnPostgresServer


def check(program: str, folder: Path, database_url: str, server_url: str) -> None:
    """Bring a fresh database to head and discover one server with one model."""

    def run(*words: str) -> object:
        command = [program, "-o", "json", *words]
        environ = os.environ | {"OLLAMA_ADMIN_DATABASE_URL": database_url}
        done = subprocess.run(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    migrated = run("migrate")
    assert migrated["pending"] == [], migrated
    run("server", "add", "one", server_url)
    discovered = run("discover")
    assert discovered["results"][0]["added"] == ["alpha:latest"], discovered
    reply = run("generate", "--model", "alpha", "hi")
    assert reply["response"] == "I am alpha", reply


def check_shared_files(program: str) -> None:
    """The manual page and the completions are where shells look for them."""
    share = Path(program).parent.parent / "share"
    for path in shared_files():
        assert (share / path).read_text() == shared_files()[path], path
    print(f"installed: {', '.join(shared_files())}")


def main() -> None:
    program, folder = sys.argv[1], Path(sys.argv[2])
    check_shared_files(program)
    server = OwnPostgresServer()
    try:
        with FakeOllamaThread(FakeOllama(SimulatedModel("alpha"))) as thread:
            for database_url in (f"sqlite:///{folder / 'one.db'}", server.create_database()):
                check(program, folder, database_url, thread.url)
                print(f"installed: migrate, discover and generate on {database_url.split(':')[0]}")
    finally:
        server.close()


if __name__ == "__main__":
    main()
