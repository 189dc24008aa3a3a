"""Receipts behind the answers: nobody waits for them, and none fails an answer."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection

from ollama_admin.domain.answers import Stats
from ollama_admin.domain.callers import Way
from ollama_admin.domain.receipts import Receipt
from ollama_admin.services import recorder as service
from ollama_admin.services.recorder import Recorder
from ollama_admin.settings import Settings
from ollama_admin.store import new_receipts as store
from ollama_admin.store.database import Database
from ollama_admin.store.tables import receipts
from tests.receipts import new_receipt


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    opened = Database(Settings.read({}, database_url), lambda: None)
    yield opened
    opened.close()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> "Gate":
    return Gate(monkeypatch)


class Gate:
    """Holds writers inside their transaction until it is opened; `batches` are the sizes of what
    they wrote.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.batches: list[int] = []
        self._add = store.add
        monkeypatch.setattr(store, "add", self._held)

    def _held(self, connection: Connection, new: Sequence[Receipt]) -> None:
        self.entered.set()
        assert self.open.wait(30)
        self.batches.append(len(new))
        self._add(connection, new)


def receipt(**values: Any) -> Receipt:
    qwen = {"way": Way.PYTHON, "asked_model": "qwen", "model": "qwen:latest"}
    return new_receipt({"load_ms": None}, **qwen | values)


def rows(connection: Connection) -> list[dict[str, Any]]:
    return [
        dict(row._mapping) for row in connection.execute(receipts.select().order_by(receipts.c.id))
    ]


async def test_receipt_is_a_row_when_the_recorder_is_closed(db: Database, notes: list[str]) -> None:
    recorder = Recorder(db, True, notes.append)
    recorder.record(receipt())
    await recorder.aclose()
    assert notes == []
    assert await db.read(rows) == [
        {
            "id": 1,
            "created_at": datetime(2026, 1, 1, 12, tzinfo=UTC),
            "way": "python",
            "asked_model": "qwen",
            "model": "qwen:latest",
            "server_id": 1,
            "server_name": "one",
            "server_url": "http://one",
            "digest": "d" * 64,
            "proof": "digest",
            "verified": True,
            "outcome": "ok",
            "attempts": 1,
            "prompt_tokens": 11,
            "output_tokens": 7,
            "tokens_per_second": 15.5,
            "total_ms": 900,
            "load_ms": None,
            "time_to_first_token_ms": 400,
            "request_id": None,
            "key_id": None,
            "key_name": None,
            "client": None,
            "server_version": None,
            "estimated": None,
            "truncated": None,
            "queued_ms": None,
            "passed_over": None,
        }
    ]


@pytest.mark.parametrize("count", [store.ROWS - 1, store.ROWS, store.ROWS + 1, 2 * store.ROWS + 7])
async def test_receipts_of_several_statements_are_rows_in_their_order(
    db: Database, count: int
) -> None:
    written = [receipt(attempts=number, request_id=f"{number:016x}") for number in range(count)]
    await db.write(store.add, written)
    stored = await db.read(rows)
    assert [(row["attempts"], row["request_id"]) for row in stored] == [
        (one.attempts, one.request_id) for one in written
    ]


async def test_receipt_of_a_request_that_reached_no_server_is_a_row(
    db: Database, notes: list[str]
) -> None:
    recorder = Recorder(db, True, notes.append)
    nothing: dict[str, Any] = dict.fromkeys(
        ("asked_model", "model", "server", "digest", "proof", "stats")
    )
    recorder.record(receipt(**nothing, verified=False, outcome="invalid_input", attempts=0))
    await recorder.aclose()
    (row,) = await db.read(rows)
    assert {name for name, value in row.items() if value is not None} == {
        *("id", "created_at", "way", "verified", "outcome", "attempts")
    }


async def test_nobody_waits_for_the_writer_and_what_comes_meanwhile_is_one_transaction(
    db: Database, notes: list[str], written: Gate
) -> None:
    recorder = Recorder(db, True, notes.append)
    recorder.record(receipt())
    await asyncio.to_thread(written.entered.wait, 30)
    for _ in range(50):
        recorder.record(receipt())
    written.open.set()
    await recorder.aclose()
    assert written.batches == [1, 50]
    assert len(await db.read(rows)) == 51


