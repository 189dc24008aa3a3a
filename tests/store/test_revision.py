"""The registry's revision: one more for each transaction that changes servers, models or pins."""

import ast
import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select, text, update

import ollama_admin.store
from ollama_admin.domain.health import Health
from ollama_admin.domain.models import BuildDetails, ListedModel
from ollama_admin.domain.servers import ApiVersion, CheckResult, ServerRef, ServerStatus
from ollama_admin.errors import AdminError, DatabaseUnavailable, ServerExists, ServerUnreachable
from ollama_admin.settings import Settings
from ollama_admin.store import checks, health, listings, pins, registry, servers, tables
from ollama_admin.store.database import Database
from ollama_admin.store.health import Seen
from ollama_admin.store.listings import Listing
from ollama_admin.store.servers import NewServer
from tests.services.test_writers_at_once import deadlocks
from tests.store.revisions import execute

STORE = Path(ollama_admin.store.__file__).parent
WRITES = {"insert", "update", "delete", "insert_or"}
KEPT = {"servers", "models", "pins"}
# of the three tables: what changes without a change of the registry
UNCOUNTED = {"updated_at", "last_seen_at", "last_discovered_at", "status_at", "latency_ms"}
NEW = NewServer(name="one", url="http://one", api_version=ApiVersion.NATIVE)
TWO = replace(NEW, name="two", url="http://two")
DIGEST, OTHER = "a" * 64, "b" * 64
ONE = ServerRef(id=1, name="one", url="http://one")
MODELS = (ListedModel(name="m:latest", digest=DIGEST),)
DETAILS = BuildDetails(capabilities=("completion",), context_length=8, embedding_length=4)
OLD = BuildDetails(capabilities=(), context_length=8, embedding_length=None)
UP = CheckResult(server=ONE, status=ServerStatus.ONLINE, version="1", ms=1)
DOWN = CheckResult(
    server=ONE, status=ServerStatus.OFFLINE, version=None, ms=1, error=ServerUnreachable("gone")
)


def seen(*, failures: int, seconds: float = 0, ref: ServerRef = ONE) -> Seen:
    """A server that was seen at a time, by the failures in a row."""
    at = datetime(2026, 1, 31, tzinfo=UTC) + timedelta(seconds=seconds)
    status = ServerStatus.OFFLINE if failures else ServerStatus.ONLINE
    return Seen(
        server=ref, health=Health(status=status, since=at, at=at, good_at=None, failures=failures)
    )


