"""Makes small changes to the modules that decide, one at a time, and tells which no test notices.

    make mutate
    .venv/bin/python -m tests.mutation [MODULE ... | named]

Fails when more than one in twenty goes unnoticed, or one for which `survivors.toml` has no reason,
or one of `named.py`.
A changed module is in the memory of a forked process only: no file is touched.
"""

import ast
import gc
import os
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NoReturn

import pytest
from coverage import CoverageData

from tests.mutation.changes import Change, changes
from tests.mutation.named import NAMED, Named

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "ollama_admin"
WORKERS = 2
BAR = 20  # of so many changes one may survive
GRACE = 60  # seconds for a process to begin and to end
PYTEST = (
    *("-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", "-p", "no:xdist"),
    *(
        "-m",
        "not chaos and not system",
        "-k",
        "not [postgresql and not -postgresql",
    ),  # one database is enough
)
COVERAGE = ("--cov", "--cov-context=test", "--cov-report=", "--cov-fail-under=0")

SLOTS = (
    *("services/test_slots.py", "services/test_kept_slots.py", "services/test_leases.py"),
    "services/test_slot_steps.py",
    *("services/test_grants.py", "services/test_pools.py", "services/test_heartbeat.py"),
    *("services/test_queues.py", "services/test_generate_slots.py"),
)
GENERATE = (
    *SLOTS,
    *("services/test_trail.py", "services/test_chat.py", "services/test_pins.py"),
    *("services/test_catalogue.py", "services/test_selection.py"),
    *("services/test_dispatch.py", "services/test_generate_*.py"),
)
VAULT = ("security/test_vault.py", "security/test_credentials.py", "security/test_files.py")
# Which tests look at which modules: of them those run that execute the lines that are changed.
TESTS: Mapping[Sequence[str], Sequence[str]] = {
    ("rules/*.py",): ("rules/test_*.py",),
    (
        *("services/slots.py", "services/leases.py", "services/queues.py"),
        *("services/pools.py", "services/grants.py", "services/heartbeat.py"),
    ): SLOTS,
    (
        "services/catalogue.py",
        "services/dispatch.py",
        "services/generate.py",
        "services/proof.py",
        "services/selection.py",
        "services/trail.py",
    ): GENERATE,
    ("services/lists.py",): ("services/test_lists.py",),
    ("services/plans.py",): ("services/test_plans.py",),
    ("ollama/passing.py",): ("ollama/test_passing.py", "gateway/test_passing.py"),
    ("services/relay.py",): ("services/test_relay.py", "gateway/test_*.py"),
    ("vault.py",): VAULT,
}
Cached = type(lru_cache(int))
PATIENCE = 4  # a test hangs, or all of them do, when it takes so many times as long as usual


