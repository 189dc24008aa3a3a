"""News for a slow reader: of each source the latest, and what lasts in full."""

import asyncio

from ollama_admin.services.latest import Latest


async def read(latest: Latest[str, str]) -> list[str]:
    async with asyncio.timeout(20):
        return [item async for item in latest]


async def test_what_lasts_comes_in_order_and_replaces_what_its_source_said() -> None:
    latest: Latest[str, str] = Latest(3600)
    latest.put("a", "a is half done")
    latest.put_last("a", "a is done")
    latest.put_last("b", "b is done")
    latest.end()
    assert await read(latest) == ["a is done", "b is done"]


async def test_source_that_speaks_often_is_read_once_with_its_latest() -> None:
    latest: Latest[str, str] = Latest(3600)
    for number in range(1000):
        latest.put("a", f"a {number}")
        latest.put("b", f"b {number}")
    assert [await anext(latest), await anext(latest)] == ["a 999", "b 999"]


async def test_next_news_waits_for_its_time_and_what_lasts_does_not() -> None:
    latest: Latest[str, str] = Latest(3600)
    latest.put("a", "first")
    assert await anext(latest) == "first"
    latest.put("a", "second")
    reading = asyncio.create_task(read(latest))
    await asyncio.sleep(0)
    latest.put_last("b", "b is done")
    latest.end()
    assert await reading == ["b is done"]


async def test_news_come_again_when_it_is_time() -> None:
    latest: Latest[str, str] = Latest(0.01)
    latest.put("a", "first")
    assert await anext(latest) == "first"
    latest.put("a", "second")
    async with asyncio.timeout(20):
        assert await anext(latest) == "second"


async def test_reader_waits_for_the_first_news() -> None:
    latest: Latest[str, str] = Latest(0)
    reading = asyncio.create_task(read(latest))
    await asyncio.sleep(0)
    latest.put("a", "first")
    await asyncio.sleep(0.01)
    latest.end()
    assert await reading == ["first"]


async def test_reader_of_silent_sources_hears_again_what_they_said() -> None:
    latest: Latest[str, str] = Latest(0, again=0.01)
    latest.put("a", "a begins")
    latest.put("b", "b begins")
    latest.put_last("a", "a is done")
    async with asyncio.timeout(20):
        said = [await anext(latest) for _ in range(4)]
    assert said == ["a is done", "b begins", "b begins", "b begins"]
