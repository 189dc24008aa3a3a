"""What the package imports is what pyproject.toml declares, and where it may be imported."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DISTRIBUTIONS = packages_distributions()
# only what is under these may need the extra `server`
SERVER_ROOMS = (
    "ollama_admin/api/",
    "ollama_admin/gateway/",
    "ollama_admin/web/",
    "ollama_admin/ollama/raw_",
    "ollama_admin/cli/service.py",  # the loop of `serve`
)
# loaded by others, by its name: the driver of SQLAlchemy, the loop and parser of uvicorn
# several distributions share this name
OTEL = {
    "opentelemetry.exporter": "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry.trace": "opentelemetry-api",
}
UNNAMED = {"uvloop", "httptools"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    return {normal(Requirement(text).name) for text in requirements}


def imports(path: Path) -> Iterator[str]:
    """The top-level names that a module imports, wherever in it; two levels of OpenTelemetry."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("opentelemetry."):
            yield ".".join(node.module.split(".")[:2])
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Constant) and node.value == "fastapi_offline":
            yield "fastapi_offline"  # whose files are read


def only(distributions: list[str]) -> str:
    (distribution,) = set(distributions)
    return distribution


def imported() -> dict[str, set[str]]:
    """The distributions that are imported, each with the files that do."""
    found: dict[str, set[str]] = {}
    for path in [*ROOT.glob("ollama_admin/**/*.py"), *ROOT.glob("migrations/**/*.py")]:
        for name in imports(path):
            if name in sys.stdlib_module_names or name == "ollama_admin":
                continue
            distribution = OTEL.get(name) or only(DISTRIBUTIONS[name])
            found.setdefault(normal(distribution), set()).add(str(path.relative_to(ROOT)))
    return found


def test_every_import_is_a_declared_dependency() -> None:
    base, extras = PROJECT["dependencies"], PROJECT["optional-dependencies"]
    known = declared(base) | declared(extras["server"]) | declared(extras["otel"])
    assert imported().keys() - known == set()


def test_every_declared_dependency_is_imported() -> None:
    base, extras = PROJECT["dependencies"], PROJECT["optional-dependencies"]
    wanted = declared(base) | declared(extras["server"]) | declared(extras["otel"])
    assert wanted - UNNAMED <= imported().keys() | UNNAMED


def test_the_extra_is_needed_by_the_server_alone() -> None:
    server = declared(PROJECT["optional-dependencies"]["server"])
    elsewhere = {
        path
        for name, paths in imported().items()
        if name in server
        for path in paths
        if not path.startswith(SERVER_ROOMS)
    }
    assert elsewhere == set()


def test_traces_are_made_in_one_place() -> None:
    otel = declared(PROJECT["optional-dependencies"]["otel"])
    places = {path for name, paths in imported().items() if name in otel for path in paths}
    assert places == {"ollama_admin/api/traces.py"}


def test_constraints_name_exact_versions_and_no_place() -> None:
    lines = [
        line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.+!-]+", line)] == []
    pinned = {normal(line.partition("==")[0]) for line in lines}
    extras = PROJECT["optional-dependencies"]
    wanted = declared(PROJECT["dependencies"]) | declared(extras["server"])
    assert wanted | declared(extras["dev"]) - {"ollama-admin"} <= pinned | {"ollama-admin"}
