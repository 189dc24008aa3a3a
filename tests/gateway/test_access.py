"""Who is let in, by what a request carries."""

import base64

import pytest

from ollama_admin.domain.secret import Secret
from ollama_admin.gateway.access import Access
from ollama_admin.gateway.refusals import Refused

KEY = "canary/key"
ACCESS = Access(Secret(KEY))


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
def test_the_key_lets_in_whichever_way_it_is_given(
    path_key: str | None, headers: list[tuple[bytes, bytes]]
) -> None:
    ACCESS.require(path_key, headers)


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
def test_anything_else_is_refused_and_not_repeated(
    path_key: str | None, headers: list[tuple[bytes, bytes]], says: str
) -> None:
    with pytest.raises(Refused) as refused:
        ACCESS.require(path_key, headers)
    error = refused.value
    assert (error.status, error.message) == (401, says)
    assert error.headers == {"WWW-Authenticate": 'Bearer realm="ollama-admin"'}
    assert "canary" not in f"{error.message}{error.hint}"


def test_the_key_is_not_kept_as_it_is() -> None:
    assert KEY.encode() not in vars(ACCESS).values()
    assert KEY not in str(vars(ACCESS))
