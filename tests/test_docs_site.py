"""The pages of the site: every document and everything of the program is on them, and links lead
somewhere. `make docs` makes the site of them.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import commands
from tests.test_readme import ROOT, anchor

BUILD = ROOT / "docs" / "build.py"
PICTURES = {path.name for path in (ROOT / "docs" / "images").iterdir()}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each page says, by its name."""
    folder = tmp_path_factory.mktemp("pages")
    command = [sys.executable, str(BUILD), str(folder), "--pages"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=folder)
    assert (ran.returncode, ran.stderr) == (0, "")
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.md")}


def beside(page: str, link: str) -> str:
    """Where a link of a page leads, as a path on the site."""
    return os.path.normpath(Path(page).parent / link)


def headings(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+ (.+)$", prose, re.MULTILINE)


def test_each_document_is_a_page(pages: dict[str, str]) -> None:
    """A new one needs a line in `FILES` of docs/build.py."""
    documents = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert documents | {"index.md", "ru/index.md"} <= pages.keys()


def test_a_page_says_what_its_document_says(pages: dict[str, str]) -> None:
    assert headings(pages["index.md"]) == headings((ROOT / "README.md").read_text())
    assert headings(pages["ru/keys.md"]) == headings((ROOT / "docs/ru/keys.md").read_text())


def test_every_command_has_its_help_on_the_site(pages: dict[str, str]) -> None:
    for words in commands():
        assert f"## ollama-admin {' '.join(words)}\n" in pages["reference-commands.md"]


@pytest.mark.parametrize("route", ["GET /api/servers", "PATCH /api/servers/{server_id}"])
def test_routes_are_on_the_site(pages: dict[str, str], route: str) -> None:
    assert f"## {route}\n" in pages["reference-api.md"]


def test_every_link_leads_to_a_heading_of_a_page(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        for image in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
            assert beside(name, image).removeprefix("images/") in PICTURES, (name, image)
        for path, fragment in re.findall(r"(?<!!)\[[^\]]*\]\(([^)#\s]*)#?([^)\s]*)\)", text):
            if path.startswith("http"):
                continue
            target = pages[beside(name, path) if path else name]
            if fragment:
                assert fragment in map(anchor, headings(target)), (name, path, fragment)
