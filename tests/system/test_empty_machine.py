"""`docs/run-it.md` is typed, from an empty machine to the answer that OpenAI's client gets."""

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.postgres import OwnPostgresServer, free_port
from tests.system import nginx
from tests.system.shell import typed
from tests.test_readme import ROOT, blocks_of, sections_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

PAGE, SECTION = "docs/run-it.md", "From an empty machine"
NAMES = ("sudo", "apt-get", "createuser", "createdb", "nginx", "systemctl")
HOST = "models.example.com"
LOOKUP = f"""
import socket
look_up = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **named: look_up(
    "127.0.0.1" if host == "{HOST}" else host, *more, **named)
"""


class Machine:
    """A folder that stands for the root of a machine, with a checkout in it and programs that stand
    in for those that need a real one.
    """

    def __init__(self, folder: Path, postgres: OwnPostgresServer) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("serve", "nginx", "first", "second")}
        self._postgres = postgres
        for path in ("bin", "opt", "etc/systemd/system", "etc/nginx/conf.d", "etc/ssl"):
            (folder / path).mkdir(parents=True)
        for name in NAMES:
            program = folder / "bin" / name
            program.write_text(
                f"#!{sys.executable}\n" + (ROOT / "tests/system/stand_ins.py").read_text()
            )
            program.chmod(0o755)
        nginx.written(folder, f"include {folder}/etc/nginx/conf.d/*.conf;")
        # what `pip install` would put there
        (folder / "opt/ollama-admin").symlink_to(sys.prefix)
        for path in (ROOT / "deploy").rglob("*"):
            if path.is_file():
                copy = folder / "checkout" / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(self.here(path.read_text()))

    def here(self, text: str) -> str:
        """The text with the paths and ports of this machine."""
        text = re.sub(r"/(?=(?:etc|opt)/)", f"{self.folder}/", text)
        text = text.replace("/usr/local/bin/", f"{self.folder}/bin/")
        text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{self.ports['nginx']} ssl")
        text = text.replace(f"{HOST}:443", f"{HOST}:{self.ports['nginx']}")
        text = text.replace(f"https://{HOST}", f"https://{HOST}:{self.ports['nginx']}")
        text = text.replace("127.0.0.1:5432", f"127.0.0.1:{self._postgres.port}")
        text = text.replace("127.0.0.1:8421", f"127.0.0.1:{self.ports['serve']}")
        text = text.replace("11434", f"{self.ports['first']}")
        return text.replace("11435", f"{self.ports['second']}")

    def type(self, script: str, **environ: str) -> str:
        machine = {
            "PATH": f"{self.folder}/bin{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "MACHINE": str(self.folder),
            "POSTGRES": self._postgres.url,
            "SERVE_PORT": str(self.ports["serve"]),
        }
        return typed(script, self.folder / "checkout", machine | environ)

    def close(self) -> None:
        """End what was started."""
        for name in ("serve.pid", "nginx.pid", "simulated.pid"):
            with suppress(FileNotFoundError, ProcessLookupError):
                os.kill(int((self.folder / name).read_text()), signal.SIGTERM)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with OwnPostgresServer() as postgres:
        made = Machine(tmp_path, postgres)
        yield made
        made.close()


def test_an_empty_machine_serves(machine: Machine) -> None:
    """But for the block that installs the program: what it installs is linked."""
    blocks = [machine.here(block) for block in blocks_of(PAGE, SECTION)]
    database, install, *service, simulated, servers, ask = blocks
    assert "pip install '.[server]'" in install
    assert simulated.endswith("deploy/simulated.py &\n")
    machine.type(database + "".join(service))
    started = f"exec >simulated.log 2>&1\n{simulated}echo $! > {machine.folder}/simulated.pid\n"
    machine.type(started)
    wait_for(machine.ports["second"])
    wait_for(machine.ports["serve"])
    shown = machine.type(servers)
    assert "no problems found" in shown
    [key] = re.findall(r"^oadm_\S+$", shown, re.MULTILINE)
    assert '"llama3.2:3b"' in machine.type(ask.replace("oadm_...", key))
    [example] = sections_of(PAGE, "python")[SECTION]
    program = machine.folder / "ask.py"
    program.write_text(LOOKUP + machine.here(example).replace('"KEY"', repr(key)))
    trusted = {"SSL_CERT_FILE": f"{machine.folder}/etc/ssl/{HOST}.pem"}
    said = machine.type(f"{sys.executable} {program}", **trusted)
    assert said == "Hello! This is llama3.2:3b.\n"


def wait_for(port: int) -> None:
    """Until something listens there."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    pytest.fail(f"nothing listens on port {port}")
