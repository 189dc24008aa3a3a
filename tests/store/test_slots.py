"""Slots as SQL: who is granted one, and what a lease that is over can still do."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from ollama_admin.domain.servers import ApiVersion
from ollama_admin.errors import Conflict, DatabaseUnavailable, ServerInactive, ServerNotFound
from ollama_admin.store import clocks
from ollama_admin.store import servers as store_servers
from ollama_admin.store import slots as store
from ollama_admin.store.servers import NewServer
from ollama_admin.store.slots import LeaseKey
from tests.slot_rows import Row, SlotRows

INT_LIMIT = 2**31 - 1
TTL = 60.0

WITHOUT_PROC_SYS = """
import sys

def hide(event, args):
    if event == "open" and str(args[0]).startswith("/proc/sys"):
        raise FileNotFoundError(2, "hidden")

sys.addaudithook(hide)
"""

TRY_TO_ACQUIRE = """
import sys
from ollama_admin.settings import Settings
from ollama_admin.store import slots
from ollama_admin.store.engines import WRITE, open_engine

engine = open_engine(Settings.read({}, sys.argv[1]))
with engine.connect().execution_options(**WRITE) as connection, connection.begin():
    print(slots.take(connection, 1, 1, holder="other", ttl=15).keys)
"""


class Scene:
    """One database with server 1, and two pools of connections to it, as two processes have
    them.
    """

    def __init__(self, url: str, pools: tuple[SlotRows, SlotRows]) -> None:
        self.url = url
        self.rows, self.other = pools
        self._servers = 0

    def add(self, limit: int) -> int:
        self._servers += 1
        name = f"gpu-{self._servers}"
        new = NewServer(
            name=name, url=f"http://{name}", api_version=ApiVersion.NATIVE, max_concurrent=limit
        )
        return self.do(store_servers.add, new).id

    def do(self, fn: Callable[..., Any], *args: Any, **named: Any) -> Any:
        with self.rows.transaction() as connection:
            return fn(connection, *args, **named)

    def acquire(self, server_id: int = 1, *, ttl: float = TTL, **named: Any) -> LeaseKey | None:
        grant = self.do(store.take, server_id, 1, holder="me", ttl=ttl, **named)
        return next(iter(grant.keys), None)

    def acquired(self, server_id: int = 1) -> LeaseKey:
        grant = self.acquire(server_id)
        assert grant is not None
        return grant

    def release(self, grant: LeaseKey) -> bool:
        return self.do(store.release, [grant], holder="me") == 1

    def renew(self, *grants: LeaseKey) -> frozenset[LeaseKey]:
        return self.do(store.renew, grants, TTL, holder="me")

    def update(self, server_id: int = 1, **columns: Any) -> None:
        self.do(store_servers.change, server_id, columns)

    def in_use(self, server_id: int = 1) -> int:
        return self.do(store_servers.find, server_id).slots_in_use


@contextmanager
def opened(url: str) -> Iterator[Scene]:
    with ExitStack() as stack:
        pools = SlotRows(url), SlotRows(url)
        for pool in pools:
            stack.callback(pool.close)
        yield Scene(url, pools)


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    with opened(database_url) as scene:
        yield scene


@pytest.fixture
def sqlite_scene(migrated_sqlite_file: Path, tmp_path: Path) -> Iterator[Scene]:
    with opened(f"sqlite:///{shutil.copy(migrated_sqlite_file, tmp_path / 'one.db')}") as scene:
        yield scene


def said_by(*command: str) -> str:
    """What another program prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def held(server_id: int, slot: int, token: int) -> LeaseKey:
    return LeaseKey(server_id=server_id, slot=slot, token=token)


# granting


def test_slots_are_granted_up_to_the_limit_and_then_none(scene: Scene) -> None:
    scene.add(3)
    assert [scene.acquire() for _ in range(3)] == [held(1, 1, 1), held(1, 2, 1), held(1, 3, 1)]
    assert scene.acquire() is None
    assert scene.rows.all() == [Row(slot, 1, "me", True) for slot in (1, 2, 3)]


def test_slots_of_one_server_are_nothing_to_another(scene: Scene) -> None:
    scene.add(1)
    scene.add(1)
    assert scene.acquire(1) == held(1, 1, 1)
    assert scene.acquire(2) == held(2, 1, 1)
    assert (scene.acquire(1), scene.acquire(2)) == (None, None)


