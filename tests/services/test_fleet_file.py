"""`Client.fleet.file`: a fleet as a file, planned, applied, compared and written."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from ollama_admin.client import Client
from ollama_admin.documents import document
from ollama_admin.domain.fleet_file import Action, Plan
from ollama_admin.errors import (
    Conflict,
    FileConflict,
    InvalidFile,
    NotFound,
    StateChanged,
)
from ollama_admin.rules.fleet_text import document_of, yaml_of
from ollama_admin.services.fleet_reading import DEFAULTS
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Registry
from ollama_admin.vault import new_key
from tests.fake_ollama import FakeOllama
from tests.services import fleets

DIGEST = "ab" * 32
FILE = f"""\
version: 1
owner: team
servers:
  - name: gpu-1
    url: http://10.0.0.1
    labels: {{country: no}}
    auth: {{type: bearer, secret: env:TOKEN}}
  - name: gpu-2
    url: http://10.0.0.2
    max_concurrent: 4
pins:
  - {{name: "alpha", digest: {DIGEST}}}
keys:
  - {{name: office, can: [ask, read], note: no}}
settings: {{default_server: gpu-1}}
"""


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    """A client that can keep secrets, once on SQLite and once on PostgreSQL."""
    environ = {"OLLAMA_ADMIN_SECRET_KEY": new_key().reveal()}
    async with Client(database_url=database_url, environ=environ) as opened:
        yield opened


def begun(rest: str, owner: str = "team") -> str:
    return f"version: 1\nowner: {owner}\n{rest}"


def server(name: str, more: str = "") -> str:
    return f"servers:\n  - {{name: {name}, url: http://{name}{more}}}\n"


def told(plan: Plan) -> list[tuple[str, str, str]]:
    return [(step.action, step.noun, step.name) for step in plan.steps]


async def actions(client: Client) -> list[tuple[str, str]]:
    entries = await client.audit.list()
    return [(entry.action, entry.outcome) for entry in reversed(entries)]


async def owners(client: Client) -> dict[str, str | None]:
    rows: list[Any] = [*await client.servers.list(), *await client.pins.list()]
    rows += await client.keys.list()
    return {row.name: row.managed_by for row in rows}


async def test_file_is_applied_once_and_then_there_is_nothing_to_do(client: Client) -> None:
    plan = await client.fleet.file.plan(FILE)
    assert told(plan) == [
        ("add", "server", "gpu-1"),
        ("add", "server", "gpu-2"),
        ("change", "setting", "default_server"),
        ("add", "key", "office"),
        ("add", "pin", "alpha"),
    ]
    assert await client.servers.list() == []
    applied = await client.fleet.file.apply(FILE, plan=plan.fingerprint)
    assert [issued.key.name for issued in applied.issued] == ["office"]
    assert document(applied)["keys"][0]["key"] == applied.issued[0].text.reveal()
    first = await client.servers.show("gpu-1")
    assert (first.is_default, first.labels, first.managed_by) == (True, {"country": "no"}, "team")
    assert first.auth_config == {"token": "env:TOKEN"}
    assert set((await owners(client)).values()) == {"team"}
    before = await actions(client)
    assert before == [
        ("server.add", "ok"),
        ("server.add", "ok"),
        ("server.set-default", "ok"),
        ("key.add", "ok"),
        ("pin.set", "ok"),
    ]
    again = await client.fleet.file.apply(FILE)
    assert (again.plan.steps, again.plan.unchanged, again.issued) == ([], 5, [])
    assert await actions(client) == before


async def test_change_of_the_file_changes_those_fields_and_keeps_the_key(client: Client) -> None:
    await client.fleet.file.apply(FILE)
    rows = [await client.servers.show("gpu-2"), await client.keys.show("office")]
    changed = FILE.replace("max_concurrent: 4", "priority: 3").replace("[ask, read]", "[ask]")
    changed = changed.replace("env:TOKEN", "file:/run/token").replace(DIGEST, "cd" * 32)
    plan = await client.fleet.file.plan(changed)
    assert [
        (step.name, change.field, change.before, change.after)
        for step in plan.steps
        for change in step.changes
    ] == [
        ("gpu-1", "auth", _bearer("env:TOKEN"), _bearer("file:/run/token")),
        ("gpu-2", "max_concurrent", 4, 1),
        ("gpu-2", "priority", 0, 3),
        ("office", "can", ["ask", "read"], ["ask"]),
        ("alpha:latest", "digest", DIGEST, "cd" * 32),
    ]
    await client.fleet.file.apply(changed)
    assert (await client.servers.show("gpu-2")).id == rows[0].id
    assert (await client.keys.show("office")).public_id == rows[1].public_id
    assert (await client.servers.show("gpu-1")).auth_config == {"token": "file:/run/token"}
    assert (await client.fleet.file.plan(changed)).steps == []


def _bearer(secret: str) -> dict[str, str]:
    return {"type": "bearer", "secret": secret}


async def test_what_the_file_names_no_longer_goes_with_prune_alone(client: Client) -> None:
    await client.fleet.file.apply(FILE)
    await client.servers.add(name="mine", url="http://mine")
    await client.fleet.file.apply(begun(server("theirs"), "other"))
    await client.keys.add(name="person")
    empty = begun("")
    kept = await client.fleet.file.plan(empty)
    assert {step.action for step in kept.steps} == {Action.KEEP}
    assert kept.pending == []
    await client.fleet.file.apply(empty)
    assert len(await owners(client)) == 7
    pruned = await client.fleet.file.apply(empty, prune=True)
    assert sorted(told(pruned.plan)) == [
        ("remove", "key", "office"),
        ("remove", "pin", "alpha:latest"),
        ("remove", "server", "gpu-1"),
        ("remove", "server", "gpu-2"),
    ]
    assert await owners(client) == {"mine": None, "theirs": "other", "person": None}
    assert (await client.fleet.file.apply(empty, prune=True)).plan.steps == []


async def test_row_of_another_owner_or_of_a_person_is_a_conflict(client: Client) -> None:
    await client.servers.add(name="mine", url="http://mine")
    await client.servers.add(name="same", url="http://same")
    await client.fleet.file.apply(begun(server("theirs"), "other"))
    text = begun(
        "servers:\n"
        "  - {name: new, url: http://new}\n"
        "  - {name: mine, url: http://mine, priority: 2}\n"
        "  - {name: same, url: http://same}\n"
        "  - {name: theirs, url: http://theirs}\n"
        "  - {name: second, url: http://mine/}\n"
    )
    with pytest.raises(
        InvalidFile, match="line 8, column 12: the URL http://mine stands in line 5"
    ):
        await client.fleet.file.plan(text)
    text = text.replace("http://mine/", "http://elsewhere")
    rows = await owners(client)
    for work in (client.fleet.file.plan, client.fleet.file.apply):
        with pytest.raises(FileConflict) as caught:
            await work(text)
        first, second = caught.value.lines
        assert first.startswith("line 5: server mine was made by a person and differs (priority)")
        assert second == "line 7: server theirs belongs to the file of other"
    assert await owners(client) == rows
    assert (await actions(client))[-1] == ("fleet.apply", "file_conflict")


async def test_url_of_a_row_that_the_file_does_not_name_is_a_conflict(client: Client) -> None:
    await client.servers.add(name="mine", url="http://shared")
    with pytest.raises(FileConflict, match="the URL of server new is taken by server mine"):
        await client.fleet.file.plan(begun("servers: [{name: new, url: http://shared}]"))


async def test_rows_of_people_are_taken_over_where_that_is_asked_for(client: Client) -> None:
    await client.servers.add(name="mine", url="http://mine", is_default=True)
    await client.servers.add(name="same", url="http://same")
    await client.keys.add(name="person")
    await client.fleet.file.apply(begun(f'pins: [{{name: "a", digest: {DIGEST}}}]', "other"))
    text = begun(
        "servers:\n  - {name: Mine, url: http://mine, priority: 2}\n"
        "  - {name: same, url: http://same}\nkeys: [{name: person}]\n"
        "settings: {default_server: same}\n"
    )
    applied = await client.fleet.file.apply(text, adopt=True)
    assert told(applied.plan) == [
        ("adopt", "server", "mine"),
        ("adopt", "server", "same"),
        ("change", "setting", "default_server"),
        ("adopt", "key", "person"),
    ]
    assert applied.issued == []
    assert await owners(client) == {
        "mine": "team",
        "same": "team",
        "person": "team",
        "a:latest": "other",
    }
    assert (await client.servers.show("same")).is_default
    assert (await client.fleet.file.plan(text)).steps == []


async def test_default_server_of_somebody_else_is_left_alone(client: Client) -> None:
    await client.servers.add(name="mine", url="http://mine", is_default=True)
    with pytest.raises(FileConflict, match="would change server mine"):
        await client.fleet.file.apply(FILE)
    assert (await client.servers.show("mine")).is_default


async def test_plan_that_is_no_longer_so_is_not_done(client: Client) -> None:
    await client.fleet.file.apply(FILE)
    changed = FILE.replace("max_concurrent: 4", "max_concurrent: 5")
    plan = await client.fleet.file.plan(changed)
    assert (await client.fleet.file.plan(changed)).fingerprint == plan.fingerprint
    await client.servers.update("gpu-2", priority=7)  # the same step is left, of another row
    with pytest.raises(StateChanged, match=f"now, not {plan.fingerprint}"):
        await client.fleet.file.apply(changed, plan=plan.fingerprint)
    assert (await client.servers.show("gpu-2")).max_concurrent == 4
    current = await client.fleet.file.plan(changed)
    assert current.fingerprint != plan.fingerprint
    await client.fleet.file.apply(changed, plan=current.fingerprint)


async def test_fingerprint_is_of_the_options_too(client: Client) -> None:
    await client.fleet.file.apply(FILE)
    plan = await client.fleet.file.plan(begun(""))
    with pytest.raises(StateChanged):
        await client.fleet.file.apply(begun(""), plan=plan.fingerprint, prune=True)
    assert len(await client.servers.list()) == 2


async def test_what_is_refused_in_the_middle_leaves_no_row(client: Client) -> None:
    await client.fleet.file.apply(begun("keys: [{name: boss, can: [admin]}]"))
    text = begun(server("new"))
    with pytest.raises(Conflict, match="last key that may administrate"):
        await client.fleet.file.apply(text, prune=True)
    assert await owners(client) == {"boss": "team"}
    assert await actions(client) == [("key.add", "ok"), ("fleet.apply", "conflict")]


async def test_two_who_apply_one_file_at_once_make_it_once(client: Client) -> None:
    applied = await asyncio.gather(*(client.fleet.file.apply(FILE) for _ in range(4)))
    assert sorted(len(each.plan.steps) for each in applied) == [0, 0, 0, 5]
    assert len(await owners(client)) == 4


async def test_secret_that_the_database_keeps_stays_and_only_at_its_origin(client: Client) -> None:
    await client.servers.add(
        name="a",
        url="http://a",
        auth_type="bearer",
        auth_config={"token": "hunter2"},
        headers={"X-A": "hunter3", "X-B": "hunter4"},
    )
    head = "version: 1\nowner: team\nservers:\n  - name: a\n    url: http://a\n"
    stored = "    auth: {type: bearer, secret: stored}\n    headers: {X-A: stored}\n"
    await client.fleet.file.apply(head + stored, adopt=True)
    target = await client._resources.auth.target(await client._resources.db.read(_row_of_a))
    assert {name: secret.reveal() for name, secret in target.headers.items()} == {
        "Authorization": "Bearer hunter2",
        "X-A": "hunter3",
    }
    moved = head.replace("http://a", "http://elsewhere") + stored
    with pytest.raises(FileConflict) as caught:
        await client.fleet.file.plan(moved)
    assert [line.partition(" for ")[2].partition(";")[0] for line in caught.value.lines] == [
        "auth",
        "header X-A",
    ]
    other = begun("servers: [{name: b, url: http://b, headers: {X-A: stored}}]")
    with pytest.raises(FileConflict, match="server b has no stored secret for header X-A"):
        await client.fleet.file.plan(other)


def _row_of_a(connection: Any) -> Any:
    from ollama_admin.store import servers

    return servers.find(connection, "a")


async def test_pin_by_the_beginning_of_a_digest_is_of_a_build_that_is_known(client: Client) -> None:
    text = begun(f"pins: [{{name: alpha, digest: {DIGEST[:12]}}}]")
    with pytest.raises(FileConflict, match="no known build of 'alpha'"):
        await client.fleet.file.plan(text)
    row = await client.servers.add(name="one", url="http://one")
    await client._resources.db.write(fleets.hold, row.id, [("alpha:latest", DIGEST)])
    await client.fleet.file.apply(text)
    assert [pin.digest for pin in await client.pins.list()] == [DIGEST]
    assert (await client.fleet.file.plan(text)).steps == []


async def test_models_are_pulled_after_the_rows_and_only_when_asked(client: Client) -> None:
    alpha, beta = SimulatedModel("alpha", size=10_000), SimulatedModel("beta", size=10_000)
    async with FakeOllama(alpha, registry=Registry([alpha])) as fake:
        text = begun(
            f"servers: [{{name: one, url: {fake.url}}}]\n"
            f"models:\n  - {{name: alpha, digest: {alpha.digest[:12]}, servers: [one]}}\n"
            "  - {name: beta, servers: [one]}\n"
        )
        applied = await client.fleet.file.apply(text)
        assert (applied.pulls, len(applied.plan.pulls)) == (None, 2)
        assert [each.path for each in fake.requests] == []
        pulled = await client.fleet.file.apply(text, pull=True)
        assert pulled.pulls is not None
        [failed] = pulled.pulls.results  # alpha is there already
        assert (failed.model, pulled.failed) == ("beta", 1)
        left = await client.fleet.file.plan(text)
        assert told(left) == [("pull", "model", "beta")]
        fake.registry.models["beta:latest"] = beta
        assert (await client.fleet.file.apply(text, pull=True)).failed == 0
        assert (await client.fleet.file.plan(text)).steps == []
        assert "/api/delete" not in [each.path for each in fake.requests]


async def test_another_build_than_the_wanted_one_is_to_be_pulled(client: Client) -> None:
    await client.fleet.file.apply(begun(server("one")))
    row = await client.servers.show("one")
    await client._resources.db.write(fleets.hold, row.id, [("alpha:latest", DIGEST)])
    text = begun(server("one") + "models: [{name: alpha, digest: cdcdcdcdcdcd, servers: [one]}]")
    [step] = (await client.fleet.file.plan(text)).steps
    assert (step.action, step.changes[0].before) == (Action.PULL, DIGEST[:12])
    difference = await client.fleet.file.diff(text)
    assert f"-    digest: {DIGEST}" in difference
    assert "+    digest: cdcdcdcdcdcd" in difference


async def test_difference_is_a_text_and_empty_where_nothing_is_to_be_done(client: Client) -> None:
    await client.fleet.file.apply(FILE)
    assert await client.fleet.file.diff(FILE) == ""
    changed = FILE.replace("max_concurrent: 4", "max_concurrent: 5")
    lines = (await client.fleet.file.diff(changed)).splitlines()
    assert [line for line in lines if line[0] in "+-"] == [
        "--- fleet",
        "+++ file",
        "-    max_concurrent: 4",
        "+    max_concurrent: 5",
    ]
    assert await client.fleet.file.diff(begun("")) == ""
    assert "-  - name: gpu-1" in await client.fleet.file.diff(begun(""), prune=True)


async def test_revoked_key_is_not_made_again_and_not_written(client: Client) -> None:
    await client.fleet.file.apply(FILE)
    await client.keys.revoke("office")
    applied = await client.fleet.file.apply(FILE)
    assert (applied.issued, (await client.keys.show("office")).is_active) == ([], False)
    assert (await client.fleet.file.export("team")).keys == []


async def test_export_of_nobody_names_the_owners_there_are(client: Client) -> None:
    await client.fleet.file.apply(FILE)
    with pytest.raises(NotFound) as caught:
        await client.fleet.file.export("nobody")
    assert caught.value.hint == "owners: team"
    await client.fleet.file.apply(begun(server("theirs"), "fleet"))
    assert (await client.fleet.file.export()).owner == "fleet-2"


async def test_file_of_the_wrong_shape_changes_nothing(client: Client) -> None:
    for work in (client.fleet.file.validate, client.fleet.file.plan, client.fleet.file.apply):
        with pytest.raises(InvalidFile):
            await work("version: 1\nowner: team\nservers: [{name: a}]")
    assert await actions(client) == []


async def nothing_to_do_for_what_is_written(client: Client, fleet: dict[str, Any]) -> None:
    """What is exported is the fleet: planned again, in YAML or JSON, there is nothing to do."""
    await fleets.write(client, fleet)
    for owner in (None, "team", "other"):
        try:
            file = await client.fleet.file.export(owner)
        except NotFound:
            continue
        written = document_of(file, DEFAULTS)
        for text in (yaml_of(written), json.dumps(written, default=str)):
            plan = await client.fleet.file.plan(text, prune=True)
            assert plan.steps == [], text
            assert await client.fleet.file.diff(text) == ""


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(fleet=fleets.FLEETS)
async def test_export_is_a_file_that_there_is_nothing_to_do_for(
    client: Client, fleet: dict[str, Any]
) -> None:
    await nothing_to_do_for_what_is_written(client, fleet)


@pytest.mark.chaos
@settings(max_examples=1000, suppress_health_check=list(HealthCheck))
@given(fleet=fleets.FLEETS)
async def test_export_of_a_thousand_fleets_is_a_file_that_there_is_nothing_to_do_for(
    client: Client, fleet: dict[str, Any]
) -> None:
    await nothing_to_do_for_what_is_written(client, fleet)


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(fleet=fleets.FLEETS)
async def test_written_fleet_is_made_again_in_an_empty_database(
    client: Client, fleet: dict[str, Any]
) -> None:
    """Of what is in a file; a secret that only the first database has cannot be."""
    await fleets.write(client, fleet)
    written = yaml_of(document_of(await client.fleet.file.export(), DEFAULTS))
    await client._resources.db.write(fleets.wipe)
    if "stored" in written:
        with pytest.raises(FileConflict, match="has no stored secret"):
            await client.fleet.file.apply(written)
        return
    applied = await client.fleet.file.apply(written)
    assert len(applied.plan.rows) == len(applied.plan.steps) - len(applied.plan.pulls)
    again = await client.fleet.file.plan(written, prune=True)
    assert again.rows == []