class Baseline:
    """Tests on the code as it is: the seconds of each, and those that execute each line of a
    file. One that failed takes no part: what it notices may be the machine.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()
        self.tests: dict[str, dict[int, set[str]]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration
        if report.failed:
            self.failed.add(report.nodeid)

    def read(self, data: CoverageData) -> None:
        for test in self.failed:
            del self.seconds[test]
        for file in data.measured_files():
            self.tests[file] = {
                line: {name.partition("|")[0] for name in names} - self.failed
                for line, names in data.contexts_by_lineno(file).items()
            }

    def reached(self, file: str, change: Change) -> list[str]:
        """The tests that execute the function that is changed, quick ones first; all for what is
        executed on import.
        """
        reached = self._executing(file, change) - {""}
        return sorted(reached if change.function else self.seconds, key=self.seconds.__getitem__)

    def placed(self, file: str, change: Change) -> Change:
        """The change; one of a function that runs on import alone is one of the whole module."""
        if self._executing(file, change) == {""}:
            return replace(change, function="")
        return change

    def _executing(self, file: str, change: Change) -> set[str]:
        """The tests that execute the function that is changed; the empty one is the import."""
        by_line = self.tests.get(file, {})
        return {test for line in change.around for test in by_line.get(line, ())}


class FirstFailure:
    """Ends the process when a test fails or hangs; what it leaves behind might never end."""

    def __init__(self, usual: Mapping[str, float]) -> None:
        self._usual = usual  # seconds

    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        for item in items:
            seconds = max(3, PATIENCE * self._usual[item.nodeid])
            item.add_marker(pytest.mark.timeout(seconds, method="thread"))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            os._exit(1)


class Module(SourceFileLoader):
    """A module of the package, loaded from a tree that can be changed."""

    def __init__(self, name: str, was: str = "", becomes: str = "") -> None:
        self.file = PACKAGE / name
        self.tree = ast.parse(self.file.read_text().replace(was, becomes))
        super().__init__(f"ollama_admin.{name[:-3].replace('/', '.')}", str(self.file))

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self.tree, self.path, "exec")
        return code


def main(asked: Sequence[str]) -> int:
    os.chdir(ROOT)
    reasons = tomllib.loads((Path(__file__).parent / "survivors.toml").read_text())
    made = survived = unexplained = 0
    for patterns, tests in TESTS.items():
        files = [file for pattern in patterns for file in sorted(PACKAGE.glob(pattern))]
        names = [file.relative_to(PACKAGE).as_posix() for file in files]
        names = [name for name in names if not asked or name in asked]
        baseline = _baseline(tests) if names else Baseline()
        for name in names:
            count, survivors = _tried(name, baseline)
            made += count
            survived += len(survivors)
            for change in survivors:
                reason = reasons.get(name, {}).get(change.text)
                unexplained += reason is None
                print(f"  {change.line}: {change.text}\n      {reason or 'WHY?'}", flush=True)
    print(f"{made} changes, {survived} survived, {unexplained} of them without a reason")
    missed = [] if asked and "named" not in asked else _named()
    return int(unexplained > 0 or survived * BAR > made or bool(missed))


def _named() -> list[Named]:
    """The named changes that their tests do not notice."""
    tests = sorted({test for named in NAMED for test in named.tests})
    if pytest.main([*PYTEST, *(f"tests/{test}" for test in tests)]):
        raise SystemExit("tests fail without any change")
    missed = []
    for named in NAMED:
        pid = os.fork()
        if pid == 0:
            _end_with(partial(_outcome_of, named))
        _, status = os.waitpid(pid, 0)
        is_noticed = os.waitstatus_to_exitcode(status) == pytest.ExitCode.TESTS_FAILED
        missed += [] if is_noticed else [named]
        print(f"{'noticed' if is_noticed else 'MISSED'}: {named.what}", flush=True)
    return missed


def _outcome_of(named: Named) -> int:
    import_anew(Module(named.module, named.was, named.becomes))
    return int(pytest.main([*PYTEST, "-x", *(f"tests/{test}" for test in named.tests)]))


def _baseline(tests: Sequence[str]) -> Baseline:
    """Run the tests on the code as it is, to hear how long each takes and what it executes.

    In this process: what they load needs no loading in those that are forked. A test that fails may
    have found the machine too busy: it is run once more, by itself.
    """
    files = [str(file) for pattern in tests for file in sorted((ROOT / "tests").glob(pattern))]
    baseline = Baseline()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COVERAGE_FILE"] = f"{folder}/lines"
        is_red = pytest.main([*PYTEST, *COVERAGE, *files], plugins=[baseline])
        if is_red and (not baseline.failed or pytest.main([*PYTEST, *sorted(baseline.failed)])):
            raise SystemExit("tests fail without any change")
        for test in sorted(baseline.failed):
            print(f"takes no part, it failed once without any change: {test}", flush=True)
        data = CoverageData(f"{folder}/lines")
        data.read()
        baseline.read(data)
    return baseline


def _tried(name: str, baseline: Baseline) -> tuple[int, list[Change]]:
    """How many changes were made to a module, and those that no test noticed."""
    began, module = time.monotonic(), Module(name)
    every = [baseline.placed(module.path, change) for change in changes(module.tree)]
    survivors: list[Change] = []
    running: dict[int, tuple[Change, float]] = {}
    for change in every:
        if tests := baseline.reached(module.path, change):
            pid = _forked(change, module, tests, baseline.seconds)
            longest = GRACE + PATIENCE * sum(baseline.seconds[test] for test in tests)
            running[pid] = (change, time.monotonic() + longest)
        else:
            survivors.append(change)
        survivors += _ended(running, WORKERS - 1)
    survivors += _ended(running, 0)
    share, seconds = len(survivors) / max(len(every), 1), time.monotonic() - began
    print(f"{name}: {len(every)} changes, {share:.1%} survived, {seconds:.0f} s", flush=True)
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


def _forked(
    change: Change, module: Module, tests: Sequence[str], usual: Mapping[str, float]
) -> int:
    """A process that makes the change, and ends with 0 when all tests pass."""

    def outcome() -> int:
        change.holder[change.key] = change.new
        put_into_force(module, change)
        return int(pytest.main([*PYTEST, "-x", *tests], plugins=[FirstFailure(usual)]))

    pid = os.fork()
    if pid == 0:
        _end_with(outcome)
    return pid


def _end_with(outcome: Callable[[], int]) -> NoReturn:
    """End this process, which is a fork, with an exit code; what it says is heard by nobody."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    code = 70
    try:
        code = outcome()
    finally:
        os._exit(code)


def put_into_force(module: Module, change: Change) -> None:
    """Give the function its new code; what is executed on import is imported anew, by everybody."""
    if change.function:
        codes = {code.co_qualname: code for code in _codes(module.get_code(module.name))}
        gc.unfreeze()  # the start of a command line freezes what is loaded, and none is listed
        functions = [some for some in gc.get_objects() if isinstance(some, FunctionType)]
        for function in functions:
            code = function.__code__
            if code.co_filename == module.path and code.co_qualname == change.function:
                function.__code__ = codes[change.function]
        for cached in [some for some in gc.get_objects() if isinstance(some, Cached)]:
            if str(getattr(cached, "__module__", "")).startswith("ollama_admin."):
                cached.cache_clear()  # it holds what the code as it is has made
    else:
        import_anew(module)


def import_anew(module: Module) -> None:
    """Let everybody who imports something of ours from now on have it anew, with this module."""
    ours = (str(PACKAGE), str(ROOT / "tests"))
    for name, loaded in list(sys.modules.items()):
        if (getattr(loaded, "__file__", None) or "").startswith(ours):
            del sys.modules[name]
    sys.meta_path.insert(0, module)


def _codes(code: CodeType) -> list[CodeType]:
    inner = [part for part in code.co_consts if isinstance(part, CodeType)]
    return inner + [deeper for part in inner for deeper in _codes(part)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
