"""The part of a page that changes: one reading for all who look, none for nobody."""

import asyncio
from contextlib import aclosing

import pytest

from ollama_admin.web.live import Live
from tests.api.conftest import Serve, register
from tests.api.service import Service
from tests.web.browsing import new_key, signed_in


class Readings:
    """Gives what it is told to give, and counts how often it was asked."""

    def __init__(self) -> None:
        self.count = 0
        self.text = "first"

    async def __call__(self) -> str:
        self.count += 1
        return self.text


async def until(texts: object, wanted: str) -> None:
    async for text in texts:  # type: ignore[attr-defined]
        if text == wanted:
            return


async def test_ten_who_look_at_the_same_cost_one_reading() -> None:
    live, readings = Live(asyncio.Event(), every=0.01), Readings()
    listeners = [live.listen("fleet", readings) for _ in range(10)]
    await asyncio.gather(*(until(texts, "first") for texts in listeners))
    before = readings.count
    await until(listeners[0], None)  # type: ignore[arg-type]
    assert readings.count - before < 10
    readings.text = "second"
    await asyncio.gather(*(until(texts, "second") for texts in listeners))
    for texts in listeners:
        await texts.aclose()
    after = readings.count
    await asyncio.sleep(0.05)
    assert readings.count == after


async def test_what_did_not_change_is_not_sent_again() -> None:
    live, readings = Live(asyncio.Event(), every=0.01), Readings()
    async with aclosing(live.listen("fleet", readings)) as texts:
        sent = [await anext(texts) for _ in range(5)]
    assert [text for text in sent if text is not None] == ["first"]


async def test_other_things_are_read_for_themselves() -> None:
    live = Live(asyncio.Event(), every=0.01)
    one, other = Readings(), Readings()
    other.text = "other"
    async with aclosing(live.listen("a", one)) as mine, aclosing(live.listen("b", other)) as others:
        assert (await anext(mine), await anext(others)) == ("first", "other")


async def test_a_process_that_stops_lets_everybody_go() -> None:
    closing = asyncio.Event()
    live = Live(closing, every=0.01)
    async with aclosing(live.listen("fleet", Readings())) as texts:
        await anext(texts)
        closing.set()
        assert [text async for text in texts if text] == []


async def test_a_bug_in_a_reading_is_not_silence() -> None:
    async def read() -> str:
        raise ZeroDivisionError

    live = Live(asyncio.Event(), every=0.01)
    async with aclosing(live.listen("fleet", read)) as texts:
        with pytest.raises(ZeroDivisionError):
            await until(texts, "never")


def test_the_stream_tells_of_a_server_that_was_added_and_ends_with_the_session(
    api: Service, fakes: Serve
) -> None:
    with signed_in(api, new_key(api, can=["read"])) as person:
        with person.http.stream("GET", "/ui/events?page=fleet") as answer:
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            lines = answer.iter_lines()
            assert next(lines) == "event: part"
            assert any("There is no server yet" in line for line in _data(lines))
            register(api, fakes("alpha"))
            assert any("one" in line for line in _data(lines))
            assert api.opened is not None
            api.run(api.opened.keys.revoke("team"))
            assert any(line == "event: over" for line in lines)
        assert person.get("/ui/events?page=fleet").text == "event: over\ndata: \n\n"


def _data(lines: object) -> list[str]:
    """The data of the next event."""
    found: list[str] = []
    for line in lines:  # type: ignore[attr-defined]
        if line.startswith("data: "):
            found.append(line)
        elif not line and found:
            return found
    return found


def test_a_page_without_a_live_part_has_no_stream(sqlite_api: Service) -> None:
    with signed_in(sqlite_api) as person:
        assert person.get("/ui/events?page=none").status_code == 404
    with signed_in(sqlite_api, new_key(sqlite_api, can=["ask"])) as person:
        assert person.get("/ui/events?page=fleet").status_code == 403


def test_an_open_page_does_not_hold_up_the_end_of_the_process(sqlite_api: Service) -> None:
    with signed_in(sqlite_api) as person, person.http.stream("GET", "/ui/events?page=fleet") as it:
        lines = it.iter_lines()
        next(lines)
        sqlite_api.stop()
        for _ in lines:
            pass
        sqlite_api.ended()
