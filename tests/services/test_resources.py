"""What a process shares is closed whole, whatever fails on the way."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ollama_admin.services.resources import Resources
from ollama_admin.settings import Settings


def failing(name: str, closed: list[str]) -> Callable[[], object]:
    async def aclose() -> None:
        closed.append(name)
        raise OSError(f"{name} is broken")

    return aclose


async def test_everything_is_closed_though_each_of_them_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = Resources(Settings.read({}, f"sqlite:///{tmp_path / 'one.db'}"), {}, print)
    closed: list[str] = []
    for name in ("loads", "http", "slots", "recorder", "registry"):
        monkeypatch.setattr(getattr(resources, name), "aclose", failing(name, closed))
    monkeypatch.setattr(resources.db, "close", lambda: closed.append("db"))
    with pytest.raises(OSError, match="registry is broken"):
        await resources.aclose()
    assert closed == ["loads", "http", "slots", "recorder", "registry", "db"]