def test_only_as_many_rows_are_made_as_are_needed(scene: Scene) -> None:
    scene.add(INT_LIMIT)
    for _ in range(3):
        scene.release(scene.acquired())
    assert len(scene.rows.all()) == 1
    first, second = scene.acquired(), scene.acquired()
    assert (first.slot, second.slot) == (1, 2)
    assert len(scene.rows.all()) == 2


def test_token_of_a_slot_only_grows(scene: Scene) -> None:
    scene.add(1)
    for token in range(1, 6):
        grant = scene.acquired()
        assert grant == held(1, 1, token)
        if token % 2:
            assert scene.release(grant)
        else:
            scene.rows.expire(1)


def test_lease_that_is_over_is_granted_to_the_next(scene: Scene) -> None:
    scene.add(1)
    first = scene.acquired()
    assert scene.acquire() is None
    scene.rows.expire(1)
    assert scene.acquire() == held(1, 1, first.token + 1)


def test_a_server_that_is_not_there_is_told(scene: Scene) -> None:
    with pytest.raises(ServerNotFound, match="no server with id 7"):
        scene.acquire(7)


def test_an_inactive_server_grants_only_to_who_asks_for_it(scene: Scene) -> None:
    scene.add(2)
    running = scene.acquired()
    scene.update(is_active=False)
    with pytest.raises(ServerInactive, match="server gpu-1 is inactive"):
        scene.acquire()
    assert scene.acquire(even_inactive=True) == held(1, 2, 1)
    assert scene.renew(running) == {running}
    scene.update(is_active=True)
    scene.release(running)
    assert scene.acquire() == held(1, 1, 2)


# the limit changes


def test_lowered_limit_holds_at_the_next_grant_and_lets_running_ones_end(scene: Scene) -> None:
    scene.add(4)
    grants = [scene.acquired() for _ in range(4)]
    scene.update(max_concurrent=2)
    assert scene.renew(*grants) == frozenset(grants)
    for grant, granted in zip(grants, (False, False, True, True), strict=True):
        assert scene.release(grant)
        assert (scene.acquire() is not None) == granted
        assert scene.in_use() == scene.rows.live() <= max(2, 4 - grant.slot)
    assert len(scene.rows.all()) == 4


def test_lease_above_a_lowered_limit_counts(scene: Scene) -> None:
    scene.add(4)
    grants = [scene.acquired() for _ in range(4)]
    scene.update(max_concurrent=2)
    for grant in grants[:3]:
        scene.release(grant)
    assert scene.acquire() == held(1, 1, 2)  # beside slot 4
    assert scene.acquire() is None
    scene.release(grants[3])
    assert scene.acquire() == held(1, 2, 2)
    assert scene.acquire() is None


def test_raised_limit_holds_at_the_next_grant(scene: Scene) -> None:
    scene.add(1)
    scene.acquired()
    assert scene.acquire() is None
    scene.update(max_concurrent=3)
    assert [scene.acquire(), scene.acquire(), scene.acquire()] == [
        held(1, 2, 1),
        held(1, 3, 1),
        None,
    ]


