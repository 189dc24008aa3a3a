"""nginx in front of what is tested."""

import os
import shutil
import socket
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_AROUND = """
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
}}
"""


def written(folder: Path, http: str) -> Path:
    """A configuration with this in its block `http`; all that nginx writes is in the folder."""
    # else its workers could not read the folder
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(_AROUND.format(folder=folder, user=user, http=http), encoding="utf-8")
    return config


@contextmanager
def running(folder: Path, http: str, sockets: Collection[socket.socket]) -> Iterator[None]:
    """It takes over sockets that listen already: no port can be lost to somebody else, and there is
    nothing to wait for.
    """
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        pytest.fail("these tests need nginx: apt-get install nginx-light")
    log = folder / "error.log"
    command = [program, "-p", str(folder), "-e", str(log), "-g", "daemon off;"]
    numbers = [opened.fileno() for opened in sockets]
    environ = {**os.environ, "NGINX": "".join(f"{number};" for number in numbers)}
    config = written(folder, http)
    with subprocess.Popen([*command, "-c", config], env=environ, pass_fds=numbers) as process:
        try:
            yield
            assert process.poll() is None, log.read_text(encoding="utf-8")
        finally:
            process.terminate()
