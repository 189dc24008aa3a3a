"""What Python shows of the public objects: no value of this environment is in it."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import ollama_admin

CANARY = "canary-in-the-environment"
SHOW = """
import importlib, pydoc, sys
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    print(pydoc.plain(pydoc.render_doc(module)))
"""


def modules() -> list[str]:
    """Every module but the one that runs the program when it is imported."""
    found = pkgutil.walk_packages(ollama_admin.__path__, "ollama_admin.")
    return [module.name for module in found if module.name != "ollama_admin.__main__"]


def test_no_page_of_pydoc_shows_a_value_of_the_environment() -> None:
    """As where a default argument is `os.environ` itself."""
    environ = {
        "PATH": "/usr/bin:/bin",
        "OLLAMA_ADMIN_SECRET_KEY": CANARY,
        "OLLAMA_ADMIN_DATABASE_URL": f"postgresql://u:{CANARY}@nowhere/db",
    }
    shown = subprocess.run(
        [sys.executable, "-c", SHOW, *modules()],
        capture_output=True,
        env=environ,
        text=True,
        check=True,
    ).stdout
    assert "class Client" in shown
    assert "environ" in shown
    assert CANARY not in shown


@pytest.mark.parametrize("name", ollama_admin.__all__)
def test_no_default_of_a_public_signature_is_a_live_value(name: str) -> None:
    public = getattr(importlib.import_module("ollama_admin"), name)
    if not callable(public):
        return
    for parameter in inspect.signature(public).parameters.values():
        default = parameter.default
        assert (
            default is inspect.Parameter.empty
            or default is None
            or callable(default)
            or (isinstance(default, (str, int, float, bool, tuple)))
        ), parameter
