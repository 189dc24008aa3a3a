"""How the import of legacy `.env` files is shown: what each line became."""

from typing import TYPE_CHECKING

from ollama_admin.cli.output import Output

if TYPE_CHECKING:
    from ollama_admin.legacy.plan import PlanEntry
    from ollama_admin.services.import_env import ImportResult


def print_import(output: Output, imported: "ImportResult", *, dry_run: bool) -> None:
    """Print a line for each variable, then counts, then which lines of the files can go."""
    for entry in imported.entries:
        output.sentence(described(entry))
    _print_counts(output, imported, dry_run=dry_run)
    if imported.failed:
        output.note("values in conflict were not applied; let the file win with --update")
    if imported.deletable:
        _print_deletable(output, imported, dry_run=dry_run)


def _print_counts(output: Output, imported: "ImportResult", *, dry_run: bool) -> None:
    counts = imported.counts
    output.line(
        f"variables: {counts.seen}, of which {counts.imported} for servers, "
        f"{counts.conflicts} in conflict, {counts.skipped} ignored, "
        f"{counts.unknown} not understood, {counts.unrelated} not about Ollama"
    )
    if dry_run:
        output.line("nothing was changed (--dry-run)")
    else:
        output.line(f"values applied: {imported.applied}")


def _print_deletable(output: Output, imported: "ImportResult", *, dry_run: bool) -> None:
    if dry_run:
        output.line("these lines could be deleted already:")
    else:
        output.line("these lines can now be deleted:")
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
