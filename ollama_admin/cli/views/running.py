"""How `ps` is shown."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells, Wrong
from ollama_admin.cli.output import Output
from ollama_admin.cli.units import size, span
from ollama_admin.cli.views.servers import note_errors
from ollama_admin.cli.views.texts import text_of
from ollama_admin.domain.digests import short

if TYPE_CHECKING:
    from ollama_admin.domain.running import RunningModel, RunningResult

FOREVER = 10 * 365 * 86_400  # seconds; a model that stays longer is never let go of
HEADINGS = ["SERVER", "MODEL", "DIGEST", "SIZE", "GPU", "UNTIL", "USED"]
MORE = ["WAITING", "CONTEXT"]


def print_running(output: Output, results: "Sequence[RunningResult]") -> None:
    """Print a line for each model in memory, and one for each server without any."""
    if not results:
        output.note("no servers to ask; add one with: ollama-admin server add NAME URL")
        return
    print_table(output, HEADINGS, [row for result in results for row in _rows(result)], MORE)
    note_errors(output, results)


def print_screen(output: Output, results: "Sequence[RunningResult]", most: int) -> None:
    """Print as many lines as a screen takes, `most`; servers at rest are left out first."""
    rows = [row for result in results for row in _rows(result)]
    if len(rows) > most:
        most -= 1
        busy = [result for result in results if result.models or result.error or result.in_flight]
        rows = [row for result in busy for row in _rows(result)]
        rows += [row for result in results if result not in busy for row in _rows(result)]
    print_table(output, HEADINGS, rows[:most], MORE)
    if len(rows) > most:
        output.sentence(f"and {len(rows) - most} more lines")


def _rows(result: "RunningResult") -> Iterator[Cells]:
    used, waiting = f"{result.in_flight}/{result.max_concurrent}", text_of(result.waiting or None)
    if result.models:
        for model in result.models:
            yield (*_model(result, model), used, waiting, text_of(model.context_length))
        return
    what: str | None = None
    if result.error is not None:
        what = Wrong(result.error.code)
    elif result.models is None:
        what = "not told"
    yield (result.server.name, what, None, None, None, None, used, waiting, None)


def _model(result: "RunningResult", model: "RunningModel") -> Sequence[str | None]:
    return (
        result.server.name,
        model.name,
        short(model.digest),
        size(model.size),
        _gpu(model.gpu_share),
        _until(model.expires_at),
    )


def _gpu(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}".replace("%", " %")


def _until(time: datetime | None) -> str | None:
    """How long the model stays in memory, if nobody asks it."""
    if time is None:
        return None
    seconds = (time - datetime.now(UTC)).total_seconds()
    if seconds <= 0:
        return "ending"
    return "for ever" if seconds > FOREVER else span(seconds)
