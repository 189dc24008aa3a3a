"""A real PgBouncer in transaction mode before a PostgreSQL server: each transaction may get another
connection.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.postgres import free_port, nobody

START_SECONDS = 20
CONNECTIONS = 6  # to the database, for many more clients
CONFIG = """
[databases]
* = host={host} port={server_port} user={user} password={password}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 500
logfile = {folder}/log
"""


@contextmanager
def pgbouncer(url: str) -> Iterator[str]:
    """Start it in front of the server of a database; gives the URL of the database through it."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        pytest.fail("these tests need PgBouncer: apt-get install pgbouncer")
    user: dict[str, Any] = nobody() if os.geteuid() == 0 else {}  # it refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="ollama-admin-pgbouncer-"))
    port = free_port()
    config = folder / "pgbouncer.ini"
    config.write_text(_config(url, port, folder), encoding="utf-8")
    for path in (folder, config):
        if user:
            os.chown(path, user["user"], user["group"])
    process = subprocess.Popen([program, "--quiet", str(config)], cwd="/", **user)
    try:
        through = urlunsplit(urlsplit(url)._replace(netloc=f"postgres@127.0.0.1:{port}"))
        _wait(process, through, folder / "log")
        yield through
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def _config(url: str, port: int, folder: Path) -> str:
    server = urlsplit(url)
    return CONFIG.format(
        host=server.hostname,
        server_port=server.port,
        user=server.username,
        password=server.password,
        port=port,
        connections=CONNECTIONS,
        folder=folder,
    )


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(
                    f"PgBouncer did not start: {log.read_text() if log.exists() else 'no log'}"
                )
            time.sleep(0.02)
        else:
            return
