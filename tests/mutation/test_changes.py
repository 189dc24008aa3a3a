"""`make mutate` makes the changes that it should, where they are in force."""

import ast
import gc
import tomllib
from types import FunctionType

import pytest

from ollama_admin.services.leases import Lease
from ollama_admin.services.queues import Queue
from tests.mutation.changes import changes
from tests.mutation.modules import PACKAGE, ROOT, Loaded, Module
from tests.mutation.named import NAMED, Named

REASONS = tomllib.loads((ROOT / "tests/mutation/survivors.toml").read_text())
SOURCE = '''
LIMIT = 2
NAMES = frozenset(("a", "b", ""))

class Some:
    @property
    def is_less(self) -> "int | None":
        """A docstring."""
        return self.one < 3 and not self.two

    async def several(self):
        async for piece in self.all():
            if piece:
                self.touch(by=piece)
            yield piece
'''


def test_what_is_changed() -> None:
    assert [change.text for change in changes(ast.parse(SOURCE))] == [
        ": 2 => 3",
        ": 2 => 1",
        ": 'a' => ''",
        ": 'b' => ''",
        "Some.is_less: return self.one < 3 and (not self.two) => return None",
        "Some.is_less: self.one < 3 and (not self.two) => self.one < 3 or not self.two",
        "Some.is_less: self.one < 3 => self.one <= 3",
        "Some.is_less: 3 => 4",
        "Some.is_less: 3 => 2",
        "Some.is_less: not self.two => self.two",
        "Some.several: piece => not piece",
        "Some.several: self.touch(by=piece) => nothing",
        "Some.several: by=piece => by=None",
    ]


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("services/leases.py", Lease.is_trusted.fget),  # type: ignore[attr-defined]
        ("services/queues.py", Queue.serve),
    ],
)
def test_a_change_is_in_force(name: str, function: FunctionType) -> None:
    """In a property and in a coroutine, also after a command line has started in this process."""
    gc.freeze()
    module, before = Module(name), function.__code__
    change = next(c for c in changes(module.tree) if c.function == before.co_qualname)
    change.holder[change.key] = change.new
    try:
        Loaded(module).put_into_force(change)
        assert function.__code__ != before
    finally:
        function.__code__ = before


@pytest.mark.parametrize("named", NAMED, ids=lambda named: named.what)
def test_a_named_change_can_be_made_and_has_tests(named: Named) -> None:
    assert (PACKAGE / named.module).read_text().count(named.was) == 1
    for test in named.tests:
        file, _, name = test.partition("::")
        assert f"def {name or 'test_'}" in (ROOT / "tests" / file).read_text()


@pytest.mark.parametrize("module", REASONS)
def test_each_reason_is_of_a_change_that_is_made(module: str) -> None:
    made = {change.text for change in changes(Module(module).tree)}
    assert set(REASONS[module]) <= made
