"""How the import of legacy `.env` files is shown: a line for each server, and what is left."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from ollama_admin.cli.output import Output

if TYPE_CHECKING:
    from ollama_admin.legacy.servers import PlanEntry
    from ollama_admin.services.import_env import ImportResult

# the mark of a server, and the colour it is shown in
MARKS = {"+": "32", "~": "33", "=": "2", "!": "31"}
SHOWN_KINDS = ("ignored", "unknown")
_HIDDEN = "********"


def print_import(
    output: Output, imported: "ImportResult", *, dry_run: bool, is_refused: bool
) -> None:
    """Print the servers, what was not understood, errors and counts; `-v` adds every line of the
    files. After an import, also print which lines of the files can go.
    """
    _print_plan(output, imported)
    for error in imported.errors:
        output.error(error)
    if is_refused:
        output.note("nothing was imported; --skip-errors imports the rest")
    _print_counts(output, imported)
    if dry_run:
        output.line("nothing was changed (--dry-run)")
    if dry_run or is_refused:
        return
    output.line(f"values applied: {imported.applied}")
    if any(entry.state == "conflict" for entry in imported.entries):
        output.note("conflicting values were not applied; --update lets the file win")
    if imported.deletable:
        _print_deletable(output, imported)


def _print_plan(output: Output, imported: "ImportResult") -> None:
    for name, entries in _by_server(imported.entries).items():
        _print_server(output, name, entries)
    for entry in imported.entries:
        if entry.server is None and entry.kind in SHOWN_KINDS:
            output.coloured(f"? {described(entry)}", "33")
    if output.verbose:
        for entry in imported.entries:
            output.sentence(f"  {described(entry)}")


def _by_server(entries: "Sequence[PlanEntry]") -> "dict[str, list[PlanEntry]]":
    servers: dict[str, list[PlanEntry]] = {}
    for entry in entries:
        if entry.server is not None:
            servers.setdefault(entry.server, []).append(entry)
    return servers


def _print_server(output: Output, name: str, entries: "list[PlanEntry]") -> None:
    """Print a server with all that the files say of it, and below it what is not as they say."""
    kept = [entry for entry in entries if entry.state in ("new", "unchanged", "conflict")]
    told: dict[str, PlanEntry] = {}
    for entry in kept:
        told.setdefault(entry.field or "", entry)
    words = [_mark(told), name, *filter(None, map(_word, _ordered(told)))]
    if told.keys() & {"auth_type", "auth_config.token", "auth_config.key", "auth_config.password"}:
        words.append(_credential(told))
    words.append(f"[{_places(kept)}]")
    output.coloured("  ".join(words), MARKS[words[0]])
    for entry in entries:
        if entry.state == "conflict" or (entry.why and "replaces" in entry.why):
            output.coloured(f"    {described(entry)}", MARKS["!"])
        elif entry.kind in SHOWN_KINDS:
            output.sentence(f"    {described(entry)}")


def _mark(told: "dict[str, PlanEntry]") -> str:
    states = {entry.state.value for entry in told.values()}
    if "name" in told and told["name"].state == "new" and told["url"].state == "new":
        return "+"
    if "conflict" in states:
        return "!"
    return "~" if "new" in states else "="


def _ordered(told: "dict[str, PlanEntry]") -> "Iterator[PlanEntry]":
    fields = (
        "url api_version is_default is_active default_model capabilities max_concurrent priority"
    )
    for field in fields.split():
        if field in told:
            yield told[field]
    yield from (entry for field, entry in told.items() if field.startswith("headers."))


def _word(entry: "PlanEntry") -> str | None:
    """One value of a server, as short as it can be understood."""
    value = entry.value
    match entry.field or "":
        case "is_default":
            return "default"
        case "is_active":
            return "active" if value else "inactive"
        case "default_model":
            return f"model {value}"
        case "max_concurrent":
            return f"limit {value}"
        case "priority":
            return f"priority {value}"
        case field if field.startswith("headers."):
            return f"{field.removeprefix('headers.')}: {_HIDDEN}"
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value)


def _credential(told: "dict[str, PlanEntry]") -> str:
    """The kind of a credential, who it is for, and never the secret."""
    parts = {field.removeprefix("auth_config."): entry.value for field, entry in told.items()}
    subject = parts.get("username") or parts.get("header_name")
    secret = f"{subject}/{_HIDDEN}" if subject else _HIDDEN
    return f"{parts.get('auth_type') or 'secret'} {secret}"


def _places(entries: "Sequence[PlanEntry]") -> str:
    """The lines that tell of a server, as in `.env:18-22,31`."""
    places = []
    for file, group in groupby(entries, lambda entry: entry.file):
        of_file = list(group)
        lines = sorted({entry.line for entry in of_file if entry.line is not None})
        if file is None:
            names = ", ".join(dict.fromkeys(entry.variable for entry in of_file))
            places.append(f"environment: {names}")
        elif lines:
            places.append(f"{file}:{','.join(_ranges(lines))}")
        else:
            places.append(file)
    return " ".join(places)


def _ranges(lines: Sequence[int]) -> Iterator[str]:
    for _, group in groupby(enumerate(lines), lambda pair: pair[1] - pair[0]):
        run = [line for _, line in group]
        yield str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"


def _print_counts(output: Output, imported: "ImportResult") -> None:
    counts = imported.counts
    output.line(
        f"variables: {counts.seen}, of which {counts.imported} for servers, "
        f"{counts.conflicts} in conflict, {counts.errors} not readable, {counts.skipped} ignored, "
        f"{counts.unknown} not understood, {counts.unrelated} not about Ollama"
    )


def _print_deletable(output: Output, imported: "ImportResult") -> None:
    output.line("you can delete these lines once your programs ask ollama-admin:")
    for file, line, variable in imported.deletable:
        output.sentence(f"  {_spot(file, line)} {variable}")


def described(entry: "PlanEntry") -> str:
    """One line of the plan: where it stands, what becomes of it, and why."""
    text = f"{_spot(entry.file, entry.line):<10} {entry.state:<10} {entry.variable}"
    if entry.server and entry.field:
        text += f" -> {entry.server}: {entry.field}"
    if isinstance(entry.value, tuple):
        text += f" = {', '.join(entry.value)}"
    elif entry.value is not None:
        text += f" = {entry.value}"
    if entry.why:
        text += f" ({entry.why})"
    return text


def _spot(file: str | None, line: int | None) -> str:
    """Where a variable stands."""
    if file is None:
        return "environment"
    return file if line is None else f"{file}:{line}"
