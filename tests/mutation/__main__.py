"""Makes small changes to the modules that decide, one at a time, and tells which no test notices.

    make mutate
    .venv/bin/python -m tests.mutation [MODULE ... | named]

Fails when more than one in twenty goes unnoticed, or one for which `survivors.toml` has no reason,
or one of `named.py`.
A changed module is in the memory of a forked process only: no file is touched. The process is
forked from one that has all tests loaded, and ends at the first test that fails or hangs.
"""

import os
import re
import signal
import sys
import tempfile
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from coverage import CoverageData

from tests.mutation.changes import Change, changes
from tests.mutation.modules import PACKAGE, ROOT, Loaded, Module, import_anew
from tests.mutation.named import NAMED, Named

WORKERS = (os.cpu_count() or 1) + 1  # tests wait as much as they compute
BAR = 20  # of so many changes one may survive
PYTEST = (  # `-s`: what forked processes say to a file they share would come to the wrong one
    *("-q", "-s", "-p", "no:cacheprovider", "-p", "no:schemathesis", "-p", "no:xdist"),
    "--timeout=600",
    *(
        "-m",
        "not chaos and not system",
        "-k",
        "not [postgresql and not -postgresql",
    ),  # one database is enough
)
NEAREST = 80  # what none of so many tests notices has no test of its own
BROKEN = 70  # how a process ends that failed outside of its tests
COVERAGE = ("--cov", "--cov-context=test", "--cov-report=", "--cov-fail-under=0")

SLOTS = (
    *("services/test_slots.py", "services/test_kept_slots.py", "services/test_leases.py"),
    "services/test_slot_steps.py",
    *("services/test_grants.py", "services/test_pools.py", "services/test_heartbeat.py"),
    *("services/test_queues.py", "services/test_generate_slots.py"),
)
GENERATE = (  # not the random trials, which take long
    *("services/test_dispatch.py", "services/test_trail.py", "services/test_passed_over.py"),
    *("services/test_catalogue.py", "services/test_selection.py", "services/test_pins.py"),
    *("services/test_chat.py", "services/test_generate_[clpr]*.py"),
    "services/test_generate_slots.py",
)
RELAY = (
    *("services/test_relay.py", "gateway/test_bytes.py", "gateway/test_cancelling.py"),
    *("gateway/test_compressed.py", "gateway/test_demands.py", "gateway/test_forms.py"),
    *("gateway/test_forwarded.py", "gateway/test_headers.py"),
)
VAULT = ("security/test_vault.py", "security/test_credentials.py", "security/test_files.py")
FLEET_FILE = (
    *("services/test_fleet_reading.py", "services/test_fleet_export.py"),
    *("services/test_fleet_file.py", "cli/test_fleet_file.py", "cli/test_diff.py"),
)
KEYS = ("services/test_keys.py", "services/test_key_limits.py", "gateway/test_access.py")
# Which tests look at which modules: of them those run that execute the lines that are changed. The
# first pattern that a module has counts.
TESTS: Mapping[Sequence[str], Sequence[str]] = {
    ("rules/fleet_*.py", "rules/yaml_nodes.py"): FLEET_FILE,
    ("rules/access.py", "services/keys.py", "services/keyring.py", "services/key_*.py"): KEYS,
    ("rules/*.py",): ("rules/test_*.py",),
    (
        *("services/slots.py", "services/leases.py", "services/queues.py"),
        *("services/pools.py", "services/grants.py", "services/heartbeat.py"),
    ): SLOTS,
    (
        *("services/dispatch.py", "services/trail.py", "services/generate.py"),
        *("services/proof.py", "services/selection.py", "services/catalogue.py"),
    ): GENERATE,
    ("services/lists.py",): ("services/test_lists.py",),
    ("services/plans.py",): ("services/test_plans.py",),
    ("ollama/passing.py",): ("ollama/test_passing.py", "gateway/test_passing.py"),
    ("services/relay.py",): RELAY,
    ("vault.py",): VAULT,
}
# A test hangs when it computes or takes so many times as long as usual, and these seconds more.
PATIENCE = 4
GRACE = 6


