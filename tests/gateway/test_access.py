"""Who is let in, by what a request carries."""

import base64
import sys
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import FrameType

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.secret import Secret
from ollama_admin.gateway.access import Access
from ollama_admin.gateway.refusals import Refused
from ollama_admin.rules.access import TOKEN
from tests.benchmarks.plans import heard

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


def bearer(text: str) -> dict[str, object]:
    return {"headers": [(b"authorization", f"Bearer {text}".encode())]}


async def work_of_refusing(access: Access, text: str) -> Counter[str]:
    """Which functions run, and how often, until a key is refused."""
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            calls[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            calls[argument.__qualname__] += 1  # type: ignore[attr-defined]

    sys.setprofile(count)
    with suppress(Refused):
        await access.key_of(bearer(text))
    sys.setprofile(None)
    return calls


async def test_a_wrong_key_is_the_same_work_whatever_is_wrong_with_it(sqlite_url: str) -> None:
    async with Client(database_url=sqlite_url, environ={}) as client:
        later = datetime.now(UTC) + timedelta(hours=1)
        active = await client.keys.add(name="active")
        revoked = await client.keys.add(name="revoked")
        expired = await client.keys.add(name="expired", expires_at=later)
        await client.keys.revoke("revoked")
        client.keyring.now = lambda: later
        access = Access(Secret(KEY), client.keyring, frozenset())
        await work_of_refusing(access, "the table is read")
        of_nobody = await work_of_refusing(access, f"oadm_00000000_{'x' * 43}")
        for key in (active, revoked, expired):
            wrong = f"{key.text.reveal()[:14]}{'x' * 43}"
            assert await work_of_refusing(access, wrong) == of_nobody
    assert of_nobody["compare_digest"] == 3


async def test_ten_thousand_wrong_keys_leave_nothing_behind(sqlite_url: str) -> None:
    async with Client(database_url=sqlite_url, environ={}) as client:
        await client.keys.add(name="team")
        access = Access(Secret(KEY), client.keyring, frozenset())

        async def refuse(numbers: range) -> None:
            for number in numbers:
                with pytest.raises(Refused):
                    await access.key_of(bearer(f"oadm_{number:08}_{number:043}"))

        await refuse(range(100))
        tracemalloc.start()
        await refuse(range(100, 1100))
        before, _ = tracemalloc.get_traced_memory()
        with heard() as statements:
            await refuse(range(1100, 11_100))
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert after - before < 100_000
    assert len(statements) < 10  # the revision of the registry is read twice a second
