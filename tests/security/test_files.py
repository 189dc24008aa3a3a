"""Files that hold secrets are created for their owner alone, whatever the umask, and never widened
afterwards.
"""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.settings import Settings
from ollama_admin.store import migrations
from ollama_admin.vault import new_key, write_key_file

UMASKS = [0o000, 0o077, 0o022]

# Runs the program; every file that Python itself creates, and every change of a mode, is told at
# the end.
WATCHED = """
import json, os, sys
umask, told, *words = sys.argv[1:]
os.umask(int(umask, 8))
created, changed, opened = [], [], os.open

def recorded(path, flags, mode=0o777, **more):
    if flags & os.O_CREAT:
        created.append([os.fsdecode(path), mode, bool(flags & os.O_EXCL)])
    return opened(path, flags, mode, **more)

def heard(event, args):
    if event in ("os.chmod", "os.fchmod"):
        changed.append([event, str(args[0])])
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        created.append([str(args[0]), 0o666, False])

os.open = recorded
sys.addaudithook(heard)
from ollama_admin.cli.app import main
sys.argv = ["ollama-admin", *words]
try:
    main()
finally:
    sys.addaudithook(lambda *_: None)
    with open(told, "w") as file:
        json.dump({"created": created, "changed": changed}, file)
"""

READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM ollama_servers").fetchall()
print(flush=True)
sys.stdin.read()
"""


def run(folder: Path, umask: int, *words: str, stdin: str = "") -> dict[str, Any]:
    """Run a command under the umask, with a database of its own below `data`; what it created and
    changed.
    """
    told = folder / "told.json"
    environ = os.environ | {"XDG_DATA_HOME": f"{folder}/data"}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, oct(umask), str(told), *words],
        env=environ,
        input=stdin,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(told.read_text())
    found["created"] = [entry for entry in found["created"] if entry[0] != str(told)]
    return found


def modes(folder: Path) -> dict[str, int]:
    """The permissions of everything below a folder, by path."""
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
        for path in folder.rglob("*")
    }


@contextmanager
def open_database(path: Path) -> Iterator[None]:
    """Somebody reads the database meanwhile, so that its log and index stay."""
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        umask=0,
    )
    assert reader.stdout is not None
    reader.stdout.readline()
    yield
    reader.communicate()


@pytest.mark.parametrize("umask", UMASKS, ids=oct)
def test_database_log_index_and_key_are_created_for_their_owner_alone(
    umask: int, tmp_path: Path
) -> None:
    add = [
        "server",
        "add",
        "one",
        "http://127.0.0.1:9",
        "--no-check",
        "--auth",
        "bearer",
        "--secret-stdin",
    ]
    first = run(tmp_path, umask, *add, stdin="token")
    with open_database(tmp_path / "data/ollama-admin/ollama-admin.db"):
        second = run(tmp_path, umask, "server", "update", "one", "--priority", "2")
        found = modes(tmp_path / "data")
    folders = {"ollama-admin": 0o700}
    files = dict.fromkeys(
        (
            "ollama-admin/ollama-admin.db",
            "ollama-admin/ollama-admin.db-wal",
            "ollama-admin/ollama-admin.db-shm",
            "ollama-admin/ollama-admin.db.key",
        ),
        0o600,
    )
    assert found == folders | files
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    for told in (first, second):
        assert told["changed"] == []
        assert all(mode == 0o600 for path, mode, _ in told["created"] if str(tmp_path) in path), (
            told
        )
    assert any(
        path.endswith("ollama-admin.db") and exclusive for path, _, exclusive in first["created"]
    )


@pytest.mark.parametrize("umask", UMASKS, ids=oct)
def test_a_rotated_key_is_created_for_its_owner_alone(umask: int, tmp_path: Path) -> None:
    add = [
        "server",
        "add",
        "one",
        "http://127.0.0.1:9",
        "--no-check",
        "--auth",
        "bearer",
        "--secret-stdin",
    ]
    run(tmp_path, umask, *add, stdin="token")
    before = (tmp_path / "data/ollama-admin/ollama-admin.db.key").read_text()
    told = run(tmp_path, umask, "secrets", "rotate")
    assert (tmp_path / "data/ollama-admin/ollama-admin.db.key").read_text() != before
    assert modes(tmp_path / "data")["ollama-admin/ollama-admin.db.key"] == 0o600
    assert told["changed"] == []
    assert all(mode == 0o600 for path, mode, _ in told["created"] if str(tmp_path) in path), told
    # nothing unfinished is left
    assert not [name for name in modes(tmp_path / "data") if name.count(".") > 2]


@pytest.mark.parametrize("umask", UMASKS, ids=oct)
def test_a_backup_is_created_for_its_owner_alone(umask: int, tmp_path: Path) -> None:
    settings = Settings.read({}, f"sqlite:///{tmp_path}/one.db")
    before = os.umask(umask)
    try:
        migrations.upgrade(settings)
        opened: list[int] = []
        real = os.open

        def recorded(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
            if flags & os.O_CREAT:
                opened.append(mode)
            return real(path, flags, mode, **more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "open", recorded)
            with migrations.open_migration_engine(settings, 5).connect() as connection:
                migrations._back_up(connection, settings.sqlite_path)
    finally:
        os.umask(before)
    assert modes(tmp_path)[f"one.db.bak-{migrations.status(settings).head}"] == 0o600
    assert set(opened) == {0o600}


@pytest.mark.parametrize("umask", UMASKS, ids=oct)
def test_a_key_file_gets_private_folders_however_deep(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_key_file(tmp_path / "a/b/c/one.key", [new_key()], replace=False)
    finally:
        os.umask(before)
    private = dict.fromkeys(("a", "a/b", "a/b/c"), 0o700) | {"a/b/c/one.key": 0o600}
    assert {name: mode for name, mode in modes(tmp_path).items() if name.startswith("a")} == private


def test_what_an_attacker_left_in_the_way_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    (tmp_path / f"one.key.{os.getpid()}").symlink_to(victim)
    write_key_file(tmp_path / "one.key", [new_key()], replace=False)
    assert victim.read_text() == "as it was"
    assert modes(tmp_path)["one.key"] == 0o600
    assert not (tmp_path / "one.key").is_symlink()


async def warnings(tmp_path: Path, environ: dict[str, str]) -> list[str]:
    async with Client(database_url=f"sqlite:///{tmp_path}/one.db", environ=environ) as client:
        report = await client.doctor()
    return [finding.text for finding in report.findings if finding.level == "warning"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660], ids=oct)
@pytest.mark.parametrize(
    "name", ["one.db", "one.db-wal", "one.db.key", "one.db.bak-0001", "given.key"]
)
async def test_doctor_warns_of_a_file_that_others_can_read(
    name: str, mode: int, tmp_path: Path
) -> None:
    environ: dict[str, str] = {}
    if name == "given.key":
        write_key_file(tmp_path / name, [new_key()], replace=False)
        environ = {"OLLAMA_ADMIN_SECRET_KEY_FILE": str(tmp_path / name)}
    async with Client(database_url=f"sqlite:///{tmp_path}/one.db", environ=environ) as client:
        await client.servers.add(
            name="one", url="http://127.0.0.1:9", is_active=False, headers={"X-A": "b"}
        )
        assert not [text for text in await warnings(tmp_path, environ) if "others" in text]
        path = tmp_path / name
        path.touch()
        path.chmod(mode)
        found = [text for text in await warnings(tmp_path, environ) if "others" in text]
    assert len(found) == 1, found
    assert str(path) in found[0]
    assert f"chmod 600 {path}" in found[0]
