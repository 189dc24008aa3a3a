"""Who is let in, by what a request carries."""

import base64
from collections.abc import AsyncIterator

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.secret import Secret
from ollama_admin.gateway.access import Access
from ollama_admin.gateway.refusals import Refused
from ollama_admin.rules.access import TOKEN

KEY = "canary/key"


@pytest.fixture
async def access(sqlite_url: str) -> AsyncIterator[Access]:
    """Where there is no other key than the token."""
    async with Client(database_url=sqlite_url, environ={}) as client:
        yield Access(Secret(KEY), client.keyring, frozenset())


def basic(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


@pytest.mark.parametrize(
    ("path_key", "headers"),
    [
        (KEY, []),
        (None, [(b"authorization", b"Bearer canary/key")]),
        (None, [(b"authorization", b"BEARER   canary/key  ")]),
        (None, [(b"authorization", basic(b"me:canary/key"))]),
        (None, [(b"authorization", basic(b":canary/key"))]),
        (None, [(b"x-api-key", b" canary/key ")]),
        (None, [(b"x-api-key", b"wrong"), (b"authorization", b"Bearer canary/key")]),
        ("wrong", [(b"x-api-key", b"canary/key")]),
        (KEY, [(b"authorization", b"Bearer ollama")]),
    ],
)
async def test_the_key_lets_in_whichever_way_it_is_given(
    access: Access, path_key: str | None, headers: list[tuple[bytes, bytes]]
) -> None:
    assert await access.key_of({"headers": headers}, path_key) is TOKEN


@pytest.mark.parametrize(
    ("path_key", "headers", "says"),
    [
        (None, [], "a key is missing"),
        ("", [], "a key is missing"),
        ("ollama", [(b"x-api-key", b"none")], "a key is missing"),
        (None, [(b"authorization", b"Bearer")], "a key is missing"),
        (None, [(b"authorization", b"Bearer ollama-local")], "a key is missing"),
        (None, [(b"authorization", b"Digest canary/key")], "a key is missing"),
        (None, [(b"authorization", b"canary/key")], "a key is missing"),
        (None, [(b"authorization", b"Basic canary/key")], "a key is missing"),
        (None, [(b"authorization", basic(b"canary/key"))], "a key is missing"),
        (None, [(b"authorization", basic(b"canary/key:"))], "a key is missing"),
        (None, [(b"cookie", b"canary/key")], "a key is missing"),
        (None, [(b"authorization", b"Bearer canary/key2")], "the key is not known"),
        (None, [(b"authorization", b"Bearer Canary/key")], "the key is not known"),
        (None, [(b"authorization", basic(b"a:b:canary/key"))], "the key is not known"),
        (None, [(b"x-api-key", b"\xff\xfe")], "the key is not known"),
        ("canary", [], "the key is not known"),
        ("Ollama", [], "the key is not known"),
    ],
)
async def test_anything_else_is_refused_and_not_repeated(
    access: Access, path_key: str | None, headers: list[tuple[bytes, bytes]], says: str
) -> None:
    with pytest.raises(Refused) as refused:
        await access.key_of({"headers": headers}, path_key)
    error = refused.value
    assert (error.status, error.message) == (401, says)
    assert error.headers == {"WWW-Authenticate": 'Bearer realm="ollama-admin"'}
    assert "canary" not in f"{error.message}{error.hint}"


async def test_the_key_is_not_kept_as_it_is(access: Access) -> None:
    assert KEY.encode() not in vars(access).values()
    assert KEY not in str(vars(access))