class Baseline:
    """Tests on the code as it is: the seconds of each, and those that execute each line of a
    file. One that failed twice takes no part: what it notices may be the machine.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()
        self.tests: dict[str, dict[int, set[str]]] = {}
        self.lines: Counter[str] = Counter()  # how many each test executes

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """A server of PostgreSQL for each process that is forked takes more than it tells."""
        items[:] = [
            item for item in items if "own_postgres_server" not in getattr(item, "fixturenames", ())
        ]

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration
        if report.failed:
            self.failed.add(report.nodeid)

    def read(self, data: CoverageData) -> None:
        for test in self.failed:
            del self.seconds[test]
        for file in data.measured_files():
            self.tests[file] = {
                line: {name.rpartition("|")[0] for name in names} - self.failed
                for line, names in data.contexts_by_lineno(file).items()
            }
            for tests in self.tests[file].values():
                self.lines.update(tests)

    def reached(self, file: str, change: Change) -> list[str]:
        """The tests nearest to a change: of those that execute its function, those that execute the
        line and few others. For what is executed on import, all of the module's own, which may read
        it and execute nothing, and others of the module.
        """
        by_line = self.tests.get(file, {})
        if change.function:
            reached = self._executing(file, change) - {""}
            nearest, own = by_line.get(change.line, set()), set()
        else:
            reached = set(self.seconds)
            nearest = {test for tests in by_line.values() for test in tests}
            own = {test for test in reached if f"/test_{Path(file).name}" in test}

        def distance(test: str) -> tuple[bool, bool, int, str]:
            return test not in own, test not in nearest, self.lines[test], test

        return sorted(reached, key=distance)[: max(NEAREST, len(own))]

    def placed(self, file: str, change: Change) -> Change:
        """The change; one of a function that runs on import alone is one of the whole module."""
        if self._executing(file, change) == {""}:
            return replace(change, function="")
        return change

    def _executing(self, file: str, change: Change) -> set[str]:
        """The tests that execute the function that is changed; the empty one is the import."""
        by_line = self.tests.get(file, {})
        return {test for line in change.around for test in by_line.get(line, ())}


class Limits:
    """Ends a forked process when a test fails or hangs; what it leaves behind might never end."""

    def __init__(self, usual: Mapping[str, float]) -> None:
        self._usual = {_spelled(test): seconds for test, seconds in usual.items()}
        self._load = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        self._beginning = threading.Timer(60 * self._load, os._exit, (1,))
        self._beginning.daemon = True
        self._beginning.start()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.start(session.items)

    def start(self, items: Sequence[pytest.Item]) -> None:
        """All is loaded, with the change in force: from now on each test has its own limits."""
        self._beginning.cancel()
        for item in items:
            seconds = self._load * (GRACE + PATIENCE * self._usual[_spelled(item.nodeid)])
            item.add_marker(pytest.mark.timeout(seconds, method="thread"))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Of the processor a test has as much on a busy machine as on an idle one."""
        seconds = GRACE / 3 + PATIENCE * self._usual[_spelled(nodeid)]
        signal.setitimer(signal.ITIMER_PROF, seconds)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            os._exit(1)


def _spelled(test: str) -> str:
    """The name of a test; each time pytest collects it, it doubles the backslashes."""
    return re.sub(r"\\+", r"\\", test)


