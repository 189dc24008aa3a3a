"""What is no plain http(s) address of one host is refused at every door, and nothing is asked or
stored (T2).
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.errors import DatabaseUnavailable, InvalidInput
from tests.fake_ollama import FakeOllama
from tests.security.rows import execute

# {port} is that of a server that listens: each of these would reach it, were it followed
SPELLINGS = [
    *(
        "http://127.1:{port}",
        "http://0x7f.1:{port}",
        "http://2130706433:{port}",
        "http://0177.0.0.1:{port}",
    ),
    *(
        "http://[::ffff:127.0.0.1]:{port}",
        "http://0.0.0.0:{port}",
        "http://u:p4ss@127.0.0.1:{port}",
    ),
    *(
        "http://127.0.0.1:{port}/?token=p4ss",
        "http://127.0.0.1:{port}/#p4ss",
        "http://127.0.0.1.:{port}",
    ),
    *("http://127.0.0.1:{port}\\@gpu", "ftp://127.0.0.1:{port}", "unix:///x", "file:///etc/passwd"),
    *(
        "http://127.0.0.1:{port}/../x",
        "http://127.0.0.1:{port}\r\nX-Evil: x",
        "http://①27.0.0.1:{port}",
    ),
]
Door = Callable[[Client, str], Awaitable[Any]]
DOORS: dict[str, Door] = {
    "add": lambda client, url: client.servers.add(name="new", url=url),
    "update": lambda client, url: client.servers.update("gpu", url=url),
    "a single call": lambda client, url: client.generate(
        prompt="hi", model="alpha", server_url=url
    ),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_an_address_that_is_not_written_out_is_refused_unseen(
    client: Client, fake: FakeOllama, database_url: str, spelling: str, door: str
) -> None:
    await client.servers.add(name="gpu", url="http://127.0.0.2:9")
    with pytest.raises(InvalidInput) as caught:
        await DOORS[door](client, spelling.format(port=fake.port))
    assert "p4ss" not in f"{caught.value.message} {caught.value.hint}"
    assert fake.requests == []
    assert execute(database_url, "SELECT url FROM ollama_servers") == [("http://127.0.0.2:9",)]


@pytest.mark.parametrize("spelling", ["http://127.1:{port}", "http://127.0.0.1:{port}/?token=p4ss"])
async def test_a_file_brings_no_such_address_in(
    client: Client, fake: FakeOllama, tmp_path: Path, spelling: str
) -> None:
    (tmp_path / "old.env").write_text(f"OLLAMA_URL={spelling.format(port=fake.port)}\n")
    with pytest.raises(InvalidInput) as caught:
        await client.import_env([tmp_path / "old.env"])
    assert "p4ss" not in f"{caught.value.message} {caught.value.hint}"
    assert await client.servers.list() == []


@pytest.mark.parametrize(
    "url", ["http://u:p4ss@{place}", "http://{place}?x=p4ss", "http://{place}\r\nX-Evil: p4ss"]
)
async def test_an_address_that_somebody_wrote_into_the_database_is_not_asked(
    client: Client, fake: FakeOllama, database_url: str, notes: list[str], url: str
) -> None:
    await client.servers.add(name="gpu", url=fake.url, headers={"X-A": "hunter2"})
    edited = url.format(place=f"127.0.0.1:{fake.port}")
    execute(database_url, "UPDATE ollama_servers SET url = :url", url=edited)
    for asking in (client.servers.check, client.discover, client.servers.list):
        with pytest.raises(DatabaseUnavailable, match="its url cannot be read") as caught:
            await asking()
        assert "p4ss" not in f"{caught.value.message} {notes}"
    assert fake.requests == []
