"""Templates. Every value is made harmless twice: HTML is escaped, and characters that turn text
around or hide it are shown as what they are.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ollama_admin.safe_text import safe_text
from ollama_admin.web import words

FOLDER = Path(__file__).parent / "templates"


class Templates:
    """`known` are names that every template may use."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER, encoding="utf-8"),
            autoescape=True,
            auto_reload=False,
            finalize=_harmless,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
        )
        self._environment.globals.update(known, now=words.now)
        self._environment.filters.update(
            ago=words.ago,
            left=words.left,
            span=words.span,
            moment=words.moment,
            size=words.size,
            ms=words.ms,
            count=words.count,
            tokens_of=words.tokens_of,
            in_path=words.in_path,
            in_lines=in_lines,
        )

    async def html(self, name: str, values: Mapping[str, Any]) -> str:
        """A template with these values, put together beside the loop: it may be long."""
        return await asyncio.to_thread(self._render, name, values)

    def _render(self, name: str, values: Mapping[str, Any]) -> str:
        return self._environment.get_template(name).render(values)


def in_lines(text: str) -> Markup:
    """A text that keeps its line ends; everything else in it is made harmless."""
    lines = [escape(safe_text(line)) for line in text.split("\n")]
    return Markup("\n").join(lines)


def _harmless(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, Markup):
        return value
    return safe_text(str(value))  # of an object, too, whose text has foreign names in it
