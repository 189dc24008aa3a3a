"""The files in `deploy/` say what the program takes: its commands, variables, paths and ports."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ollama_admin.settings import SETTINGS
from tests.api.service import Service
from tests.test_readme import parse

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "ollama-admin.yaml").read_text()))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
VARIABLES = {setting.variable for setting in SETTINGS}


def containers() -> Iterator[dict[str, Any]]:
    pod = MANIFESTS[0]["spec"]["template"]["spec"]
    yield from pod["initContainers"] + pod["containers"]


def test_the_image_is_made_of_files_that_are_there() -> None:
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in allowed, source


def test_the_image_serves_without_root() -> None:
    assert re.search(r"^USER 10001$", DOCKERFILE, re.MULTILINE)
    (command,) = re.findall(r"^CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)
    parse(yaml.safe_load(command))


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_a_service_of_compose_is_a_command_with_variables_that_there_are(name: str) -> None:
    service = COMPOSE["services"][name]
    if name == "database":
        return
    assert service["read_only"] is True
    ours = {variable for variable in service["environment"] if variable.startswith("OLLAMA")}
    assert ours <= VARIABLES
    if service["command"]:
        parse(service["command"])


def test_what_compose_mounts_is_there() -> None:
    for volume in COMPOSE["services"]["simulated"]["volumes"]:
        assert (DEPLOY / volume.split(":")[0]).is_file()


def test_a_container_of_kubernetes_is_a_command_without_rights() -> None:
    for container in containers():
        parse(container["args"])
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_commands_that_there_are(unit: Path) -> None:
    commands = re.findall(r"^ExecStart(?:Pre)?=(.+)$", unit.read_text(), re.MULTILINE)
    assert commands
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "/opt/ollama-admin/bin/ollama-admin"
        parse(words)
    documented = (DEPLOY / "systemd" / "ollama-admin.service").read_text()
    assert set(re.findall(r"OLLAMA_ADMIN_\w+", documented)) <= VARIABLES


def test_probes_are_answered_as_a_kubelet_asks(migrated_sqlite_file: Path) -> None:
    probes = [
        container[probe]["httpGet"]
        for container in containers()
        for probe in ("livenessProbe", "readinessProbe")
        if probe in container
    ]
    (checked,) = re.findall(r"127\.0\.0\.1:8421(/\w+)'", DOCKERFILE)
    assert checked in [probe["path"] for probe in probes]
    with (
        Service(f"sqlite:///{migrated_sqlite_file}") as service,
        service.client(headers={"Host": "10.1.2.3:8421"}) as client,
    ):
        for probe in probes:
            (host,) = probe["httpHeaders"]
            headers = {host["name"]: host["value"]}
            assert client.get(probe["path"], headers=headers).status_code == 200


def test_every_file_is_told_of_in_the_documentation() -> None:
    told = (ROOT / "docs" / "run-it.md").read_text()
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix != ".dockerignore":
            assert str(path.relative_to(ROOT)) in told, path
