"""Makes small changes to the modules that decide, one at a time, and tells which no test notices.

    make mutate
    .venv/bin/python -m tests.mutation [MODULE ...]

Fails when more than one in twenty goes unnoticed, or one for which `survivors.toml` has no reason.
A changed module is in the memory of a forked process only: no file is touched.
"""

import ast
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from coverage import CoverageData

from tests.mutation.changes import Change, changes

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "ollama_admin"
WORKERS = 2
BAR = 20  # of so many changes one may survive
LONGEST = 300  # seconds for the tests of one change; `PYTEST` says how long one test may hang
PYTEST = (
    *("-q", "-p", "no:cacheprovider", "--timeout", "20"),
    *("-m", "not chaos and not system", "-k", "not postgresql"),  # once is enough
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # of what `HEAVY` has loaded
)
COVERAGE = ("--cov", "--cov-context=test", "--cov-report=", "--cov-fail-under=0")
HEAVY = (
    "alembic",
    "cryptography.fernet",
    "httpx",
    "hypothesis",
    "psycopg",
    "sqlalchemy",
    "typer.testing",
)

SLOTS = ("services/test_slots.py", "services/test_generate_slots.py")
GENERATE = (*SLOTS, "services/test_chat.py", "services/test_pins.py", "services/test_generate_*.py")
# Which tests look at which modules: of them those run that execute the line that is changed.
TESTS: Mapping[str, Sequence[str]] = {
    "rules/*.py": ("rules/test_*.py", *GENERATE),
    "services/dispatch.py": GENERATE,
    "services/generate.py": GENERATE,
    "services/selection.py": GENERATE,
    "services/slots.py": SLOTS,
    "services/leases.py": SLOTS,
    "services/queues.py": SLOTS,
    "vault.py": (
        "security/test_vault.py",
        "security/test_credentials.py",
        "security/test_files.py",
    ),
}
Baseline = Mapping[str, Mapping[int, Sequence[str]]]  # tests by file and line, quick ones first


class Stopwatch:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration


class Changed(SourceFileLoader):
    """Finds and loads one module, from the tree that it was given."""

    def __init__(self, name: str, file: Path, tree: ast.Module) -> None:
        super().__init__(name, str(file))
        self._tree = tree

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self._tree, self.path, "exec")
        return code


def main(asked: Sequence[str]) -> int:
    os.chdir(ROOT)
    for name in HEAVY:  # once, before the processes are forked
        importlib.import_module(name)
    reasons = tomllib.loads((Path(__file__).parent / "survivors.toml").read_text())
    made = survived = unexplained = 0
    for pattern, tests in TESTS.items():
        names = [file.relative_to(PACKAGE).as_posix() for file in sorted(PACKAGE.glob(pattern))]
        names = [name for name in names if not asked or name in asked]
        baseline = _baseline(tests) if names else {}
        for name in names:
            count, survivors = _tried(name, baseline)
            made += count
            survived += len(survivors)
            for change in survivors:
                reason = reasons.get(name, {}).get(change.text)
                unexplained += reason is None
                print(
                    f"  line {change.lines[0]}, {change.text}\n    {reason or 'WHY?'}", flush=True
                )
    print(f"{made} changes, {survived} survived, {unexplained} of them without a reason")
    return int(unexplained > 0 or survived * BAR > made)


def _tried(name: str, baseline: Baseline) -> tuple[int, list[Change]]:
    """How many changes were made to a module, and those that no test noticed."""
    began, file = time.monotonic(), PACKAGE / name
    tree = ast.parse(file.read_text())
    module = Changed(f"ollama_admin.{name[:-3].replace('/', '.')}", file, tree)
    every, survivors = list(changes(tree)), []
    running: dict[int, tuple[Change, float]] = {}
    for change in every:
        if tests := _reached(baseline.get(str(file), {}), change.lines):
            pid = _forked(_test, change, tests, module)
            running[pid] = (change, time.monotonic() + LONGEST)
        else:
            survivors.append(change)
        survivors += _ended(running, WORKERS - 1)
    survivors += _ended(running, 0)
    share = len(survivors) / max(len(every), 1)
    print(
        f"{name}: {len(every)} changes, {len(survivors)} survived ({share:.1%}), "
        f"{time.monotonic() - began:.0f} s",
        flush=True,
    )
    return len(every), survivors


def _ended(running: dict[int, tuple[Change, float]], most: int) -> list[Change]:
    """Wait until at most so many processes run; the changes of those whose tests all passed."""
    survivors = []
    while len(running) > most:
        for pid, (change, deadline) in list(running.items()):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del running[pid]
                survivors += [] if status else [change]
        time.sleep(0.01)
    return survivors


def _reached(tests_by_line: Mapping[int, Sequence[str]], lines: range) -> list[str]:
    """The tests that execute one of the lines; all of them for what is executed on import."""
    if any(tests_by_line.get(line) == [""] for line in lines):
        lines = range(max(tests_by_line) + 1)
    reached = [test for line in lines for test in tests_by_line.get(line, ()) if test]
    return list(dict.fromkeys(reached))


def _forked(work: Callable[..., int], *given: object) -> int:
    """The process that does the work and ends with its exit code; what it prints is not seen."""
    pid = os.fork()
    if pid == 0:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        code = 70
        try:
            code = work(*given)
        finally:
            os._exit(code)
    return pid


def _test(change: Change, tests: Sequence[str], module: Changed) -> int:
    change.holder[change.key] = change.new
    sys.meta_path.insert(0, module)
    return int(pytest.main([*PYTEST, "-x", *tests]))


def _baseline(tests: Sequence[str]) -> Baseline:
    """Run the tests on the code as it is, to hear how long each takes and what it executes."""
    files = [str(file) for pattern in tests for file in sorted((ROOT / "tests").glob(pattern))]
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        _, status = os.waitpid(_forked(_measure, files, folder), 0)
        if status:
            raise SystemExit(f"tests fail without any change: pytest {' '.join(files)}")
        seconds = json.loads((Path(folder) / "seconds").read_text())
        data = CoverageData(f"{folder}/lines")
        data.read()
        print(f"{len(seconds)} tests in {time.monotonic() - began:.0f} s", flush=True)
        return {
            file: {
                line: sorted(
                    {name.partition("|")[0] for name in names}, key=lambda t: seconds.get(t, 0)
                )
                for line, names in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }


def _measure(files: Sequence[str], folder: str) -> int:
    os.environ["COVERAGE_FILE"] = f"{folder}/lines"
    stopwatch = Stopwatch()
    code = int(pytest.main([*PYTEST, *COVERAGE, *files], plugins=[stopwatch]))
    (Path(folder) / "seconds").write_text(json.dumps(stopwatch.seconds))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
