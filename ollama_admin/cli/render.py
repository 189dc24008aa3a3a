"""The printer of tables. In a pipe: no box, no colour, no cut cells."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from ollama_admin.cli.output import Output
from ollama_admin.domain.explanations import Candidate, Explanation
from ollama_admin.domain.models import DiscoverResult, Model, ModelGroup, ModelHolder
from ollama_admin.domain.servers import CheckResult, Server, ServerStatus
from ollama_admin.safe_text import safe_text

T = TypeVar("T")

WIDE = 120  # columns from which tables show more
PIPE_WIDTH = 10_000
GAP = 2  # spaces between columns
LEAST = 8  # characters that a shrinking column keeps
_SHRINKING = frozenset(
    ("NAME", "MODEL", "SERVER", "URL", "ON", "CAPABILITIES", "DEFAULT MODEL", "VALUE", "WHY")
)
_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_AGES = (
    (31_536_000, "year"),
    (2_592_000, "month"),
    (604_800, "week"),
    (86_400, "day"),
    (3_600, "hour"),
    (60, "minute"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout(Generic[T]):
    """How a list is shown: `more` are the columns for which only wide terminals have room."""

    headings: Sequence[str]
    more: Sequence[str] = ()
    cells: Callable[[T], Sequence[str | None]]


class Parts(Generic[T]):
    """A table of a list that comes in parts: each is printed when the next one is there, or the
    end.

    `layout` is told the first part, and whether that is all. `absence` is the note of an empty
    list.
    """

    def __init__(
        self, output: Output, absence: str, layout: Callable[[Sequence[T], bool], Layout[T]]
    ) -> None:
        self._output = output
        self._absence = absence
        self._layout = layout
        self._waiting: Sequence[T] = ()
        self._table: _Table | None = None
        self._cells: Callable[[T], Sequence[str | None]]

    def add(self, items: Sequence[T]) -> None:
        if items and self._waiting:
            self._print(is_all=False)
        self._waiting = items or self._waiting

    def end(self) -> None:
        if self._waiting:
            self._print(is_all=self._table is None)
        elif self._table is None:
            self._output.note(self._absence)

    def _print(self, *, is_all: bool) -> None:
        if self._table is None:
            layout = self._layout(self._waiting, is_all)
            self._table, self._cells = (
                _Table(self._output, layout.headings, layout.more),
                layout.cells,
            )
        self._table.print(map(self._cells, self._waiting))
        self._waiting = ()


def servers(output: Output) -> Parts[Server]:
    headings = ["ID", "NAME", "URL", "API", "USED", "STATE"]
    more = ["PRIORITY", "CAPABILITIES", "DEFAULT MODEL", "VERSION", "DISCOVERED"]
    layout = Layout(headings=headings, more=more, cells=_server_cells)
    return Parts(
        output, "no such servers; add one with: ollama-admin server add NAME URL", lambda *_: layout
    )


def _server_cells(server: Server) -> Sequence[str | None]:
    return (
        str(server.id),
        server.name,
        server.url,
        server.api_version,
        f"{server.slots_in_use}/{server.max_concurrent}",
        _state(server),
        str(server.priority),
        ", ".join(server.capabilities),
        server.default_model,
        server.version,
        age(server.last_discovered_at),
    )


def server(output: Output, found: Server) -> None:
    """Every field, one a line."""
    facts: list[tuple[str, object]] = [
        ("id", found.id),
        ("name", found.name),
        ("url", found.url),
        ("api version", found.api_version),
        ("state", _state(found)),
        ("capabilities", ", ".join(found.capabilities)),
        ("max concurrent", found.max_concurrent),
        ("slots in use", found.slots_in_use),
        ("priority", found.priority),
        ("default model", found.default_model),
        ("auth", found.auth_type),
        ("Ollama version", found.version),
        ("last error", found.last_error),
        ("last seen", _stamp(found.last_seen_at)),
        ("last discovered", _stamp(found.last_discovered_at)),
        ("created", _stamp(found.created_at)),
        ("updated", _stamp(found.updated_at)),
    ]
    for name, value in facts:
        output.line(f"{name:<16} {'-' if value in (None, '') else safe_text(str(value))}")


NO_MODELS = "no such models; read what servers have with: ollama-admin discover"


def models(output: Output) -> Parts[Model]:
    def layout(first: Sequence[Model], is_all: bool) -> Layout[Model]:
        # a long list has the column in any case: who knows what is still to come
        is_marked = not is_all or any(_is_off_pin(model.digest, model.pinned) for model in first)
        return Layout(
            headings=[
                "NAME",
                "SERVER",
                "DIGEST",
                *(["PIN"] if is_marked else []),
                "SIZE",
                "MODIFIED",
            ],
            more=["SEEN", "PARAMETERS", "QUANTIZATION", "CONTEXT", "CAPABILITIES"],
            cells=partial(_model_cells, is_marked=is_marked),
        )

    return Parts(output, NO_MODELS, layout)


def _model_cells(model: Model, *, is_marked: bool) -> Sequence[str | None]:
    return (
        model.name + ("" if model.is_available else " (vanished)"),
        model.server,
        _digest(model.digest),
        *((_pin_mark(model.pinned, model.digest),) if is_marked else ()),
        _size(model),
        age(model.modified_at),
        age(model.last_seen_at),
        model.parameter_size,
        model.quantization_level,
        None if model.context_length is None else str(model.context_length),
        ", ".join(model.capabilities or ()),
    )


def model_groups(output: Output) -> Parts[ModelGroup]:
    def layout(first: Sequence[ModelGroup], is_all: bool) -> Layout[ModelGroup]:
        is_marked = not is_all or any(
            _is_off_pin(p.digest, group.pinned) for group in first for p in group.servers
        )
        headings = ["NAME", "SERVERS", "BUILD", *(["PIN"] if is_marked else []), "ON"]
        return Layout(headings=headings, cells=partial(_group_cells, is_marked=is_marked))

    return Parts(output, NO_MODELS, layout)


def _group_cells(group: ModelGroup, *, is_marked: bool) -> Sequence[str | None]:
    return (
        group.name,
        str(len(group.servers)),
        f"{group.builds} builds differ" if group.builds > 1 else _digest(_only_digest(group)),
        *(
            (_pin_mark(group.pinned, *(place.digest for place in group.servers)),)
            if is_marked
            else ()
        ),
        ", ".join(_place(place, group) for place in group.servers),
    )


def checks(output: Output, found: Sequence[CheckResult]) -> None:
    rows = [
        (
            str(check.server),
            check.status,
            check.version,
            f"{check.ms} ms",
            check.error.code if check.error else None,
        )
        for check in found
    ]
    _table(output, ["SERVER", "STATUS", "VERSION", "TIME", "ERROR"], [], rows)
    _tell_errors(output, found)


def discovered(output: Output, results: Sequence[DiscoverResult]) -> None:
    if not results:
        output.note("no servers to ask; add one with: ollama-admin server add NAME URL")
        return
    rows = [
        (
            result.server.name,
            *(
                ("-",) * 4
                if result.error
                else map(
                    str,
                    (
                        len(result.added),
                        len(result.changed),
                        result.unchanged,
                        len(result.vanished),
                    ),
                )
            ),
            result.error.code if result.error else _pruned(result),
        )
        for result in results
    ]
    _table(output, ["SERVER", "ADDED", "CHANGED", "SAME", "VANISHED", "NOTE"], [], rows)
    for result in results:
        for change in result.changed:
            move = f"{_digest(change.before)} -> {_digest(change.after)}"
            output.note(f"{change.name} on {result.server} is another build now: {move}")
        for build in result.off_pin:
            shown = f"{_digest(build.digest)}, not the pinned {_digest(build.pinned)}"
            output.note(f"{build.name} on {result.server} is build {shown}")
    _tell_errors(output, results)


def explanation(output: Output, found: Explanation) -> None:
    rows = [
        (
            candidate.server.name or candidate.server.url,
            _answers(found, candidate),
            _digest(candidate.digest),
            None
            if candidate.max_concurrent is None
            else f"{candidate.slots_in_use}/{candidate.max_concurrent}",
            candidate.status,
            None if candidate.catalogue_age_s is None else _ago(candidate.catalogue_age_s),
            candidate.reason,
        )
        for candidate in found.candidates
    ]
    _table(output, ["SERVER", "ANSWERS", "DIGEST", "USED", "STATUS", "DISCOVERED", "WHY"], [], rows)
    if found.chosen is None:
        output.note("no server would answer")


def facts(output: Output, value: Any) -> None:
    """Every field of an object, one a line."""
    for field in fields(value):
        shown = getattr(value, field.name)
        text = ", ".join(shown) if isinstance(shown, tuple) else shown
        output.line(
            f"{field.name.replace('_', ' '):<16} "
            f"{'-' if text in (None, '') else safe_text(str(text))}"
        )


def table(
    output: Output,
    headings: Sequence[str],
    rows: Iterable[Sequence[str | None]],
    more: Sequence[str] = (),
) -> None:
    """Any other table."""
    _table(output, headings, more, rows)


def changed_server(output: Output, done: str, server: Server) -> None:
    """What became of a row, with what was learnt of the server if it was asked."""
    version = f", Ollama {server.version}" if server.version else ""
    state = f" ({server.status}{version})" if server.status is not ServerStatus.UNKNOWN else ""
    sentence(output, f"{done} server {server.id}, {server.name}: {server.url}{state}")


def sentence(output: Output, text: str) -> None:
    """One line that says what was done; names in it are made safe."""
    output.line(safe_text(text))


def age(time: datetime | None) -> str:
    """How long ago, in one unit."""
    if time is None:
        return "-"
    return _ago((datetime.now(UTC) - time).total_seconds())


class DiscoverProgress:
    """A bar on stderr while servers are asked; nothing when that is not a terminal."""

    def __init__(self, output: Output) -> None:
        # whatever FORCE_COLOR says
        console = Console(file=output.stderr, force_terminal=output.stderr.isatty())
        columns = (
            TextColumn("asking servers"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def start(self, total: int) -> None:
        self._progress.update(self._task, total=total)

    def result(self, result: DiscoverResult) -> None:
        self._progress.update(
            self._task, advance=1, description=_plain(safe_text(str(result.server)))[:30]
        )


def _tell_errors(output: Output, results: Iterable[CheckResult | DiscoverResult]) -> None:
    """Whole messages, which a table would cut."""
    for result in results:
        if result.error:
            output.note(
                result.error.message + (f"; {result.error.hint}" if result.error.hint else "")
            )


def _plain(text: str) -> str:
    """Text that rich does not read as markup."""
    return re.sub(r"\[", r"\\[", text)


def _table(
    output: Output,
    headings: Sequence[str],
    more: Sequence[str],
    rows: Iterable[Sequence[str | None]],
) -> None:
    _Table(output, headings, more).print(rows)


class _Table:
    """Prints columns `headings`, and `more` of them where there is room; a missing cell is a dash.

    On a narrow terminal only the columns in `_SHRINKING` lose characters; every other cell stays
    whole.
    """

    def __init__(self, output: Output, headings: Sequence[str], more: Sequence[str]) -> None:
        # whatever FORCE_COLOR says: a pipe gets whole cells and no escapes
        terminal = output.stdout.isatty()
        self._output = output
        self._console = Console(
            file=output.stdout, force_terminal=terminal, highlight=False, markup=False, emoji=False
        )
        if not self._console.is_terminal:
            self._console.width = PIPE_WIDTH
        self._shown = [*headings, *more] if self._console.width >= WIDE else list(headings)
        self._natural = [cell_len(heading) for heading in self._shown]  # widths; they only grow
        self._is_begun = False

    def print(self, rows: Iterable[Sequence[str | None]]) -> None:
        """Print rows, the first time below the headings."""
        cells = [
            [safe_text(cell) if cell else "-" for cell in row[: len(self._shown)]] for row in rows
        ]
        columns = zip(self._natural, zip(*cells, strict=True), strict=True) if cells else ()
        self._natural = [
            max(width, *map(cell_len, column)) for width, column in columns
        ] or self._natural
        drawn = Table(
            box=None,
            padding=(0, GAP, 0, 0),
            pad_edge=False,
            header_style="bold",
            show_header=not self._is_begun,
        )
        widths = _fitted(self._shown, self._natural, self._console.width)
        for heading, width in zip(self._shown, widths, strict=True):
            drawn.add_column(heading, no_wrap=True, overflow="ellipsis", width=width)
        for row in cells:
            drawn.add_row(*map(Text, row))
        with self._console.capture() as captured:
            self._console.print(drawn)
        for line in captured.get().splitlines():
            self._output.line(line.rstrip())
        self._is_begun = True


def _fitted(headings: Sequence[str], natural: Sequence[int], room: int) -> list[int]:
    """Widths that fit into `room`, taken from the widest shrinking column first."""
    widths = list(natural)
    shrinking = [index for index, heading in enumerate(headings) if heading in _SHRINKING]
    while sum(widths) + GAP * len(widths) > room:
        widest = max(shrinking, key=lambda index: widths[index], default=None)
        if widest is None or widths[widest] <= LEAST:
            break
        widths[widest] -= 1
    return widths


def _answers(found: Explanation, candidate: Candidate) -> str:
    if found.chosen is not None and found.chosen.server == candidate.server:
        return "yes"
    return "next" if candidate.eligible else "no"


def _state(server: Server) -> str:
    marks = [
        mark
        for mark, holds in (("default", server.is_default), ("inactive", not server.is_active))
        if holds
    ]
    return ", ".join([server.status, *marks])


def _digest(digest: str | None) -> str:
    return digest[:12] if digest else "-"


def _is_off_pin(digest: str | None, pinned: str | None) -> bool:
    return None not in (digest, pinned) and digest != pinned


def _pin_mark(pinned: str | None, *digests: str | None) -> str | None:
    """The pinned build where it is not the one that is listed."""
    if pinned is None or not any(digests):
        return None
    return (
        f"\u2260 {_digest(pinned)}"
        if any(_is_off_pin(digest, pinned) for digest in digests)
        else "same"
    )


def _place(place: ModelHolder, group: ModelGroup) -> str:
    """A server, with its build where builds differ, and marked where that is not the pinned one."""
    build = f" {_digest(place.digest)}" if group.builds > 1 else ""
    return f"{place.server}{build}" + (
        " \u2260 pin" if _is_off_pin(place.digest, group.pinned) else ""
    )


def _only_digest(group: ModelGroup) -> str | None:
    return next((place.digest for place in group.servers if place.digest), None)


def _pruned(result: DiscoverResult) -> str:
    return f"{result.pruned} pruned" if result.pruned else ""


def _size(model: Model) -> str:
    """Decimal units as Ollama prints them; a remote model has none worth telling."""
    if model.is_remote:
        return "remote"
    if model.size is None:
        return "-"
    for unit, name in _UNITS:
        if model.size >= unit:
            number = model.size / unit
            return f"{int(number)} {name}" if number >= 10 else f"{number:.1f} {name}"
    return f"{model.size} B"


def _ago(seconds: float) -> str:
    for length, unit in _AGES:
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def _stamp(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