@contextmanager
def leases_going_on(scene: Scene, count: int) -> Iterator[None]:
    """So many threads take slots and give them back."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            with scene.other.transaction() as connection:
                keys = store.take(connection, 1, 1, holder="they", ttl=TTL).keys
            if keys:
                with scene.other.transaction() as connection:
                    assert store.release(connection, keys, holder="they") == 1

    with ThreadPoolExecutor(count) as threads:
        running = [threads.submit(work) for _ in range(count)]
        try:
            yield
        finally:
            over.set()
        for thread in running:
            thread.result()


def test_no_grant_by_an_old_limit_passes_one_by_the_new(scene: Scene) -> None:
    """A grant after the change sees every lease that was granted before it, however close they
    came.
    """
    scene.add(4)
    with leases_going_on(scene, 2):
        for limit in (1, 3, 2, 4) * 5:
            with scene.rows.transaction() as connection:
                store_servers.change(connection, 1, {"max_concurrent": limit})
            for _ in range(5):
                grant = scene.acquire()
                if grant is not None:
                    assert scene.rows.live() <= limit
                    scene.release(grant)


def test_lowering_waits_for_the_grant_that_is_on_its_way(migrated_postgres_url: str) -> None:
    with opened(migrated_postgres_url) as scene, ThreadPoolExecutor(1) as threads:
        scene.add(2)
        first = scene.acquired()
        with scene.other.transaction() as connection:
            assert store.take(connection, 1, 1, holder="they", ttl=TTL).keys == (held(1, 2, 1),)
            scene.release(first)
            lowering = threads.submit(scene.update, max_concurrent=1)
            while not scene.rows.waiting():
                assert not lowering.done()
        lowering.result()
        assert scene.acquire() is None  # the grant that it waited for is seen


def test_limit_holds_with_many_at_once_from_the_first_slot_on(scene: Scene) -> None:
    scene.add(3)
    with leases_going_on(scene, 5):
        for _ in range(50):
            assert scene.rows.live() <= 3
    assert scene.rows.live() == 0
    assert [row.slot for row in scene.rows.all()] == list(range(1, len(scene.rows.all()) + 1))
    assert len(scene.rows.all()) <= 3


# renewing and releasing


def test_release_of_a_slot_that_somebody_else_has_does_nothing(scene: Scene) -> None:
    scene.add(1)
    first = scene.acquired()
    scene.rows.expire(1)
    second = scene.acquired()
    assert not scene.release(first)
    assert scene.rows.all() == [Row(1, second.token, "me", True)]
    assert scene.release(second)
    assert scene.rows.all() == [Row(1, second.token, None, False)]


def test_renewal_says_which_leases_still_live(scene: Scene) -> None:
    scene.add(4)
    alive, over, given_back, taken = (scene.acquired() for _ in range(4))
    scene.rows.expire(over.slot)
    scene.rows.expire(taken.slot)
    assert scene.acquired().slot == over.slot
    again = scene.acquired()
    assert again.slot == taken.slot
    scene.release(given_back)
    assert scene.renew(alive, over, given_back, taken) == {alive}
    assert scene.renew(alive, again) == {alive, again}


def test_lease_that_is_over_is_not_renewed_though_nobody_has_taken_the_slot(scene: Scene) -> None:
    scene.add(1)
    grant = scene.acquired()
    scene.rows.expire(1)
    assert scene.renew(grant) == frozenset()
    assert scene.rows.live() == 0


def test_renewal_of_nothing_is_nothing(scene: Scene) -> None:
    assert scene.renew() == frozenset()


# the clock


@pytest.mark.parametrize("hours", [-1, 1])
def test_clock_of_a_client_does_not_matter(
    scene: Scene, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.add(1)
    grant = scene.acquired()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + hours * 3600)
    assert scene.acquire() is None
    assert scene.renew(grant) == {grant}
    assert scene.release(grant)
    later = scene.acquired()
    monkeypatch.undo()
    assert scene.acquire() is None
    assert scene.renew(later) == {later}


class Kernel:
    """What `/proc/self` and the clock say to a process whose time namespace is `ahead` seconds."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._read = time.clock_gettime

    def shift(self, *, ahead: float) -> None:
        """Be in another time namespace from now on."""
        process = self._folder / f"self{ahead:g}"
        (process / "ns").mkdir(parents=True)
        for name in ("time", "time_for_children"):
            (process / "ns" / name).symlink_to(f"time:[{ahead:g}]")
        offsets = f"monotonic {ahead:10.0f} 0\nboottime {ahead:10.0f} 0\n"
        (process / "timens_offsets").write_text(offsets)
        self._monkeypatch.setattr(clocks, "_PROC_SELF", process)
        self.pass_time(ahead)

    def pass_time(self, seconds: float) -> None:
        """Let the clock say so much more than the real one."""
        read = self._read
        self._monkeypatch.setattr(time, "clock_gettime", lambda clock: read(clock) + seconds)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path, monkeypatch)


@pytest.mark.parametrize("seconds_since", [0.5, 1800, 3e7])
def test_leases_in_a_file_end_with_the_boot(
    sqlite_scene: Scene, kernel: Kernel, seconds_since: float
) -> None:
    kernel.pass_time(1e8)
    sqlite_scene.add(1)
    grant = sqlite_scene.acquired()
    assert sqlite_scene.acquire() is None
    kernel.pass_time(seconds_since)
    assert sqlite_scene.in_use() == 0
    assert sqlite_scene.renew(grant) == frozenset()
    assert sqlite_scene.acquire() == held(1, 1, 2)