async def test_who_reads_waits_for_what_was_recorded_before_and_for_nothing_else(
    db: Database, notes: list[str], written: Gate
) -> None:
    recorder = Recorder(db, True, notes.append)
    await recorder.written()  # there is none
    recorder.record(receipt())
    await asyncio.to_thread(written.entered.wait, 30)
    recorder.record(receipt())
    reading = asyncio.create_task(recorder.written())
    await asyncio.sleep(0)
    recorder.record(receipt())
    assert not reading.done()
    written.open.set()
    await reading
    assert len(await db.read(rows)) >= 2
    await recorder.aclose()


async def test_who_reads_does_not_wait_long(
    db: Database, notes: list[str], written: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PATIENCE_TO_READ", 0.001)
    recorder = Recorder(db, True, notes.append)
    recorder.record(receipt())
    await asyncio.to_thread(written.entered.wait, 30)
    await recorder.written()
    assert written.batches == []
    written.open.set()
    await recorder.aclose()


async def test_who_reads_does_not_wait_for_a_writer_that_was_ended(
    db: Database, notes: list[str], written: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PATIENCE_TO_READ", 1000)
    monkeypatch.setattr(service, "PATIENCE", 0.001)
    recorder = Recorder(db, True, notes.append)
    recorder.record(receipt())
    await asyncio.to_thread(written.entered.wait, 30)
    reading = asyncio.create_task(recorder.written())
    await recorder.aclose()
    await reading
    await recorder.written()
    written.open.set()
    # the writer's thread, before its database closes
    await asyncio.get_running_loop().shutdown_default_executor()


async def test_receipts_that_cannot_be_written_are_notes_and_the_next_one_is_tried_again(
    db: Database, notes: list[str]
) -> None:
    await db.write(receipts.drop)
    recorder = Recorder(db, True, notes.append)
    recorder.record(receipt())
    await settled(recorder)
    recorder.record(receipt())
    recorder.record(receipt())
    await recorder.aclose()
    reason = "could not be written: the database's tables are not those of this version"
    assert notes == [f"the receipt {reason}", f"2 receipts {reason}"]


async def settled(recorder: Recorder) -> None:
    while recorder._writer is not None:
        await asyncio.wait((recorder._writer,))


async def test_closing_does_not_wait_for_ever(
    db: Database, notes: list[str], written: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PATIENCE", 0.001)
    recorder = Recorder(db, True, notes.append)
    recorder.record(receipt())
    await asyncio.to_thread(written.entered.wait, 30)
    await recorder.aclose()
    assert notes == ["the receipt could not be written: writing it timed out"]
    written.open.set()
    # the writer's thread, before its database closes
    await asyncio.get_running_loop().shutdown_default_executor()


async def test_receipt_that_comes_after_the_end_is_a_note(db: Database, notes: list[str]) -> None:
    recorder = Recorder(db, True, notes.append)
    await recorder.aclose()
    await recorder.aclose()
    recorder.record(receipt())
    assert notes == ["the receipt could not be written: the client is closed"]


async def test_recorder_that_is_off_writes_nothing(db: Database, notes: list[str]) -> None:
    recorder = Recorder(db, False, notes.append)
    recorder.record(receipt())
    await recorder.aclose()
    recorder.record(receipt())
    assert (await db.read(rows), notes) == ([], [])


async def test_what_no_column_takes_is_changed_and_does_not_keep_a_receipt_out(
    db: Database, notes: list[str]
) -> None:
    recorder = Recorder(db, True, notes.append)
    made_up = Stats(
        total_ms=2**70,
        load_ms=-(2**70),
        prompt_tokens=2**63,
        output_tokens=0,
        tokens_per_second=float("nan"),
        time_to_first_token_ms=1,
    )
    recorder.record(receipt(asked_model="a\x00b\ud800c", model="m" * 100_000, stats=made_up))
    await recorder.aclose()
    (row,) = await db.read(rows)
    assert notes == []
    assert (row["asked_model"], len(row["model"])) == ("a\ufffdb\ufffdc", 1000)
    assert (row["total_ms"], row["load_ms"]) == (2**53 - 1, 1 - 2**53)
    assert (row["prompt_tokens"], row["tokens_per_second"]) == (2**53 - 1, None)
