"""Builds the site: `make docs`. Pages are the README and the files beside this one, in English and
in Russian, and a reference that is made from `--help` and the OpenAPI document.

    python docs/build.py FOLDER          the site
    python docs/build.py FOLDER --pages  its pages in Markdown alone, without MkDocs
"""

import os
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
DOCS = ROOT / "docs"
# the files of this folder in the order of the site; a namesake in ru/ is the same in Russian
FILES = {
    "start.md": "First steps",
    "promise.md": "The promise and its proof",
    "limits.md": "Limits",
    "fleet.md": "The fleet",
    "as-code.md": "The fleet as a file",
    "serve.md": "One URL for programs",
    "gateway.md": "The gateway",
    "clients.md": "Clients",
    "keys.md": "Keys, audit and receipts",
    "secrets.md": "Secrets and certificates",
    "metrics.md": "Metrics, logs and traces",
    "database.md": "Databases",
    "run-it.md": "Run it",
    "python.md": "From Python",
    "api.md": "REST API by example",
    "commands.md": "Commands and settings",
    "troubleshooting.md": "Troubleshooting",
    "layouts.md": "Legacy .env files",
    "architecture.md": "Architecture",
}
REFERENCE = {"reference-commands.md": "Every command", "reference-api.md": "Every route"}
RUSSIAN = "По-русски"  # what the part of the site is called
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^)\s]+)\)")


def write_pages(folder: Path) -> list[dict[str, Any]]:
    """Write the pages; what the site's menu shows, in its order."""
    pages = sources()
    for page, source in pages.items():
        target = folder / page
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(linked(source, page, pages), encoding="utf-8")
    shutil.copytree(DOCS / "images", folder / "images", dirs_exist_ok=True)
    (folder / "reference-commands.md").write_text(commands_reference(), encoding="utf-8")
    (folder / "reference-api.md").write_text(api_reference(), encoding="utf-8")
    titles = {"index.md": "ollama-admin"} | FILES | REFERENCE
    menu: list[dict[str, Any]] = [{title: page} for page, title in titles.items()]
    russian = [{title_of(pages[page]): page} for page in pages if page.startswith("ru/")]
    return menu + [{RUSSIAN: russian}]


def sources() -> dict[str, Path]:
    """The file that each page is made of, by the page's path on the site."""
    english = {"index.md": ROOT / "README.md"} | {name: DOCS / name for name in FILES}
    russian = {"ru/index.md": ROOT / "README.ru.md"}
    for name in FILES:
        if (DOCS / "ru" / name).is_file():
            russian[f"ru/{name}"] = DOCS / "ru" / name
    return english | russian


def title_of(source: Path) -> str:
    return source.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def linked(source: Path, page: str, pages: dict[str, Path]) -> str:
    """The text of a file, with links that lead to pages; those to files that are on no page are
    text.
    """
    places = {path: place for place, path in pages.items()}

    def lead(match: re.Match[str]) -> str:
        words, target = match.groups()
        path, hash_sign, fragment = target.partition("#")
        if path.startswith("http") or not path:
            return match[0]
        file = (source.parent / path).resolve()
        place = places.get(file)
        if file.parent == DOCS / "images":
            place = f"images/{file.name}"
        if place is None:
            return words
        relative = os.path.relpath(place, Path(page).parent)
        return f"[{words}]({relative}{hash_sign}{fragment})"

    return _LINK.sub(lead, source.read_text(encoding="utf-8"))


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
    nav = write_pages(pages)
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