@pytest.mark.parametrize("ahead", [-9e4, 61, 9e6])
def test_processes_in_other_time_namespaces_see_the_same_leases(
    sqlite_scene: Scene, kernel: Kernel, ahead: float
) -> None:
    sqlite_scene.add(1)
    grant = sqlite_scene.acquired()
    kernel.shift(ahead=ahead)
    assert (sqlite_scene.acquire(), sqlite_scene.in_use()) == (None, 1)
    assert sqlite_scene.renew(grant) == {grant}
    kernel.shift(ahead=0)
    assert (sqlite_scene.acquire(), sqlite_scene.in_use()) == (None, 1)
    kernel.pass_time(TTL)
    assert sqlite_scene.acquire() == held(1, 1, 2)


def test_process_that_cannot_know_its_boot_takes_no_slot_of_another(
    sqlite_scene: Scene,
) -> None:
    """A container without /proc/sys reads no boot id, and needs none."""
    sqlite_scene.add(1)
    sqlite_scene.acquired()
    assert (
        said_by(sys.executable, "-c", WITHOUT_PROC_SYS + TRY_TO_ACQUIRE, sqlite_scene.url) == "()"
    )


@pytest.mark.system
def test_process_in_a_real_time_namespace_takes_no_slot_of_another(sqlite_scene: Scene) -> None:
    sqlite_scene.add(1)
    grant = sqlite_scene.acquired()
    apart = ("unshare", "--user", "--map-root-user", "--time", "--boottime", "86400", "--fork")
    ask = (*apart, sys.executable, "-c", TRY_TO_ACQUIRE, sqlite_scene.url)
    assert said_by(*ask) == "()"
    assert sqlite_scene.release(grant)
    assert "slot=1, token=2" in said_by(*ask)
    assert sqlite_scene.acquire() is None


@pytest.mark.parametrize("missing", ["ns", "timens_offsets", "boottime"])
def test_without_proc_no_slot_of_a_file_is_given_out(
    sqlite_scene: Scene, kernel: Kernel, tmp_path: Path, missing: str
) -> None:
    sqlite_scene.add(1)
    kernel.shift(ahead=5)
    if missing == "boottime":
        (tmp_path / "self5" / "timens_offsets").write_text("monotonic 5 0\n")
    else:
        (tmp_path / "self5" / missing).rename(tmp_path / "away")
    with pytest.raises(DatabaseUnavailable, match="nobody can tell whether other processes see"):
        sqlite_scene.acquire()
    assert sqlite_scene.in_use() == 0


def test_kernel_without_time_namespaces_has_one_clock(
    sqlite_scene: Scene, kernel: Kernel, tmp_path: Path
) -> None:
    sqlite_scene.add(1)
    kernel.shift(ahead=5)
    (tmp_path / "self5" / "timens_offsets").unlink()
    (tmp_path / "self5" / "ns" / "time").unlink()
    assert sqlite_scene.acquire() == held(1, 1, 1)


# servers with their slots


def test_every_query_of_servers_counts_the_live_leases(scene: Scene) -> None:
    scene.add(3)
    scene.add(2)
    scene.add(1)
    scene.update(1, is_default=True)
    for server_id in (1, 1, 1, 2):
        scene.acquired(server_id)
    with scene.rows.transaction() as connection:
        connection.execute(
            text("UPDATE ollama_slots SET expires_at = 0 WHERE server_id = 1 AND slot = 2")
        )
    assert [server.slots_in_use for server in scene.do(store_servers.all_servers)] == [2, 1, 0]
    assert scene.do(store_servers.find, "gpu-1").slots_in_use == 2
    assert scene.do(store_servers.find, 1, hold=True).slots_in_use == 2
    assert scene.do(store_servers.find_url, "http://gpu-2").slots_in_use == 1
    assert scene.do(store_servers.find_default).slots_in_use == 2
    assert scene.do(store_servers.change, 1, {"priority": 3}).slots_in_use == 2


