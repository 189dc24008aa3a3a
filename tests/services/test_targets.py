"""Which servers a command is about: those that are named, or all that have what is asked for."""

from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.errors import InvalidInput, ServerNotFound
from ollama_admin.services.targets import Targets

FLEET: dict[str, dict[str, Any]] = {
    "one": {"labels": {"gpu": "a100", "room": "1"}},
    "two": {"labels": {"gpu": "a100", "room": "2"}, "capabilities": ("vision",)},
    "three": {"labels": {"gpu": "t4"}, "is_active": False},
    "four": {"capabilities": ("Vision",), "priority": 1},
}


@pytest.fixture(autouse=True)
async def fleet(client: Client) -> None:
    for name, columns in FLEET.items():
        await client.servers.add(name=name, url=f"http://{name}", **columns)


async def meant(client: Client, **asked: Any) -> list[str]:
    db = client._resources.db
    return [server.name for server in await db.read(Targets(**asked).servers)]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["four", "one", "two"]),
        ({"all": True}, ["four", "one", "two", "three"]),
        ({"names": ["two", 1, "TWO"]}, ["two", "one"]),
        ({"names": ["three"]}, ["three"]),
        ({"labels": ["gpu=a100"]}, ["one", "two"]),
        ({"labels": ["gpu"]}, ["one", "two"]),
        ({"labels": ["gpu"], "all": True}, ["one", "two", "three"]),
        ({"labels": ["gpu=a100", "room=2"]}, ["two"]),
        ({"capability": "VISION"}, ["four", "two"]),
        ({"capability": "vision", "labels": ["gpu=a100"]}, ["two"]),
    ],
)
async def test_servers_are_meant_by_name_label_and_capability(
    client: Client, asked: dict[str, Any], expected: list[str]
) -> None:
    assert await meant(client, **asked) == expected


@pytest.mark.parametrize(
    ("asked", "message", "hint"),
    [
        ({"names": ["thre"]}, "no server named 'thre'", "nearest: three"),
        ({"labels": ["gpu=a10"]}, "no server has label gpu=a10", "nearest: gpu=a100"),
        ({"labels": ["gup"]}, "no server has label gup", "server list"),
        ({"labels": ["gpu=t4"]}, "no active server has label gpu=t4", "inactive: three"),
        ({"labels": ["gpu", "room=3"]}, "no server has label gpu and label room=3", "room=1"),
        ({"capability": "visoin"}, "no server has capability 'visoin'", "nearest: vision"),
    ],
)
async def test_what_no_server_has_is_an_error_with_what_comes_nearest(
    client: Client, asked: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(ServerNotFound) as caught:
        await meant(client, **asked)
    assert caught.value.message == message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    "filters", [{"all": True}, {"labels": ["gpu"]}, {"capability": "vision"}], ids=str
)
def test_names_and_a_filter_contradict_each_other(filters: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="are both given"):
        Targets(names=["one"], **filters)


def test_nothing_that_is_given_means_all_active_ones() -> None:
    assert not Targets().is_given
    assert Targets(all=True).is_given
    assert Targets(names=["one"]).names_one
    assert not Targets(labels=["gpu"]).names_one


@pytest.mark.parametrize("text", ["", "=a100", "gpu=", "-gpu=1", "gpu= a", "g" * 64, "gpu=\x1b"])
def test_a_text_that_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="label"):
        Targets(labels=[text])


async def test_a_list_is_filtered_by_labels_and_may_be_empty(client: Client) -> None:
    rows = await client.servers.list(labels=["gpu"])
    assert [row.name for row in rows] == ["one", "two", "three"]
    assert await client.servers.list(labels=["gpu=none"]) == []
    rows = list(await client.servers.page(labels=["room=2"]))
    assert [row.name for row in rows] == ["two"]


# labels


async def test_labels_are_set_one_by_one_and_taken_away(client: Client) -> None:
    changed = await client.servers.update("one", labels={"room": None, "gpu": "h100", "a": "b"})
    assert changed.labels == {"a": "b", "gpu": "h100"}
    assert (await client.servers.show("one")).labels == changed.labels
    cleared = await client.servers.update("one", clear=["labels"])
    assert cleared.labels == {}


async def test_another_label_is_another_state_of_the_row(client: Client) -> None:
    before = (await client.servers.show("one")).state
    after = (await client.servers.update("one", labels={"gpu": "h100"})).state
    assert after != before


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"gpu": 1}, "labels.gpu is of type int, not text"),
        ([("gpu", "a100")], "labels is of type list, not an object"),
        ({"g pu": "1"}, "'g pu' is no key of a label"),
        ({"gpu": "x" * 101}, "no value of label gpu"),
        ({str(number): "x" for number in range(51)}, "at most 50 labels, these are 51"),
    ],
)
async def test_labels_that_cannot_be_are_refused_and_nothing_is_written(
    client: Client, labels: Any, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        await client.servers.add(name="five", url="http://five", labels=labels)
    assert len(await client.servers.list()) == len(FLEET)


async def test_a_label_of_another_program_that_is_no_text_names_its_row(client: Client) -> None:
    def write(connection: Any) -> None:
        connection.exec_driver_sql("UPDATE ollama_servers SET labels = '{\"gpu\": 1}' WHERE id = 1")

    await client._resources.db.write(write)
    with pytest.raises(Exception, match="server 1, 'one': its labels cannot be read"):
        await client.servers.show("one")
