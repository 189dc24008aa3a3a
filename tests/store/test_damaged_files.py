"""SQLite files with damage anywhere: what can be read is read, the rest is an error of one line."""

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ollama_admin.client import Client
from ollama_admin.errors import AdminError
from ollama_admin.services import migrate
from ollama_admin.settings import Settings

PAGE = 4096  # bytes

Damage = Callable[[bytearray, random.Random], bytearray]


def flip_a_bit(content: bytearray, chance: random.Random) -> bytearray:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return content


def write_over(content: bytearray, chance: random.Random) -> bytearray:
    offset = chance.randrange(len(content) - 64)
    content[offset : offset + 64] = chance.randbytes(64)
    return content


def clear_a_page(content: bytearray, chance: random.Random) -> bytearray:
    offset = chance.randrange(0, len(content), PAGE)
    content[offset : offset + PAGE] = bytes(PAGE)
    return content


def cut_off(content: bytearray, chance: random.Random) -> bytearray:
    return content[: chance.randrange(len(content))]


DAMAGE: list[Damage] = [flip_a_bit, write_over, clear_a_page, cut_off]


@pytest.fixture
async def content(tmp_path: Path, migrated_sqlite_file: Path) -> bytes:
    """A file with rows in every table."""
    path = tmp_path / "good.db"
    path.write_bytes(migrated_sqlite_file.read_bytes())
    async with Client(database_url=f"sqlite:///{path}", environ={}) as client:
        for number in range(20):
            await client.servers.add(name=f"gpu-{number}", url=f"http://127.0.0.1:9/{number}")
        await client.pins.set("alpha", digest="a" * 64)
    return path.read_bytes()


async def use(path: Path) -> None:
    """Whatever fails, fails with one of our own errors."""
    url = f"sqlite:///{path}"
    with suppress(AdminError):
        migrate.upgrade(Settings.read({}, url))
    async with Client(database_url=url, environ={}, on_note=lambda _: None) as client:
        uses: list[Callable[[], Awaitable[object]]] = [
            client.ready,
            client.servers.list,
            client.pins.list,
            client.receipts.list,
            client.receipts.stats,
            client.doctor,
            client.secrets.status,
            lambda: client.servers.add(name="new", url="http://new"),
            lambda: client.servers.update(1, priority=3, max_concurrent=2),
            lambda: client.servers.set_default(2),
            lambda: client.servers.remove(3),
            lambda: client.pins.remove("alpha"),
        ]
        for use_it in uses:
            with suppress(AdminError):
                await use_it()


async def damage_and_use(content: bytes, path: Path, damage: Damage, times: int) -> None:
    for seed in range(times):
        path.write_bytes(damage(bytearray(content), random.Random(seed)))
        await use(path)
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage_is_never_a_traceback(content: bytes, tmp_path: Path, damage: Damage) -> None:
    await damage_and_use(content, tmp_path / "bad.db", damage, times=3)


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage_anywhere_is_never_a_traceback(
    content: bytes, tmp_path: Path, damage: Damage
) -> None:
    await damage_and_use(content, tmp_path / "bad.db", damage, times=300)
