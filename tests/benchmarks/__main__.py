"""All benchmarks in one table. `README.md` beside this file says how each is measured."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks import (
    affinity,
    discovery,
    fleet_file,
    gateway,
    generation,
    registry,
    startup,
    streaming,
    streams,
    usage,
)
from tests.benchmarks.measuring import BenchmarkError, Group, Note, QueryPlan, Row, Told, table

GROUPS: dict[str, Group] = {
    "startup": startup.rows,
    "discovery": discovery.rows,
    "streaming": streaming.rows,
    "generation": generation.rows,
    "streams": streams.rows,
    "registry": registry.rows,
    "affinity": affinity.rows,
    "gateway": gateway.rows,
    "fleet-file": fleet_file.rows,
    "usage": usage.rows,
}
PACKAGES = ("ollama-admin", "sqlalchemy", "httpx", "typer", "pydantic")


def main() -> int:
    """Exit code: 0 whether bars hold or not, 1 where something could not be measured."""
    asked = _arguments()
    told: list[Told] = []
    began, failed = time.monotonic(), 0
    for name in asked.only or GROUPS:
        try:
            told.extend(_shown(name, GROUPS[name](asked.rounds)))
        except BenchmarkError as exc:
            failed += 1
            print(f"error: {name}: {exc}", file=sys.stderr)
    seconds = time.monotonic() - began
    _print(told, seconds)
    if asked.json:
        asked.json.write_text(json.dumps(_document(told, seconds), indent=2) + "\n")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results there")
    parser.add_argument(
        "--only", nargs="+", choices=GROUPS, metavar="NAME", help=f"some of: {', '.join(GROUPS)}"
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="rounds that are counted, of everything"
    )
    return parser.parse_args()


def _shown(name: str, told: Iterator[Told]) -> Iterator[Told]:
    """The same, with a line on stderr for each row while they come."""
    began = time.monotonic()
    print(f"{name} ...", file=sys.stderr)
    for one in told:
        if isinstance(one, Row):
            print("  " + "  ".join(cell for cell in one.cells if cell), file=sys.stderr)
        yield one
    print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)


def _print(told: Sequence[Told], seconds: float) -> None:
    rows = [one for one in told if isinstance(one, Row)]
    print(*table(rows), sep="\n")
    for note in (one for one in told if isinstance(one, Note)):
        print(f"note: {note.text}")
    _print_plans([one for one in told if isinstance(one, QueryPlan)])
    barred = [row for row in rows if row.holds is not None]
    held = sum(row.holds is True for row in barred)
    print(f"\n{held} of {len(barred)} bars hold; it took {seconds:.0f} s")


def _print_plans(plans: Sequence[QueryPlan]) -> None:
    heading = None
    for plan in plans:
        if heading != (plan.database, plan.work):
            heading = plan.database, plan.work
            print(f"\nquery plans, {plan.database}: {plan.work}")
        print(f"  {plan.short_statement}")
        print(*(f"    {line}" for line in plan.short_lines), sep="\n")


def _document(told: Sequence[Told], seconds: float) -> dict[str, Any]:
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in PACKAGES},
        "rows": [one.document() for one in told if isinstance(one, Row)],
        "notes": [one.text for one in told if isinstance(one, Note)],
        "plans": [one.document() for one in told if isinstance(one, QueryPlan)],
    }


if __name__ == "__main__":
    sys.exit(main())
