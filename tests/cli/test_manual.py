"""The manual page and the completions that the wheel holds say what the program does."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ollama_admin.cli.manual import manual, shared_files
from tests.cli.running import commands
from tests.test_readme import ROOT

ORDERS = {".TH", ".SH", ".SS", ".nf", ".fi"}


def test_every_command_is_in_the_manual() -> None:
    said = manual().replace("\\-", "-")
    for words in commands():
        assert f".SS ollama-admin {' '.join(words)}\n" in said


def test_no_line_of_a_help_is_an_order_to_roff() -> None:
    found = {line.split(" ")[0] for line in manual().splitlines() if line[:1] in (".", "'")}
    assert found == ORDERS


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_the_completion_that_the_program_answers(shell: str) -> None:
    (script,) = [text for path, text in shared_files().items() if path.startswith(shell)]
    assert f"complete_{shell}" in script
    assert "_OLLAMA_ADMIN_COMPLETE" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_what_the_build_needs_is_copied_into_the_image() -> None:
    copied = re.findall(r"^COPY (.+)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    assert any("hatch_build.py" in line for line in copied)
    assert Path(ROOT, "hatch_build.py").is_file()
