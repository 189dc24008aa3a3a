"""The bar on stderr while servers are asked. It brings `rich.progress` with it."""

import re
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ollama_admin.cli.output import Output
from ollama_admin.domain.models import DiscoverResult
from ollama_admin.safe_text import safe_text

NAME_WIDTH = 30  # characters of a server's name


class DiscoverProgress:
    """A bar on stderr while servers are asked; nothing when that is not a terminal."""

    def __init__(self, output: Output) -> None:
        self._output = output
        # whatever FORCE_COLOR says
        console = Console(file=output.stderr, force_terminal=output.stderr.isatty())
        self._progress = Progress(
            TextColumn("asking servers"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> Self:
        self._output.has_progress = True
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._progress.stop()
        self._output.has_progress = False

    def start(self, total: int) -> None:
        """Say how many servers are asked."""
        self._progress.update(self._task, total=total)

    def result(self, result: DiscoverResult) -> None:
        """Count a server that has answered, or failed."""
        name = _without_markup(safe_text(str(result.server)))[:NAME_WIDTH]
        self._progress.update(self._task, advance=1, description=name)


def _without_markup(text: str) -> str:
    """Text that rich does not read as markup."""
    return re.sub(r"\[", r"\\[", text)
