"""What may be stored is the same on both databases, and is decided before either sees it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ollama_admin.client import Client
from ollama_admin.errors import AdminError, InvalidInput, ServerNotFound

INT_LIMIT = 2**31 - 1

anything = st.text(st.characters(exclude_categories=()), max_size=12)
words = st.sampled_from(
    ["one", "ONE", "e\u0301", "\u00e9", "a" * 100, "a" * 101, "7", "-x", "\u202e", "stra\u00dfe"]
)
numbers = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([INT_LIMIT, INT_LIMIT + 1, -INT_LIMIT, -(2**31), 2**63, 10**30]),
)
given_values = st.fixed_dictionaries(
    {"name": words | anything, "url": st.sampled_from(["one", "http://two", "x:0"]) | anything},
    optional={
        "capabilities": st.lists(words | anything, max_size=2),
        "default_model": words | anything | st.just("m" * 501),
        "max_concurrent": numbers,
        "priority": numbers,
        "api_version": st.sampled_from(["native", "v1", "v2"]) | anything,
    },
)


async def added(client: Client, values: dict[str, Any]) -> Any:
    """What comes of adding a server with these values: its columns as stored, or the error."""
    try:
        server = await client.servers.add(**values)
    except AdminError as error:
        return type(error), error.message
    again = await client.servers.show(server.id)
    assert again == server
    assert await client.servers.show(server.name) == server
    await client.servers.remove(server.id)
    return [getattr(again, column) for column in ("name", "url", *values)]


def test_both_databases_accept_the_same_servers_and_give_back_the_same(
    migrated_postgres_url: str, tmp_path: Path
) -> None:
    urls = (f"sqlite:///{tmp_path / 'one.db'}", migrated_postgres_url)
    clients = [Client(database_url=url, environ={}) for url in urls]
    with asyncio.Runner() as runner:

        @given(given_values)
        @hypothesis_settings(max_examples=150, deadline=None, derandomize=True, database=None)
        def agree(values: dict[str, Any]) -> None:
            first, second = (runner.run(added(client, values)) for client in clients)
            assert first == second
            assert isinstance(first, list) or first[0] is InvalidInput

        agree()
        for client in clients:
            runner.run(client.aclose())


@pytest.mark.parametrize(
    "values",
    [
        {"name": "a\0b"},
        {"name": "a\ud800"},
        {"name": "a" * 101},
        {"name": ""},
        {"capabilities": ["a\0b"]},
        {"capabilities": ["\udcff"]},
        {"capabilities": ["a" * 101]},
        {"capabilities": [" "]},
        {"default_model": "a\0b"},
        {"default_model": "\udcff"},
        {"default_model": "a" * 501},
        {"default_model": ""},
        {"max_concurrent": 0},
        {"max_concurrent": INT_LIMIT + 1},
        {"max_concurrent": True},
        {"max_concurrent": 1.5},
        {"priority": INT_LIMIT + 1},
        {"priority": -INT_LIMIT - 1},
        {"url": "http://one\0"},
        {"url": "http://\ud800"},
        {"url": f"http://{'a' * 2000}"},
        {"api_version": "a\0b"},
    ],
    ids=ascii,
)
async def test_value_that_a_database_would_refuse_is_refused_before_it(
    client: Client, values: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await client.servers.add(**{"name": "one", "url": "one"} | values)
    assert "the database does not accept" not in refused.value.message
    one = await client.servers.add(name="one", url="one")
    with pytest.raises(InvalidInput) as refused:
        await client.servers.update(one.id, **values)
    assert "the database does not accept" not in refused.value.message
    assert await client.servers.show(one.id) == one


@pytest.mark.parametrize(
    "server",
    ["a\0b", "\ud800", "a" * 1000, "", "-1", -1, 0, 2**31, 2**63, 10**30, "9" * 400, "\u0661"],
)
async def test_server_that_nobody_has_is_not_found_on_both_databases(
    client: Client, server: int | str
) -> None:
    await client.servers.add(name="other", url="other")
    await client.servers.remove("other")
    for act in (
        client.servers.show,
        client.servers.remove,
        client.servers.enable,
        client.servers.set_default,
    ):
        with pytest.raises(ServerNotFound):
            await act(server)