def test_server_with_live_leases_is_removed_only_by_force(scene: Scene) -> None:
    scene.add(2)
    grants = [scene.acquired(), scene.acquired()]
    with pytest.raises(Conflict, match="2 requests run at server gpu-1") as refused:
        scene.do(store_servers.remove, 1)
    assert refused.value.hint == "wait until they have ended, or remove it anyway with --force"
    scene.release(grants[0])
    with pytest.raises(Conflict, match="1 request runs at server gpu-1"):
        scene.do(store_servers.remove, "gpu-1")
    assert scene.do(store_servers.remove, 1, force=True).id == 1
    assert scene.rows.all() == []
    assert scene.renew(*grants) == frozenset()
    assert not scene.release(grants[1])
    with pytest.raises(ServerNotFound):
        scene.acquire()


def test_server_whose_leases_are_over_is_removed(scene: Scene) -> None:
    scene.add(1)
    scene.acquired()
    scene.rows.expire(1)
    assert scene.do(store_servers.remove, 1).id == 1


def test_server_removed_while_slots_are_taken_leaves_nothing_behind(scene: Scene) -> None:
    """Each is granted in full or finds no server; none makes a slot of a server that is gone."""
    for _ in range(5):
        server_id = scene.add(50)

        def take(server_id: int = server_id) -> int:
            taken = 0
            while True:
                try:
                    with scene.other.transaction() as connection:
                        store.take(connection, server_id, 1, holder="they", ttl=TTL)
                except ServerNotFound:
                    return taken
                taken += 1

        with ThreadPoolExecutor(3) as threads:
            running = [threads.submit(take) for _ in range(3)]
            scene.acquire(server_id)
            scene.do(store_servers.remove, server_id, force=True)
            for thread in running:
                thread.result()
        assert scene.rows.all(server_id) == []


# any order of events


class Life(RuleBasedStateMachine):
    """One server; `live` is what must be held, told by tokens alone."""

    scene: Scene
    grants = Bundle("grants")

    def __init__(self) -> None:
        super().__init__()
        self.limit = 2
        self.server_id = self.scene.add(self.limit)
        self.live: dict[int, LeaseKey] = {}
        self.tokens: dict[int, int] = {}

    @rule(target=grants)
    def acquire(self) -> LeaseKey | None:
        grant = self.scene.acquire(self.server_id)
        assert (grant is not None) == (len(self.live) < self.limit)
        if grant is not None:
            assert grant.slot not in self.live
            assert grant.token > self.tokens.get(grant.slot, 0)
            self.tokens[grant.slot] = grant.token
            self.live[grant.slot] = grant
        return grant

    @rule(grant=grants)
    def release(self, grant: LeaseKey | None) -> None:
        if grant is not None:
            assert self.scene.release(grant) == (self.live.get(grant.slot) == grant)
            if self.live.get(grant.slot) == grant:
                del self.live[grant.slot]

    @rule(grant=consumes(grants))
    def expire(self, grant: LeaseKey | None) -> None:
        if grant is not None and self.live.get(grant.slot) == grant:
            self.scene.do(
                lambda connection: connection.execute(
                    text(
                        "UPDATE ollama_slots SET expires_at = 1, holder = NULL"
                        " WHERE server_id = :server AND slot = :slot"
                    ),
                    {"server": self.server_id, "slot": grant.slot},
                )
            )
            del self.live[grant.slot]

    @rule(some=st.lists(grants, max_size=4))
    def renew(self, some: list[LeaseKey | None]) -> None:
        asked = [grant for grant in some if grant is not None]
        assert self.scene.renew(*asked) == {grant for grant in asked if grant in self.live.values()}

    @rule(limit=st.integers(1, 4))
    def change_limit(self, limit: int) -> None:
        self.scene.update(self.server_id, max_concurrent=limit)
        self.limit = limit

    @invariant()
    def exactly_the_live_leases_are_counted(self) -> None:
        assert {
            row.slot for row in self.scene.rows.all(self.server_id) if row.is_live
        } == self.live.keys()


def test_limit_and_tokens_hold_in_any_order_of_events(scene: Scene) -> None:
    class Here(Life):
        pass

    Here.scene = scene
    run_state_machine_as_test(
        Here, settings=settings(max_examples=20, stateful_step_count=20, deadline=None)
    )
