"""A real PgBouncer in transaction mode before a PostgreSQL server: each transaction may get another
connection.
"""

import os
import shutil
import signal
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
CONFIG_FILE = "pgbouncer.ini"
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
server_login_retry = 1
logfile = {folder}/log
"""


class PgBouncer:
    """One that runs; `url` is that of the database through it."""

    def __init__(
        self, url: str, process: "subprocess.Popen[bytes]", port: int, folder: Path
    ) -> None:
        self.url = url
        self._process = process
        self._port = port
        self._folder = folder

    def lead_to(self, url: str) -> None:
        """Let it go on with the server of this database, as after a failover."""
        (self._folder / CONFIG_FILE).write_text(_config(url, self._port, self._folder), "utf-8")
        self._process.send_signal(signal.SIGHUP)


@contextmanager
def pgbouncer(url: str) -> Iterator[str]:
    """Start it in front of the server of a database; gives the URL of the database through it."""
    with pooled(url) as pooler:
        yield pooler.url


@contextmanager
def pooled(url: str) -> Iterator[PgBouncer]:
    """Start it in front of the server of a database."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        pytest.fail("these tests need PgBouncer: apt-get install pgbouncer")
    user: dict[str, Any] = nobody() if os.geteuid() == 0 else {}  # it refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="ollama-admin-pgbouncer-"))
    port = free_port()
    config = folder / CONFIG_FILE
    config.write_text(_config(url, port, folder), encoding="utf-8")
    for path in (folder, config):
        if user:
            os.chown(path, user["user"], user["group"])
    process = subprocess.Popen([program, "--quiet", str(config)], cwd="/", **user)
    through = urlunsplit(urlsplit(url)._replace(netloc=f"postgres@127.0.0.1:{port}"))
    try:
        _wait(process, through, folder / "log")
        yield PgBouncer(through, process, port, folder)
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
