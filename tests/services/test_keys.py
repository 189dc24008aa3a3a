"""Keys: made, changed, rotated, revoked and removed, on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.documents import document
from ollama_admin.domain.callers import OWNER
from ollama_admin.domain.keys import IssuedKey, KnownKey, Right, hash_of, parts_of
from ollama_admin.errors import Conflict, DatabaseUnavailable, InvalidInput, NotFound
from ollama_admin.rules.access import rights_of
from ollama_admin.store import keys as store
from ollama_admin.store import registry
from ollama_admin.store.database import Database
from tests.rules.rows import server
from tests.store.revisions import execute

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def database(client: Client) -> Database:
    return client._resources.db


async def known(client: Client, name: str) -> KnownKey:
    keys = await database(client).read(store.known)
    return next(key for key in keys if key.key.name == name)


def secret_of(issued: IssuedKey) -> bytes:
    parts = parts_of(issued.text.reveal().encode())
    assert parts is not None
    assert parts[0] == issued.key.public_id
    return parts[1]


async def is_taken(client: Client, issued: IssuedKey, at: datetime) -> bool:
    return (await known(client, issued.key.name)).is_secret(secret_of(issued), at)


async def revision(client: Client) -> int:
    return await database(client).read(registry.revision)


async def test_key_is_taken_and_its_secret_is_nowhere(client: Client, database_url: str) -> None:
    issued = await client.keys.add(name="team", note="of the team")
    secret = secret_of(issued).decode()
    assert await is_taken(client, issued, NOW)
    assert not (await known(client, "team")).is_secret(b"x" * 43, NOW)
    assert (await known(client, "team")).secret_hash == hash_of(secret.encode())
    rows = execute(database_url, "SELECT * FROM ollama_keys")
    assert secret not in str(rows)
    assert secret not in repr(issued)
    assert secret not in str(document(await client.keys.show("team")))
    assert document(issued)["key"] == issued.text.reveal()
    assert len(issued.text.reveal()) == len("oadm_") + 8 + 1 + 43


async def test_new_key_may_ask_and_nothing_else(client: Client) -> None:
    key = (await client.keys.add(name="team")).key
    assert [right for right in Right if key.may(right)] == [Right.ASK]
    assert (key.is_active, key.is_limited, key.weight) == (True, False, 1)
    assert (key.allow_remote, key.allow_truncate, key.anonymous) == (False, False, False)


@pytest.mark.parametrize(
    ("can", "may"),
    [
        (["read"], {"read"}),
        (["manage"], {"read", "manage"}),
        (["admin"], {"ask", "read", "manage", "admin"}),
        (["read", "ask", "ask"], {"ask", "read"}),
    ],
)
async def test_rights_imply_others(client: Client, can: list[str], may: set[str]) -> None:
    key = (await client.keys.add(name="team", can=can)).key
    assert {right for right in Right if key.may(right)} == may


async def test_globs_mean_models_and_servers_whatever_their_spelling(client: Client) -> None:
    issued = await client.keys.add(name="k", models=["qwen*", "Llama3.2"], servers=["GPU-*"])
    key = rights_of(issued.key, OWNER)
    for name in ("qwen3:8b", "library/Qwen3:8b", "registry.ollama.ai/library/qwen3:8b", "llama3.2"):
        assert key.may_ask_model(name)
    assert key.may_ask_model("llama3.2:latest")
    for name in ("llama3.2:3b", "evil/qwen3:8b", "host/library/qwen3:8b", "xqwen"):
        assert not key.may_ask_model(name)
    assert key.may_ask_server(server(1, name="gpu-1"))
    assert not key.may_ask_server(server(1, name="cpu-gpu-1"))


@pytest.mark.parametrize(
    ("labels", "may"),
    [({"gpu": "a100"}, True), ({"gpu": "t4"}, False), ({"room": ""}, True), ({}, False)],
)
async def test_a_label_means_servers_that_carry_it_whatever_their_names(
    client: Client, labels: dict[str, str], may: bool
) -> None:
    issued = await client.keys.add(name="k", servers=["label:gpu=a100", "label:room"])
    rights = rights_of(issued.key, OWNER)
    for name in ("one", "label:gpu=a100"):
        assert rights.may_ask_server(server(1, name=name, labels=labels)) is may


@pytest.mark.parametrize("word", ["label:", "label:gpu=", "label:=a100", "label:g*"])
async def test_a_label_that_no_server_can_have_is_refused(client: Client, word: str) -> None:
    with pytest.raises(InvalidInput, match="label"):
        await client.keys.add(name="k", servers=[word])


async def test_key_is_taken_from_its_networks_alone(client: Client) -> None:
    await client.keys.add(name="k", networks=["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"])
    key = await known(client, "k")
    assert key.narrowest(ip_address("10.1.2.3")) == 16
    assert key.is_from(ip_address("10.9.9.9"))
    assert key.is_from(ip_address("fd00::1"))
    assert not key.is_from(ip_address("11.0.0.1"))
    assert not key.is_from(None)


async def test_old_secret_is_taken_until_the_overlap_is_over(client: Client) -> None:
    first = await client.keys.add(name="team", requests_per_minute=7)
    second = await client.keys.rotate("team", overlap=timedelta(hours=1))
    assert second.key.id == first.key.id
    assert second.key.requests_per_minute == 7
    now = datetime.now(UTC)
    assert await is_taken(client, second, now)
    assert await is_taken(client, first, now)
    assert not await is_taken(client, first, now + timedelta(hours=1))
    third = await client.keys.rotate(first.key.id)
    assert [await is_taken(client, key, now) for key in (first, second, third)] == [
        False,
        False,
        True,
    ]


async def test_revoked_key_is_taken_no_more_until_it_is_rotated(client: Client) -> None:
    first = await client.keys.add(name="team")
    revoked = await client.keys.revoke("TEAM")
    assert not revoked.is_active
    assert not await is_taken(client, first, NOW)
    second = await client.keys.rotate("team", overlap=timedelta(hours=1))
    assert second.key.is_active
    assert not await is_taken(client, first, NOW)
    assert await is_taken(client, second, NOW)


async def test_what_is_given_is_changed_and_nothing_else(client: Client) -> None:
    await client.keys.add(name="team", models=["a*"], max_concurrent=2, note="x")
    changed = await client.keys.update("team", name="Group", weight=3, clear=["note", "models"])
    assert (changed.name, changed.weight, changed.note, changed.models) == ("Group", 3, None, ())
    assert changed.max_concurrent == 2
    assert await client.keys.list() == [changed]


async def test_every_change_raises_the_revision_and_reading_does_not(client: Client) -> None:
    before = await revision(client)
    await client.keys.add(name="team")
    await client.keys.update("team", weight=2)
    await client.keys.rotate("team")
    await client.keys.revoke("team")
    await client.keys.remove("team")
    assert await revision(client) == before + 5
    await client.keys.list()
    assert await revision(client) == before + 5


async def test_last_key_that_may_administrate_stays(client: Client) -> None:
    await client.keys.add(name="asker")
    await client.keys.add(name="old", can=["admin"], expires_at=NOW)
    await client.keys.add(name="boss", can=["admin"])
    yesterday = datetime.now(UTC) - timedelta(days=1)
    for last in (
        lambda: client.keys.revoke("boss"),
        lambda: client.keys.remove("boss"),
        lambda: client.keys.update("boss", can=["ask"]),
        lambda: client.keys.update("boss", expires_at=yesterday),
    ):
        with pytest.raises(Conflict, match="boss is the last key that may administrate"):
            await last()
    assert (await client.keys.show("boss")).may(Right.ADMIN)
    await client.keys.add(name="other", can=["admin"])
    await client.keys.revoke("boss")
    with pytest.raises(Conflict):
        await client.keys.remove("other")
    assert (await client.keys.remove("other", force=True)).name == "other"
    assert [key.name for key in await client.keys.list()] == ["asker", "boss", "old"]


async def test_two_who_revoke_the_last_two_at_once_leave_one(client: Client) -> None:
    await client.keys.add(name="one", can=["admin"])
    await client.keys.add(name="two", can=["admin"])
    results = await asyncio.gather(
        client.keys.revoke("one"), client.keys.revoke("two"), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "Key"]


BAD: dict[str, dict[str, Any]] = {
    "right 'x'": {"can": ["x"]},
    "one right at least": {"can": []},
    "is not a network": {"networks": ["10.0.0.1/8"]},
    "no name and no glob": {"models": [""]},
    "max_concurrent": {"max_concurrent": 0},
    "weight": {"weight": 0},
    "requests_per_minute": {"requests_per_minute": True},
    "tokens_per_day": {"tokens_per_day": 0},
    "no time zone": {"expires_at": datetime(2026, 1, 1)},  # noqa: DTZ001
    "names no network": {"anonymous": True},
    "only ask and read": {"anonymous": True, "networks": ["10.0.0.0/8"], "can": ["manage"]},
    "a note has": {"note": "a\nb"},
    "key name '7'": {"name": "7"},
    "at most 100": {"models": [f"m{n}" for n in range(101)]},
}


@pytest.mark.parametrize("says", BAD)
async def test_key_that_cannot_be_is_refused_and_not_written(client: Client, says: str) -> None:
    pattern = says.replace("right 'x'", "a right in 'x' is not known")
    with pytest.raises(InvalidInput, match=pattern):
        await client.keys.add(**({"name": "k"} | BAD[says]))
    assert await client.keys.list() == []


@pytest.mark.parametrize(
    "given", [{"models": "alpha"}, {"can": "ask"}, {"networks": [7]}, {"note": 7}, {"weight": "2"}]
)
async def test_arguments_of_another_type_are_refused(client: Client, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="is of type"):
        await client.keys.add(name="k", **given)
    assert await client.keys.list() == []


async def test_name_of_another_key_is_refused(client: Client) -> None:
    await client.keys.add(name="Team")
    with pytest.raises(Conflict, match="the name 'team' is taken by key 1"):
        await client.keys.add(name="team")
    await client.keys.add(name="other")
    with pytest.raises(Conflict):
        await client.keys.update("other", name="TEAM")
    await client.keys.update("team", name="TEAM")


async def test_key_that_is_not_there_is_not_found(client: Client) -> None:
    await client.keys.add(name="team")
    for work in (client.keys.show, client.keys.rotate, client.keys.revoke, client.keys.remove):
        with pytest.raises(NotFound, match="no key named 'teem'") as missing:
            await work("teem")
        assert missing.value.hint == "nearest: team"


async def test_key_is_never_named_by_its_text(client: Client) -> None:
    issued = await client.keys.add(name="team")
    with pytest.raises(InvalidInput) as refused:
        await client.keys.show(issued.text.reveal())
    assert secret_of(issued).decode() not in f"{refused.value.message}{refused.value.hint}"


async def test_row_that_another_program_wrote_is_named(client: Client, database_url: str) -> None:
    await client.keys.add(name="team")
    execute(database_url, "UPDATE ollama_keys SET networks = '[\"here\"]'")
    with pytest.raises(DatabaseUnavailable, match="key 1: its networks cannot be read"):
        await client.keys.list()


async def test_use_of_a_key_is_written_and_is_no_change(client: Client) -> None:
    key = (await client.keys.add(name="team")).key
    before = await revision(client)
    for at in (NOW, NOW - timedelta(days=1)):
        await database(client).write(store.record_uses, {key.id: at, 99: at})
    assert (await client.keys.show("team")).last_used_at == NOW
    assert await revision(client) == before
