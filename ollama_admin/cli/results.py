"""How commands end that can partly succeed."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import typer

from ollama_admin.cli.context import Shell
from ollama_admin.cli.output import Output
from ollama_admin.documents import results as results_document
from ollama_admin.errors import AdminError

PARTLY = 7


class ServerResult(Protocol):
    """What came of asking one server."""

    @property
    def error(self) -> AdminError | None: ...


R = TypeVar("R", bound=ServerResult)


def end_with_results(
    shell: Shell,
    results: Sequence[R],
    view: Callable[[Output, Sequence[R]], None],
    *,
    is_one_named: bool,
) -> None:
    """Print what came of asking several servers, and exit 7 if one of them failed.

    Where exactly one server was asked for by name, its failure is raised as the command's own.
    """
    errors = [result.error for result in results if result.error]
    if errors and is_one_named:
        raise errors[0]
    if shell.output.json:
        shell.output.data(results_document(results, len(errors)))
    else:
        view(shell.output, results)
    end(has_failures=bool(errors))


def end(*, has_failures: bool) -> None:
    """Exit 7 if a part of the work failed."""
    if has_failures:
        raise typer.Exit(PARTLY)
