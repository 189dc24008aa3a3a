"""What workers of one service tell each other, by files."""

from pathlib import Path
from typing import Any

import pytest

from ollama_admin.services import shares as service
from ollama_admin.services.shares import Shares


def shares(folder: Path, told: Any) -> Shares:
    return Shares(folder, lambda: {"told": told})


async def test_each_reads_what_the_others_wrote(tmp_path: Path) -> None:
    first, second, third = (shares(tmp_path, number) for number in range(3))
    for each in (first, second, third):
        await each.aclose()
    found = await first.others()
    assert sorted(share.document["told"] for share in found) == [1, 2]
    assert not any(share.is_over for share in found)


async def test_one_that_writes_no_more_is_over_and_what_it_told_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (shares(tmp_path, number) for number in range(2))
    await second.aclose()
    monkeypatch.setattr(service, "LIFE", -1)
    [share] = await first.others()
    assert (share.document["told"], share.is_over) == (1, True)


async def test_a_folder_that_is_gone_fails_nobody(tmp_path: Path) -> None:
    gone = shares(tmp_path / "gone", 1)
    gone.start()
    await gone.aclose()
    assert await gone.others() == []


async def test_a_file_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "1-dead.json").mkdir()
    assert await shares(tmp_path, 1).others() == []
