"""The pages of the site: everything of the README and of the program is on them, and links lead
somewhere. `make docs` makes the site of them.
"""

import re
import subprocess
import sys

import pytest

from tests.cli.running import commands
from tests.test_readme import ROOT, anchor

BUILD = ROOT / "docs" / "build.py"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each page says, by its name."""
    folder = tmp_path_factory.mktemp("pages")
    command = [sys.executable, str(BUILD), str(folder), "--pages"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=folder)
    assert (ran.returncode, ran.stderr) == (0, "")
    return {path.name: path.read_text() for path in folder.glob("*.md")}


def headings(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+ (.+)$", prose, re.MULTILINE)


def test_each_section_of_the_readme_is_on_one_page(pages: dict[str, str]) -> None:
    sections = re.findall(r"^## (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    documents = {path.name for path in (ROOT / "docs").glob("*.md")}
    made = [
        heading
        for name, text in pages.items()
        if name not in documents and not name.startswith("reference")
        for heading in headings(text)
    ]
    for section in sections:
        is_title = made.count(section) == 2 and f"# {section}" in "\n".join(pages.values())
        assert made.count(section) == 1 or is_title, section


def test_each_document_is_a_page(pages: dict[str, str]) -> None:
    """A new one needs a line in `FILES` of docs/build.py."""
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= pages.keys()


def test_every_command_has_its_help_on_the_site(pages: dict[str, str]) -> None:
    for words in commands():
        assert f"## ollama-admin {' '.join(words)}\n" in pages["reference-commands.md"]


@pytest.mark.parametrize("route", ["GET /api/servers", "PATCH /api/servers/{server_id}"])
def test_routes_are_on_the_site(pages: dict[str, str], route: str) -> None:
    assert f"## {route}\n" in pages["reference-api.md"]


def test_every_link_leads_to_a_heading_of_a_page(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        for image in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
            assert (ROOT / "docs" / image).is_file(), (name, image)
        for path, fragment in re.findall(r"(?<!!)\[[^\]]*\]\(([^)#\s]*)#?([^)\s]*)\)", text):
            if path.startswith("http"):
                continue
            target = pages[path or name]
            if fragment:
                assert fragment in map(anchor, headings(target)), (name, path, fragment)
