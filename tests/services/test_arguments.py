"""Arguments of another type than they have: an error that names them, and nothing done."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ollama_admin import Client
from ollama_admin.errors import InvalidInput

Call = Callable[[Any], Awaitable[Any]]  # typed as no caller is made to be

WRONG: tuple[tuple[str, Call], ...] = (
    ("servers is of type int, not a list", lambda client: client.discover(1)),
    ("servers is of type str, not a list", lambda client: client.discover("one")),
    ("servers[0] is of type NoneType, not a name or a number", lambda c: c.discover([None])),
    ("servers[0] is of type bool, not a name or a number", lambda c: c.discover([True])),
    ("timeout is of type str, not a number", lambda client: client.discover(timeout="5")),
    ("concurrency is of type float, not a whole number", lambda c: c.discover(concurrency=1.5)),
    ("servers is of type int, not a list", lambda client: client.servers.check(1)),
    ("servers is of type str, not a list", lambda client: client.servers.check("one")),
    ("servers is of type str, not a list", lambda client: client.models.list("one")),
    ("name is of type int, not text", lambda client: client.models.list(name=1)),
    ("servers is of type int, not a list", lambda client: client.models.by_model(1)),
    ("capability is of type int, not text", lambda client: client.servers.list(capability=1)),
    ("name is not given", lambda client: client.servers.add(name=None, url="http://a")),
    ("name is of type int, not text", lambda client: client.servers.add(name=1, url="http://a")),
    ("url is of type int, not text", lambda client: client.servers.add(name="a", url=1)),
    ("url is not given", lambda client: client.servers.add(name="a", url=None)),
    (
        "capabilities is of type str, not a list",
        lambda client: client.servers.add(name="a", url="http://a", capabilities="vision"),
    ),
    (
        "is_default is of type str, not true or false",
        lambda client: client.servers.add(name="a", url="http://a", is_default="no"),
    ),
    (
        "auth_config is of type str, not an object",
        lambda c: c.servers.add(name="a", url="http://a", auth_type="bearer", auth_config="s3cret"),
    ),
    (
        "headers is of type str, not an object",
        lambda client: client.servers.add(name="a", url="http://a", headers="X: s3cret"),
    ),
    ("clear is of type str, not a list", lambda c: c.servers.update("one", clear="auth")),
    ("url is of type int, not text", lambda client: client.servers.update("one", url=1)),
    ("models is of type str, not a list", lambda client: client.fleet.outdated("alpha")),
    ("registry is of type int, not text", lambda client: client.fleet.outdated(registry=1)),
    ("left is not given", lambda client: client.fleet.diff(None, "one")),
    ("right is of type bool, not a name or a number", lambda c: c.fleet.diff("one", True)),
    ("model is of type int, not text", lambda client: client.fleet.pull(1, ["one"])),
    ("model is not given", lambda client: client.fleet.show(None)),
    ("servers is of type str, not a list", lambda c: c.fleet.pull("alpha", "one")),
    ("servers is of type str, not a list", lambda client: client.fleet.ps("one")),
    ("digest is of type int, not text", lambda c: c.fleet.pull("a", ["one"], digest=1)),
    (
        "parallel is of type str, not a whole number",
        lambda c: c.fleet.pull("a", ["one"], parallel="2"),
    ),
    (
        "keep_alive is of type list, not seconds or a duration",
        lambda c: c.fleet.load("a", ["one"], keep_alive=[5]),
    ),
    ("destination is not given", lambda client: client.fleet.copy("a", None, ["one"])),
    ("name is of type int, not text", lambda client: client.pins.set(1)),
    ("digest is of type int, not text", lambda client: client.pins.set("a", digest=1)),
    ("name is of type int, not text", lambda client: client.pins.remove(1)),
    ("since is of type str, not a datetime", lambda c: c.receipts.list(since="24h")),
    ("since is of type str, not a datetime", lambda c: c.receipts.stats(since="24h")),
    ("before is of type str, not a datetime", lambda c: c.receipts.prune(before="30d")),
    ("receipt is not given", lambda client: client.receipts.show(None)),
    ("files is of type str, not a list", lambda client: client.import_env(".env")),
    ("environ is of type str, not an object", lambda client: client.import_env(environ="A=b")),
    ("messages is of type int, not a list", lambda c: c.chat(messages=1, model="a")),
    ("messages is not given", lambda client: client.chat(messages=None, model="a")),
    ("messages is of type str, not a list", lambda c: c.chat(messages="hi", model="a")),
    ("tools is of type int, not a list", lambda c: c.chat(messages=[], tools=1, model="a")),
)


@pytest.mark.parametrize(("message", "call"), WRONG)
async def test_an_argument_of_another_type_is_named_and_nothing_is_done(
    client: Client, message: str, call: Call
) -> None:
    await client.servers.add(name="one", url="http://127.0.0.1:9")
    with pytest.raises(InvalidInput) as caught:
        await call(client)
    assert caught.value.message == message
    assert [server.name for server in await client.servers.list()] == ["one"]


def test_settings_of_another_type_are_named() -> None:
    wrong: Any = Path("/x.db")
    with pytest.raises(InvalidInput, match=r"database_url is of type \w*Path, not text"):
        Client(database_url=wrong)
    wrong = "A=b"
    with pytest.raises(InvalidInput, match="environ is of type str, not an object"):
        Client(environ=wrong)