@dataclass(frozen=True)
class Write:
    """A call of a store function, and what is written before it."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any]
    before: "tuple[Write, ...]"

    def __call__(self, connection: Connection) -> Any:
        return self.function(connection, *self.args, **self.options)

    @property
    def path(self) -> str:
        return f"{self.function.__module__.rpartition('.')[2]}.{self.function.__name__}"


def call(function: Callable[..., Any], *args: Any, **options: Any) -> Write:
    return Write(function, args, options, ())


def after(*writes: Write) -> Callable[[Write], Write]:
    return lambda write: Write(write.function, write.args, write.options, writes)


def listed(*models: ListedModel, url: str = "http://one", prune: bool = False) -> Write:
    ref = ServerRef(id=1, name="one", url=url)
    listing = Listing(server=ref, version="1", models=models)
    return call(listings.store_listings, [listing], prune=prune)


PIN = call(pins.put, "m:latest", DIGEST)
CHANGES = [
    call(servers.add, TWO),
    call(servers.add, replace(TWO, is_default=True)),
    call(servers.change, "one", {"priority": 1}),
    call(servers.change, "one", {"max_concurrent": 2}),
    call(servers.change, "one", {"is_default": True}),
    call(servers.change, "one", {"headers": {"X-A": "b"}}),
    after(listed(*MODELS))(call(servers.change, "one", {"url": "http://elsewhere"})),
    call(servers.remove, "one"),
    call(checks.record_checks, [UP]),
    after(call(checks.record_checks, [UP]))(call(checks.record_checks, [DOWN])),
    after(call(checks.record_checks, [DOWN]))(call(checks.record_checks, [UP])),
    call(health.store, [seen(failures=1)]),
    after(call(health.store, [seen(failures=1)]))(call(health.store, [seen(failures=2)])),
    after(call(health.store, [seen(failures=1)]))(call(health.store, [seen(failures=0)])),
    listed(*MODELS),
    listed(),  # online from now on
    after(listed(*MODELS))(listed()),
    after(listed(*MODELS))(listed(ListedModel(name="m:latest", digest=OTHER))),
    after(listed(*MODELS), listed())(listed(*MODELS)),
    after(listed(*MODELS), listed())(listed(prune=True)),
    after(listed(*MODELS), call(checks.record_checks, [DOWN]))(listed(*MODELS)),
    after(listed(*MODELS))(call(listings.store_details, {DIGEST: DETAILS})),
    PIN,
    after(PIN)(call(pins.put, "m:latest", OTHER)),
    after(PIN)(call(pins.put, "M:latest", DIGEST)),
    after(PIN)(call(pins.remove, "m:latest")),
]
NO_CHANGES = [
    call(servers.change, "one", {"priority": 0, "is_active": True, "headers": {}}),
    after(call(servers.change, "one", {"is_default": True}))(
        call(servers.change, "one", {"is_default": True})
    ),
    call(checks.record_checks, []),
    after(call(checks.record_checks, [UP]))(call(checks.record_checks, [UP])),
    after(call(checks.record_checks, [DOWN]))(call(checks.record_checks, [DOWN])),
    call(
        checks.record_checks,
        [
            CheckResult(
                server=ServerRef(id=9, name="9", url="http://9"),
                status=ServerStatus.ONLINE,
                version="1",
                ms=1,
            )
        ],
    ),
    call(health.store, []),
    call(health.store, [seen(failures=1, ref=replace(ONE, url="http://moved"))]),
    after(call(health.store, [seen(failures=1)]))(
        call(health.store, [seen(failures=0, seconds=-1)])
    ),
    after(call(health.store, [seen(failures=1)]))(call(health.store, [seen(failures=1)])),
    after(listed(*MODELS))(listed(*MODELS)),
    after(listed(*MODELS))(listed(*MODELS, prune=True)),
    listed(*MODELS, url="http://moved"),
    after(listed(*MODELS), call(listings.store_details, {DIGEST: DETAILS}))(
        call(listings.store_details, {DIGEST: DETAILS})
    ),
    after(listed(*MODELS), call(listings.store_details, {DIGEST: OLD}))(
        call(listings.store_details, {DIGEST: OLD})
    ),
    call(listings.store_details, {OTHER: DETAILS}),  # nobody holds it
    after(PIN)(PIN),
    call(pins.remove, "m:latest"),
]


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """A database with a server that nobody has asked yet."""
    opened = Database(Settings.read({}, database_url), lambda: None)
    await opened.write(servers.add, NEW)
    yield opened
    opened.close()


def kept(connection: Connection) -> list[Any]:
    """All rows of the three tables, but for what is not counted."""
    found: list[Any] = []
    for table in (tables.servers, tables.models, tables.pins):
        columns = [column for column in table.columns if column.name not in UNCOUNTED]
        found.append(connection.execute(select(*columns).order_by(*table.primary_key)).all())
    return found


@pytest.mark.parametrize("write", CHANGES, ids=lambda write: write.path)
async def test_change_raises_the_revision_by_one(db: Database, write: Write) -> None:
    for earlier in write.before:
        await db.write(earlier)
    before, revision = await db.read(kept), await db.read(registry.revision)
    await db.write(write)
    assert await db.read(kept) != before
    assert await db.read(registry.revision) == revision + 1


@pytest.mark.parametrize("write", NO_CHANGES, ids=lambda write: write.path)
async def test_write_of_what_is_there_raises_nothing(db: Database, write: Write) -> None:
    for earlier in write.before:
        await db.write(earlier)
    before, revision = await db.read(kept), await db.read(registry.revision)
    await db.write(write)
    assert await db.read(kept) == before
    assert await db.read(registry.revision) == revision


def test_each_function_that_writes_servers_models_or_pins_is_among_these() -> None:
    # who may try a server that failed is asked of the row itself, each time
    assert {write.path for write in CHANGES} | {"health.take_try"} == set(writers())


def writers() -> Iterator[str]:
    """The public functions of the store that write one of the three tables, or call one of their
    module that does.
    """
    for path in STORE.glob("*.py"):
        functions = {
            node.name: node
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.FunctionDef)
        }
        writing = {name for name, node in functions.items() if any(map(writes, ast.walk(node)))}
        while True:
            callers = {
                name
                for name, node in functions.items()
                if writing & {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            }
            if callers <= writing:
                break
            writing |= callers
        yield from (f"{path.stem}.{name}" for name in writing if not name.startswith("_"))


def writes(node: ast.AST) -> bool:
    """Whether this is `update(servers)` or its like."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        return False
    named = {argument.id for argument in node.args if isinstance(argument, ast.Name)}
    return node.func.id in WRITES and bool(named & KEPT)


