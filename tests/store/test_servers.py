"""Rows of servers under concurrent writers, which the services cannot show."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from ollama_admin.domain.models import ListedModel
from ollama_admin.domain.servers import ApiVersion, Server
from ollama_admin.errors import ServerExists
from ollama_admin.settings import Settings
from ollama_admin.store import database, listings
from ollama_admin.store import servers as store
from ollama_admin.store.database import Database
from ollama_admin.store.servers import NewServer

NAMES = ("one", "two", "three")


@pytest.fixture
async def databases(database_url: str) -> AsyncIterator[tuple[Database, Database]]:
    """Two pools on one database, as two processes have them."""
    async with AsyncExitStack() as stack:
        pair = (
            Database(Settings.read({}, database_url), lambda: None),
            Database(Settings.read({}, database_url), lambda: None),
        )
        for db in pair:
            stack.callback(db.close)
        for name in NAMES:
            await pair[0].write(store.add, new(name, is_default=name == "one"))
        yield pair


def new(name: str, *, is_default: bool = False) -> NewServer:
    return NewServer(
        name=name, url=f"http://{name}", api_version=ApiVersion.NATIVE, is_default=is_default
    )


async def defaults(db: Database) -> list[str]:
    return [server.name for server in await db.read(store.all_servers) if server.is_default]


async def test_defaults_set_at_once_a_hundred_times_leave_exactly_one(
    databases: tuple[Database, Database],
) -> None:
    async def set_default(db: Database, names: tuple[str, ...]) -> None:
        for turn in range(50):
            await db.write(store.change, names[turn % len(names)], {"is_default": True})
            assert len(await defaults(db)) == 1

    await asyncio.gather(set_default(databases[0], NAMES[:2]), set_default(databases[1], NAMES[1:]))


async def test_default_added_while_another_is_set_leaves_exactly_one(
    databases: tuple[Database, Database],
) -> None:
    async def add(db: Database) -> None:
        for number in range(30):
            await db.write(store.add, new(f"new-{number}", is_default=True))

    async def change(db: Database) -> None:
        for turn in range(30):
            await db.write(store.change, NAMES[turn % 3], {"is_default": True})

    await asyncio.gather(add(databases[0]), change(databases[1]))
    assert len(await defaults(databases[0])) == 1


async def test_listing_is_stored_while_the_default_changes_without_a_deadlock(
    databases: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "TRIES", 1)
    one: Server = await databases[0].read(store.find, "one")
    listed = [ListedModel(name=f"model-{number}") for number in range(20)]

    async def store_listing(db: Database) -> None:
        for _ in range(40):
            listing = listings.Listing(server=one.ref, version="0.33.0", models=listed)
            await db.write(listings.store_listings, [listing], prune=False)

    async def change(db: Database) -> None:
        for turn in range(60):
            await db.write(store.change, NAMES[turn % 2], {"is_default": True})

    await asyncio.gather(store_listing(databases[0]), change(databases[1]))


async def test_url_changed_while_its_listing_is_stored_without_a_deadlock(
    databases: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The models of the row are all unavailable, or the listing was of the URL that the row has."""
    monkeypatch.setattr(database, "TRIES", 1)
    listed = [ListedModel(name=f"model-{number}") for number in range(20)]

    async def store_listing(db: Database) -> None:
        for _ in range(40):
            one = await db.read(store.find, "one")
            listing = listings.Listing(server=one.ref, version="0.33.0", models=listed)
            await db.write(listings.store_listings, [listing], prune=False)

    async def change(db: Database) -> None:
        for turn in range(40):
            await db.write(store.change, "one", {"url": f"http://one-{turn}"})

    await asyncio.gather(store_listing(databases[0]), change(databases[1]))


async def test_one_name_added_by_two_at_once_is_added_once(
    databases: tuple[Database, Database],
) -> None:
    for number in range(30):
        name = f"new-{number}"
        outcomes = await asyncio.gather(
            *(db.write(store.add, new(name)) for db in databases),
            return_exceptions=True,
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Server", "ServerExists"]
        refused = next(outcome for outcome in outcomes if isinstance(outcome, ServerExists))
        assert "constraint" not in refused.message


async def test_id_of_a_removed_server_is_never_given_again(
    databases: tuple[Database, Database],
) -> None:
    db = databases[0]
    last = await db.write(store.add, new("last"))
    await db.write(store.remove, last.id)
    assert (await db.write(store.add, new("last"))).id == last.id + 1
    for server in await db.read(store.all_servers):
        await db.write(store.remove, server.id)
    assert (await db.write(store.add, new("first"))).id == last.id + 2