class Trials:
    """Makes the changes to some modules, in processes that are forked where the tests are loaded
    and the database that they copy is made.
    """

    def __init__(
        self,
        names: Sequence[str],
        baseline: Baseline,
        reasons: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._names = names
        self._baseline = baseline
        self._reasons = reasons
        self.made = self.survived = self.unexplained = 0

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {_spelled(item.nodeid): item for item in session.items}
        for item in session.items:
            if "database_url" in getattr(item, "fixturenames", ()):
                _run([item], until=session)
                break
        for name in self._names:
            began, reasons = time.monotonic(), self._reasons.get(name, {})
            made, survivors = self._tried(Module(name), items, reasons)
            self.made += made
            self.survived += len(survivors)
            self.unexplained += sum(text not in reasons for text in survivors)
            for stale in sorted(reasons.keys() - survivors):
                print(f"  noticed, needs no reason: {stale}")
            share, seconds = len(survivors) / max(made, 1), time.monotonic() - began
            print(f"{name}: {made} changes, {share:.1%} survived, {seconds:.0f} s", flush=True)
        return True

    def _tried(
        self, module: Module, items: Mapping[str, pytest.Item], reasons: Mapping[str, str]
    ) -> tuple[int, list[str]]:
        """How many changes were made to a module, and those that no test noticed."""
        every = [self._baseline.placed(module.path, change) for change in changes(module.tree)]
        survivors: list[str] = []
        running: dict[int, Change] = {}
        loaded = Loaded(module)

        def end(most: int) -> None:
            for change in _ended(running, most):
                survivors.append(change.text)
                reason = reasons.get(change.text, "WHY?")
                print(f"  {change.line}: {change.text}\n      {reason}", flush=True)

        for change in every:
            tests = self._baseline.reached(module.path, change)
            pid = self._forked(change, loaded, tests, [items[_spelled(test)] for test in tests])
            running[pid] = change
            end(WORKERS - 1)
        end(0)
        return len(every), survivors

    def _forked(
        self,
        change: Change,
        loaded: Loaded,
        tests: Sequence[str],
        items: Sequence[pytest.Item],
    ) -> int:
        """A process that makes the change, and ends with 0 when all tests pass."""

        def outcome() -> int:
            limits = Limits(self._baseline.seconds)
            change.holder[change.key] = change.new
            loaded.put_into_force(change)
            if not items:
                return 0
            if not change.function:
                return _anew(tests, limits)
            items[0].config.pluginmanager.register(limits)
            limits.start(items)
            _run(items, until=items[0].session)
            return 0

        return _fork(outcome)


def _anew(tests: Sequence[str], limits: Limits) -> int:
    """Load and run the tests, at first those of the file that is nearest: to load takes longer than
    to run.
    """
    file = tests[0].partition("::")[0]
    first = [test for test in tests if test.startswith(f"{file}::")]
    code = int(pytest.main([*PYTEST, "-x", *first], plugins=[limits]))
    if rest := [test for test in tests if test not in first]:
        code = code or int(pytest.main([*PYTEST, "-x", *rest], plugins=[limits]))
    return code


def _run(items: Sequence[pytest.Item], until: pytest.Session) -> None:
    """Run tests; what the whole session has in common stays."""
    for item, after in zip(items, [*items[1:], until], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)


def main(asked: Sequence[str]) -> int:
    os.chdir(ROOT)
    reasons = tomllib.loads((Path(__file__).parent / "survivors.toml").read_text())
    made = survived = unexplained = 0
    for names, tests in _modules(asked):
        baseline = _baseline(tests)
        trials = Trials(names, baseline, reasons)
        pytest.main([*PYTEST, *_files(tests)], plugins=[trials])
        made += trials.made
        survived += trials.survived
        unexplained += trials.unexplained
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
        _, status = os.waitpid(_fork(partial(_outcome_of, named)), 0)
        is_noticed = os.waitstatus_to_exitcode(status) == pytest.ExitCode.TESTS_FAILED
        missed += [] if is_noticed else [named]
        print(f"{'noticed' if is_noticed else 'MISSED'}: {named.what}", flush=True)
    return missed


def _outcome_of(named: Named) -> int:
    import_anew(Module(named.module, named.was, named.becomes))
    return int(pytest.main([*PYTEST, "-x", *(f"tests/{test}" for test in named.tests)]))


def _modules(asked: Sequence[str]) -> Iterator[tuple[list[str], Sequence[str]]]:
    """Modules that have the same tests, and these; one that is named twice comes once."""
    seen: set[Path] = set()
    for patterns, tests in TESTS.items():
        files = [file for pattern in patterns for file in sorted(PACKAGE.glob(pattern))]
        names = [file.relative_to(PACKAGE).as_posix() for file in files if file not in seen]
        seen.update(files)
        if names := [name for name in names if not asked or name in asked]:
            yield names, tests


def _files(tests: Sequence[str]) -> list[str]:
    return [str(file) for pattern in tests for file in sorted((ROOT / "tests").glob(pattern))]


def _baseline(tests: Sequence[str]) -> Baseline:
    """Run the tests on the code as it is, to hear how long each takes and what it executes.

    In this process: what they load needs no loading in those that are forked. A test that fails may
    have found the machine too busy: it is run once more, by itself.
    """
    baseline = Baseline()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COVERAGE_FILE"] = f"{folder}/lines"
        pytest.main([*PYTEST, *COVERAGE, *_files(tests)], plugins=[baseline])
        if not baseline.seconds:
            raise SystemExit("no test ran")
        if again := sorted(baseline.failed):
            baseline.failed.clear()
            pytest.main([*PYTEST, *COVERAGE, "--cov-append", *again], plugins=[baseline])
        for test in sorted(baseline.failed):
            print(f"takes no part, it failed twice without any change: {test}", flush=True)
        data = CoverageData(f"{folder}/lines")
        data.read()
        baseline.read(data)
    return baseline


def _ended(running: dict[int, Change], most: int) -> list[Change]:
    """Wait until at most so many processes run; the changes of those whose tests all passed."""
    survivors = []
    while len(running) > most:
        for pid, change in list(running.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del running[pid]
                survivors += [] if status else [change]
                if os.waitstatus_to_exitcode(status) == BROKEN:
                    print(f"  {change.line}: {change.text}\n      ended by itself", flush=True)
        time.sleep(0.01)
    return survivors


def _fork(outcome: Callable[[], int]) -> int:
    """A process that ends with this exit code; what it says is heard by nobody."""
    pid = os.fork()
    if pid == 0:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nowhere, standard)
        code = BROKEN
        try:
            code = outcome()
        finally:
            os._exit(code)
    return pid


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
