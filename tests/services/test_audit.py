"""The audit: a row for each change, by whatever way it came, and for what was refused."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.audit import AuditEntry
from ollama_admin.domain.callers import OWNER, Caller, Way
from ollama_admin.errors import AdminError, Conflict, InvalidInput, NotFound, ServerNotFound
from tests.store.revisions import execute

DIGEST = "a" * 64
Change = Callable[[Client], Awaitable[Any]]


async def last(client: Client) -> AuditEntry:
    return (await client.audit.list(limit=1))[0]


async def prepared(client: Client) -> None:
    await client.servers.add(name="one", url="10.0.0.1", auth_type="bearer", auth_config=TOKEN)
    await client.pins.set("alpha", digest=DIGEST)
    await client.keys.add(name="team")


TOKEN = {"token": "canary-of-the-audit"}

CHANGES: dict[str, tuple[Change, str]] = {
    "server.add": (lambda c: c.servers.add(name="two", url="10.0.0.2"), "server 2, two"),
    "server.update": (lambda c: c.servers.update("one", priority=7), "server 1, one"),
    "server.disable": (lambda c: c.servers.disable("one"), "server 1, one"),
    "server.enable": (lambda c: c.servers.enable("one"), "server 1, one"),
    "server.set-default": (lambda c: c.servers.set_default("one"), "server 1, one"),
    "server.remove": (lambda c: c.servers.remove("one"), "server 1, one"),
    "pin.set": (lambda c: c.pins.set("alpha", digest="b" * 64), "pin alpha:latest"),
    "pin.remove": (lambda c: c.pins.remove("alpha"), "pin alpha:latest"),
    "key.add": (lambda c: c.keys.add(name="other"), "key 2, other"),
    "key.update": (lambda c: c.keys.update("team", weight=2), "key 1, team"),
    "key.rotate": (lambda c: c.keys.rotate("team"), "key 1, team"),
    "key.revoke": (lambda c: c.keys.revoke("team"), "key 1, team"),
    "key.remove": (lambda c: c.keys.remove("team"), "key 1, team"),
    "receipts.prune": (lambda c: c.receipts.prune(), "receipts"),
    "secrets.rotate": (lambda c: c.secrets.rotate(), "secrets"),
}


@pytest.fixture
async def keyed(database_url: str, tmp_path: Path) -> Any:
    """A client that has a key for secrets, on both databases."""
    environ = {"OLLAMA_ADMIN_SECRET_KEY": "k" * 43 + "="}
    async with Client(database_url=database_url, environ=environ, on_note=lambda _: None) as opened:
        yield opened


@pytest.mark.parametrize("action", CHANGES)
async def test_every_change_leaves_one_row(keyed: Client, action: str) -> None:
    await prepared(keyed)
    count = len(await keyed.audit.list())
    work, subject = CHANGES[action]
    await work(keyed)
    assert len(await keyed.audit.list()) == count + 1
    entry = await last(keyed)
    assert (entry.action, entry.subject, entry.outcome) == (action, subject, "ok")
    assert (entry.way, entry.key_id) == (Way.PYTHON, None)
    assert "@" in entry.who
    assert "canary" not in repr(entry)


async def test_row_tells_before_and_after_and_no_secret(keyed: Client, database_url: str) -> None:
    await prepared(keyed)
    await keyed.servers.update("one", priority=7, auth_config={"token": "canary-two"})
    entry = await last(keyed)
    assert entry.before is not None
    assert entry.after is not None
    assert (entry.before["priority"], entry.after["priority"]) == (0, 7)
    assert entry.after["auth_config"] == {"token": "********"}
    issued = await keyed.keys.rotate("team")
    stored = json.dumps(execute(database_url, "SELECT * FROM ollama_audit"), default=str)
    assert "canary" not in stored
    assert issued.text.reveal()[14:] not in stored


REFUSED: dict[str, tuple[Change, type[AdminError], str, str]] = {
    "server.add": (
        lambda c: c.servers.add(name="one", url="10.0.0.9"),
        Conflict,
        "one",
        "server_exists",
    ),
    "server.remove": (lambda c: c.servers.remove("x"), ServerNotFound, "x", "server_not_found"),
    "key.add": (lambda c: c.keys.add(name="team"), Conflict, "team", "conflict"),
    "key.revoke": (lambda c: c.keys.revoke("x"), NotFound, "x", "not_found"),
}


@pytest.mark.parametrize("action", REFUSED)
async def test_refused_change_leaves_a_row_and_nothing_else(keyed: Client, action: str) -> None:
    await prepared(keyed)
    work, kind, subject, outcome = REFUSED[action]
    with pytest.raises(kind):
        await work(keyed)
    entry = await last(keyed)
    assert (entry.action, entry.subject, entry.outcome) == (action, subject, outcome)
    assert (entry.before, entry.after) == (None, None)
    assert [one.action for one in await keyed.audit.list(refused=True)] == [action]


async def test_what_is_no_change_at_all_leaves_no_row(client: Client) -> None:
    with pytest.raises(InvalidInput):
        await client.keys.add(name="7")
    with pytest.raises(InvalidInput):
        await client.keys.show("oadm_00000000_" + "x" * 43)
    await client.keys.list()
    assert await client.audit.list() == []


async def test_change_that_is_not_written_has_no_row_of_success(
    client: Client, database_url: str
) -> None:
    """Both are in one transaction."""
    execute(database_url, "DROP TABLE ollama_audit")
    with pytest.raises(AdminError):
        await client.keys.add(name="team")
    assert await client.keys.list() == []


async def test_entries_are_chosen_by_what_is_given(client: Client) -> None:
    boss = (await client.keys.add(name="boss", can=["admin"])).key
    caller = Caller(way=Way.API, rights=OWNER, key=boss)
    await client.for_caller(caller).keys.update("boss", note="x")
    assert [entry.action for entry in await client.audit.list(who="boss")] == ["key.update"]
    assert [entry.key_id for entry in await client.audit.list(who="boss")] == [1]
    assert len(await client.audit.list(action="key")) == 2
    assert len(await client.audit.list(action="key.add")) == 1
    assert await client.audit.list(action="pin") == []
    newest, oldest = await client.audit.list()
    assert await client.audit.list(below=newest.id) == [oldest]
    assert await client.audit.list(since=newest.created_at) == [newest]
    with pytest.raises(InvalidInput):
        await client.audit.list(limit=0)
