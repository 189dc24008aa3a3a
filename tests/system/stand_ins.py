"""Stands in for programs that docs/run-it.md types as root; copies have the names of those.

`MACHINE` is the folder that is the machine's root, `POSTGRES` the URL of its database server as the
one who may do everything, `SERVE_PORT` where `serve` is to listen.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import psycopg

MACHINE = Path(os.environ["MACHINE"])
PASSWORD = "the-same-one"  # what the page types


def sudo(*words: str) -> None:
    """As whoever calls it, who may write there."""
    command = words[2:] if words[0] == "-u" else words
    sys.exit(subprocess.run(command).returncode)


def apt_get(*words: str) -> None:
    """Everything is there."""
    assert words[:2] == ("install", "--yes")


def createuser(*words: str) -> None:
    """One whose password was typed."""
    assert words == ("--pwprompt", "ollama_admin")
    _execute(f"CREATE ROLE ollama_admin LOGIN PASSWORD '{PASSWORD}'")


def createdb(*words: str) -> None:
    assert words == ("--owner", "ollama_admin", "ollama_admin")
    _execute("CREATE DATABASE ollama_admin OWNER ollama_admin")


def _execute(statement: str) -> None:
    with psycopg.connect(os.environ["POSTGRES"], autocommit=True) as connection:
        connection.execute(statement)


def nginx(*words: str) -> None:
    """The real one, with the files of the machine."""
    program = next(path for path in ("/usr/sbin/nginx", "/sbin/nginx") if Path(path).exists())
    options = ["-p", str(MACHINE), "-e", f"{MACHINE}/nginx.log", "-c", f"{MACHINE}/nginx.conf"]
    sys.exit(subprocess.run([program, *options, *words]).returncode)


def systemctl(*words: str) -> None:
    match words:
        case ("daemon-reload",):
            pass
        case ("reload", "nginx"):
            nginx()
        case ("enable", "--now", name):
            _start(MACHINE / "etc/systemd/system" / f"{name}.service")


def _start(unit: Path) -> None:
    """What the unit and the files beside it say."""
    files = [unit] + sorted(unit.with_name(f"{unit.name}.d").glob("*.conf"))
    text = "".join(path.read_text() for path in files)
    [settings] = re.findall(r"^EnvironmentFile=(.+)$", text, re.MULTILINE)
    environ = os.environ | dict(map(_setting, Path(settings).read_text().splitlines()))
    for command in re.findall(r"^ExecStartPre=(.+)$", text, re.MULTILINE):
        subprocess.run(shlex.split(command), env=environ, check=True)
    command = re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)[-1]
    with (MACHINE / "serve.log").open("w") as log:
        started = subprocess.Popen(
            [*shlex.split(command), "--port", os.environ["SERVE_PORT"]],
            env=environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (MACHINE / "serve.pid").write_text(str(started.pid))


def _setting(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    return name, shlex.split(value)[0]


if __name__ == "__main__":
    globals()[Path(sys.argv[0]).name.replace("-", "_")](*sys.argv[1:])
