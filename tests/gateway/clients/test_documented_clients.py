"""What docs/clients.md says of Python clients is run as it stands there."""

import contextlib
import gc
import io
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.gateway.clients.conftest import SAYS, Gateway

TEXT = (Path(__file__).parents[3] / "docs" / "clients.md").read_text(encoding="utf-8")
BLOCKS = dict(
    re.findall(r"^## (.+)\n(?:(?!^## )[\s\S])*?^```python\n([\s\S]*?)^```", TEXT, re.MULTILINE)
)
NOT_INSTALLED = {"LlamaIndex"}  # 300 MB


def test_every_client_of_the_issue_has_a_block_of_its_own() -> None:
    for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        name, _, rest = part.partition("\n")
        if name not in ("Others", "When it does not work"):
            assert "KEY" in "".join(re.findall(r"^```\w+\n([\s\S]*?)^```", rest, re.MULTILINE)), (
                name
            )


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_python_block_prints_what_the_model_says(gateway: Gateway, name: str) -> None:
    host = gateway.url.removeprefix("http://")
    text = BLOCKS[name].replace("127.0.0.1:8421", host)
    code = compile(text.replace("KEY", gateway.key).replace("MODEL", "alpha"), name, "exec")
    if name in NOT_INSTALLED:
        assert find_spec("llama_index") is None, "it is installed: run its block, too"
        return
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    gc.collect()  # the clients leave connections open, of which Python warns
    assert printed.getvalue() == f"{SAYS}\n"