async def test_row_that_discovery_throws_away_unread_is_a_change(
    migrated_sqlite_file: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{shutil.copy(migrated_sqlite_file, tmp_path / 'one.db')}"
    db = Database(Settings.read({}, url), lambda: None)
    await db.write(servers.add, NEW)
    await db.write(listed(*MODELS))
    await db.write(listed())
    breaking = (
        "PRAGMA ignore_check_constraints = ON",
        "UPDATE ollama_models SET capabilities = '5'",
    )
    execute(url, *breaking)
    revision = await db.read(registry.revision)
    await db.write(listed())
    assert await db.read(registry.revision) == revision + 1
    db.close()


async def test_transaction_that_fails_raises_nothing(db: Database) -> None:
    def change_and_fail(connection: Connection) -> None:
        servers.change(connection, "one", {"priority": 1})
        raise ServerExists("no")

    revision = await db.read(registry.revision)
    with pytest.raises(ServerExists):
        await db.write(change_and_fail)
    assert await db.read(registry.revision) == revision


async def test_many_changes_of_one_transaction_raise_it_once(db: Database) -> None:
    def change_twice(connection: Connection) -> None:
        servers.change(connection, "one", {"priority": 1})
        pins.put(connection, "m:latest", DIGEST)

    revision = await db.read(registry.revision)
    await db.write(change_twice)
    assert await db.read(registry.revision) == revision + 1


async def test_twenty_writers_at_once_are_all_counted_and_none_waits_for_another(
    db: Database, database_url: str
) -> None:
    others = [Database(Settings.read({}, database_url), lambda: None) for _ in range(4)]
    revision = await db.read(registry.revision)

    async def change(number: int) -> None:
        other = others[number % 4]
        name = f"server-{number}"
        new = replace(NEW, name=name, url=f"http://{name}")
        row = await other.write(servers.add, new)
        await other.write(servers.change, row.id, {"is_default": True})
        await other.write(pins.put, "m:latest", f"{number:064x}")
        await other.write(listed(*MODELS))  # changes nothing but at the first time
        with pytest.raises(AdminError):
            await other.write(servers.add, new)

    await asyncio.gather(*(change(number) for number in range(20)))
    for other in others:
        other.close()
    assert await db.read(registry.revision) == revision + 20 * 3 + 1
    if database_url.startswith("postgresql"):
        db.close()
        assert deadlocks(database_url) == 0


async def test_lost_row_is_told_and_nothing_is_changed(db: Database) -> None:
    await db.write(lambda connection: connection.execute(delete(tables.registry)))
    with pytest.raises(DatabaseUnavailable, match="ollama_registry has no row") as failed:
        await db.write(PIN)
    assert await db.read(pins.digests) == {}
    statement = (failed.value.hint or "").rpartition(": ")[2]
    await db.write(lambda connection: connection.execute(text(statement)))
    await db.write(PIN)


@pytest.mark.parametrize("values", [{"id": 2}, {"revision": -1}, {"revision": None}])
async def test_database_refuses_another_row_than_the_one(
    db: Database, values: dict[str, Any]
) -> None:
    with pytest.raises(AdminError):
        await db.write(lambda c: c.execute(update(tables.registry).values(values)))
