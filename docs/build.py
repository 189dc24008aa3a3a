"""Builds the site: `make docs`. Pages are the README, taken apart by its headings, the files beside
this one, and a reference that is made from `--help` and the OpenAPI document.

    python docs/build.py FOLDER          the site
    python docs/build.py FOLDER --pages  its pages in Markdown alone, without MkDocs
"""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from ollama_admin.api.app import create_app
from ollama_admin.cli.manual import helps
from ollama_admin.client import Client
from ollama_admin.domain.callers import OWNER
from ollama_admin.gateway.limits import Limits

ROOT = Path(__file__).parent.parent
# pages of the README, and the headings that each is made of; what is in none is on the last one
PAGES = {
    "start": ("Start in five minutes", ("Five minutes with your own servers",)),
    "promise": (
        "The promise and its proof",
        ("Which server answers", "Groups", "Which build answered", "Pins", "How a command runs"),
    ),
    "limits": ("Limits", ("Limits",)),
    "keys": ("Keys", ("Keys", "Audit", "Receipts")),
    "secrets": ("Secrets and certificates", ("Secrets", "Certificates and proxies of a server")),
    "fleet": (
        "Models on many servers",
        ("Models on many servers", "What is going on", "Differences", "The fleet as a file"),
    ),
    "database": ("Databases", ("PostgreSQL", "Copies and backups", "Migrations in CI")),
    "python": ("From Python", ("From Python",)),
    "commands": ("Commands and settings", ("Commands", "Settings", "Exit codes", "Errors")),
    "more": ("Troubleshooting and more", ("One URL for programs", "Troubleshooting")),
}
# the files of this folder in the order of the site; those that are not there are left out
FILES = {
    "gateway.md": "The gateway",
    "clients.md": "Clients",
    "web.md": "Web pages",
    "as-code.md": "The fleet as a file",
    "metrics.md": "Metrics, logs and traces",
    "run-it.md": "Run it",
    "api.md": "REST API by example",
    "layouts.md": "Legacy .env files",
    "architecture.md": "Architecture",
}
REFERENCE = {"reference-commands.md": "Every command", "reference-api.md": "Every route"}
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def write_pages(folder: Path) -> dict[str, str]:
    """Write the pages; their titles by file, in the order of the site."""
    folder.mkdir(parents=True, exist_ok=True)
    head, sections = readme()
    homes = {heading: home_of(heading) for heading in sections}
    places = {anchor(line): homes[name] for name in sections for line in lines(name, sections)}
    placed = {"index": head + sections.pop("Try it", "")}
    for page, (title, _) in PAGES.items():
        texts = [text for heading, text in sections.items() if homes[heading] == page]
        placed[page] = f"# {title}\n\n" + "".join(texts)
    for page, text in placed.items():
        (folder / f"{page}.md").write_text(linked(text, places))
    for name in present():
        (folder / name).write_text(linked((ROOT / "docs" / name).read_text(), places))
    if (ROOT / "docs" / "images").is_dir():
        shutil.copytree(ROOT / "docs" / "images", folder / "images", dirs_exist_ok=True)
    (folder / "reference-commands.md").write_text(commands_reference())
    (folder / "reference-api.md").write_text(api_reference())
    titles = {"index.md": "ollama-admin"} | {f"{page}.md": PAGES[page][0] for page in PAGES}
    return titles | {name: FILES[name] for name in present()} | REFERENCE


def present() -> list[str]:
    return [name for name in FILES if (ROOT / "docs" / name).is_file()]


def readme() -> tuple[str, dict[str, str]]:
    """What stands before the first heading, and each section with its heading."""
    text = (ROOT / "README.md").read_text().replace("[По-русски](README.ru.md)\n\n", "")
    bare = _FENCE.sub(lambda block: re.sub(r"\S", "x", block[0]), text)
    starts = [match.start() for match in _SECTION.finditer(bare)]
    ends = starts[1:] + [len(text)]
    sections = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    return text[: starts[0]], {section[3 : section.index("\n")]: section for section in sections}


def home_of(heading: str) -> str:
    """The page that a section of the README is on."""
    if heading == "Try it":
        return "index"
    return next((page for page, (_, names) in PAGES.items() if heading in names), "more")


def lines(heading: str, sections: dict[str, str]) -> list[str]:
    """The headings in a section, its own among them."""
    return re.findall(r"^#+ (.+)$", _FENCE.sub("", sections[heading]), re.MULTILINE)


def anchor(heading: str) -> str:
    """The fragment of a heading, as GitHub and the site make it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def linked(text: str, places: dict[str, str]) -> str:
    """The text with links that lead where its targets are on the site; those to files that are
    not on it are text.
    """

    def lead(match: re.Match[str]) -> str:
        words, target = match.groups()
        path, _, fragment = target.partition("#")
        if path in ("", "README.md", "../README.md") and fragment in places:
            return f"[{words}]({places[fragment]}.md#{fragment})"
        name = path.removeprefix("docs/")
        if name in present() or name.startswith("images/") or path.startswith("http") or not path:
            return f"[{words}]({target.removeprefix('docs/')})"
        return words

    return re.sub(r"\[([^\[\]]*)\]\(([^)\s]+)\)", lead, text)


def commands_reference() -> str:
    """The help of every command."""
    parts = ["# Every command\n", "Made from `ollama-admin COMMAND --help`.\n"]
    for words, text in helps():
        parts.append(f"## {words}\n\n```text\n{text.rstrip()}\n```\n")
    return "\n".join(parts)


def api_reference() -> str:
    """Every route of the REST API, with what it takes and answers."""
    client = Client(database_url="sqlite:///not-opened.db", environ={})
    document = create_app(client, Limits(), OWNER).openapi()
    parts = ["# Every route\n", "Made from `/openapi.json`, which `/docs` of a `serve` shows.\n"]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            parts.append(_route(method.upper(), path, route))
    return "\n".join(parts)


def _route(method: str, path: str, route: dict[str, Any]) -> str:
    text = route.get("description") or route.get("summary") or ""
    rows = [
        f"| `{one['name']}` | {one['in']} | {_cell(one.get('description', ''))} |"
        for one in route.get("parameters", ())
    ]
    taken = ""
    if rows:
        taken = "\n".join(["| Parameter | In | |", "|---|---|---|", *rows]) + "\n\n"
    answers = ", ".join(
        f"{status} {_cell(answer.get('description', ''))}".strip()
        for status, answer in route["responses"].items()
    )
    return f"## {method} {path}\n\n{text}\n\n{taken}Answers: {answers}.\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def build(folder: Path) -> None:
    """Write the site; any warning is an error."""
    import logging

    from mkdocs.commands.build import build as build_site
    from mkdocs.config import load_config

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    pages = folder / "pages"
    nav = [{title: name} for name, title in write_pages(pages).items()]
    config = load_config(
        str(ROOT / "mkdocs.yml"),
        docs_dir=str(pages),
        site_dir=str(folder / "site"),
        nav=nav,
        strict=True,
    )
    build_site(config)


if __name__ == "__main__":
    where = Path(sys.argv[1])
    if "--pages" in sys.argv:
        write_pages(where)
    else:
        build(where)
