"""`ollama-admin receipts ...`"""

import asyncio
import os
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ollama_admin.client import Client
from ollama_admin.domain.callers import Way
from ollama_admin.domain.receipts import Receipt
from ollama_admin.domain.servers import ServerRef
from tests.cli.conftest import Spawn
from tests.cli.running import Cli
from tests.receipts import new_receipt

Write = Callable[..., None]

RECEIPT_KEYS = {
    *(
        "id",
        "created_at",
        "way",
        "asked_model",
        "request_id",
        "key",
        "client",
        "server_version",
        "estimated",
        "truncated",
        "queued_ms",
        "passed_over",
        "model",
        "server",
        "digest",
        "proof",
        "verified",
        "outcome",
        "attempts",
    ),
    *(
        "prompt_tokens",
        "output_tokens",
        "tokens_per_second",
        "total_ms",
        "load_ms",
        "time_to_first_token_ms",
    ),
}
STATS_KEYS = [
    *(
        "model",
        "server",
        "count",
        "failures",
        "prompt_tokens",
        "output_tokens",
        "tokens_per_second",
    ),
    *("time_to_first_token_p50_ms", "time_to_first_token_p95_ms"),
]
LONG = "hf.co/someone/Some-Long-Model-24B-Instruct-2503-GGUF:Q4_K_M"


@pytest.fixture
def write(request: pytest.FixtureRequest) -> Write:
    """Records one receipt through a client, `age` before now."""
    request.getfixturevalue("cli" if "cli" in request.fixturenames else "sqlite_cli")

    def record(age: timedelta = timedelta(0), **values: Any) -> None:
        asyncio.run(_record(receipt(**{"created_at": datetime.now(UTC) - age} | values)))

    return record


async def _record(new: Receipt) -> None:
    async with Client(environ=os.environ) as client:
        client._resources.recorder.record(new)


def receipt(**values: Any) -> Receipt:
    told = {"total_ms": 12_345, "load_ms": None, "output_tokens": 70}
    return new_receipt(told, **{"way": Way.CLI} | values)


# list


def test_receipt_is_shown_with_every_column(cli: Cli, write: Write) -> None:
    write(created_at=datetime(2026, 1, 1, 12, tzinfo=UTC))
    (shown,) = cli.json("receipts", "list").data
    assert shown.keys() == RECEIPT_KEYS
    assert shown == {
        "id": 1,
        "created_at": "2026-01-01T12:00:00Z",
        "way": "cli",
        "asked_model": "alpha",
        "model": "alpha:latest",
        "server": {"id": 1, "name": "one", "url": "http://one"},
        "digest": "d" * 64,
        "proof": "digest",
        "verified": True,
        "outcome": "ok",
        "attempts": 1,
        "prompt_tokens": 11,
        "output_tokens": 70,
        "tokens_per_second": 15.5,
        "total_ms": 12_345,
        "load_ms": None,
        "time_to_first_token_ms": 400,
        "request_id": None,
        "key": None,
        "client": None,
        "server_version": None,
        "estimated": None,
        "truncated": None,
        "queued_ms": None,
        "passed_over": None,
    }


def test_receipt_of_a_request_that_reached_no_server_has_the_same_keys(
    cli: Cli, write: Write
) -> None:
    write(
        model=None,
        server=None,
        digest=None,
        proof=None,
        stats=None,
        outcome="model_not_found",
        attempts=0,
    )
    (shown,) = cli.json("receipts", "list").data
    assert shown.keys() == RECEIPT_KEYS
    assert (shown["server"], shown["total_ms"], shown["outcome"]) == (None, None, "model_not_found")


def test_list_is_filtered_by_all_that_is_given(cli: Cli, write: Write) -> None:
    write(timedelta(days=2))
    write(timedelta(hours=1), outcome="server_unreachable")
    write(timedelta(minutes=5), server=ServerRef(id=None, name=None, url="http://10.0.0.9"))
    write(timedelta(minutes=1), asked_model=None, model="beta:7b")

    def found(*words: str) -> list[int]:
        return [shown["id"] for shown in cli.json("receipts", "list", *words).data]

    assert found() == [4, 3, 2, 1]
    assert found("--limit", "2") == [4, 3]
    assert found("--server", "ONE") == found("--server", "1") == [4, 2, 1]
    assert found("--model", "Alpha") == [3, 2, 1]
    assert found("--since", "24h") == [4, 3, 2]
    assert found("--since", "30m") == [4, 3]
    assert found("--since", "2020-01-01", "--failed") == [2]
    assert found("--failed", "--model", "beta:7b") == []


def test_table_of_receipts_says_when_it_is_cut(sqlite_cli: Cli, write: Write) -> None:
    write()
    write(outcome="cancelled")
    ran = sqlite_cli("receipts", "list", "--limit", "2")
    assert ran.stderr == "note: these are the newest 2; more with --limit N\n"
    assert sqlite_cli("receipts", "list", "--limit", "3").stderr == ""
    assert sqlite_cli.json("receipts", "list", "--limit", "2").stderr == ""
    heading, first, _ = ran.stdout.splitlines()
    assert heading.split() == [
        *("ID", "WHEN", "MODEL", "SERVER", "OUTCOME", "PROOF", "TOTAL"),
        *("TIME", "FIRST", "PROMPT", "OUTPUT", "TOK/S", "TRIES", "DIGEST", "WAY"),
        *("KEY", "CLIENT"),
    ]
    assert first.split()[:3] == ["2", "just", "now"]
    assert first.split()[3:7] == ["alpha:latest", "one", "cancelled", "digest"]
    assert first.split()[7:9] == ["12", "s"]
    assert first.split()[10:] == ["0.40", "s", "11", "70", "15.5", "1", "d" * 12, "cli", "-", "-"]


@pytest.mark.parametrize("words", [("list",), ("stats",)])
def test_tables_fit_a_narrow_terminal(
    sqlite_cli: Cli, write: Write, spawn: Spawn, words: tuple[str, ...]
) -> None:
    server = ServerRef(id=2, name="Server 2 - General/Reasoning", url="http://two")
    write(model=LONG, server=server, outcome="server_unauthorized")
    narrow = spawn("receipts", *words, terminals=("stdout",), columns=80).ended()
    lines = re.sub(r"\x1b\[[0-9;]*m", "", narrow.stdout).splitlines()
    assert narrow.exit_code == 0
    assert max(map(len, lines)) <= 80
    column = lines[0].index("MODEL")
    end = lines[0].index("SERVER")
    first, *rest = [line[column:end].strip() for line in lines[1:]]
    assert first + "".join(rest) == LONG
    assert LONG in sqlite_cli("receipts", *words).stdout


@pytest.mark.parametrize("words", [("list",), ("stats",)])
def test_no_receipts_are_an_empty_list_and_a_note(cli: Cli, words: tuple[str, ...]) -> None:
    ran = cli("receipts", *words)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "note: no such receipts\n")
    assert cli.json("receipts", *words).data == []


@pytest.mark.parametrize(
    ("words", "failure"),
    [
        (("list", "--server", "nobody"), (3, "server_not_found")),
        (("list", "--server", "9"), (3, "server_not_found")),
        (("stats", "--server", "nobody"), (3, "server_not_found")),
        (("list", "--since", "yesterday"), (2, "invalid_input")),
        (("stats", "--since", "90"), (2, "invalid_input")),
        (("prune", "--before", ""), (2, "invalid_input")),
        (("list", "--limit", "0"), (2, "invalid_input")),
        (("list", "--limit", str(2**31)), (2, "invalid_input")),
        (("list", "--limit", "many"), (2, "invalid_input")),
        (("--failed",), (2, "invalid_input")),
    ],
)
def test_what_cannot_be_done_is_an_error(
    sqlite_cli: Cli, words: tuple[str, ...], failure: tuple[int, str]
) -> None:
    assert sqlite_cli.json("receipts", *words).failure == failure


def test_what_came_from_outside_is_printed_harmlessly(sqlite_cli: Cli, write: Write) -> None:
    evil = "a\x1b]0;x\x07\u202e[red]"
    write(asked_model=evil, model=evil, server=ServerRef(id=None, name=None, url=f"http://{evil}"))
    for words in (("receipts", "list"), ("receipts", "stats")):
        shown = sqlite_cli(*words).stdout
        assert "a\\x1b]0;x\\x07\\u202e[red]" in shown
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)


# stats


def test_stats_are_shown_with_every_column(cli: Cli, write: Write) -> None:
    write()
    write(outcome="stream_interrupted")
    (shown,) = cli.json("receipts", "stats").data
    assert list(shown) == STATS_KEYS
    assert shown == {
        "model": "alpha:latest",
        "server": {"id": 1, "name": "one", "url": "http://one"},
        "count": 2,
        "failures": 1,
        "prompt_tokens": 22,
        "output_tokens": 140,
        "tokens_per_second": pytest.approx(15.5),
        "time_to_first_token_p50_ms": 400,
        "time_to_first_token_p95_ms": 400,
    }
    heading, row = cli(
        "receipts", "stats", "--model", "alpha", "--server", "one"
    ).stdout.splitlines()
    assert heading.split("  ")[0] == "MODEL"
    assert row.split() == [
        "alpha:latest",
        "one",
        "2",
        "1",
        "15.5",
        "0.40",
        "s",
        "0.40",
        "s",
        "22",
        "140",
    ]


# prune


def test_prune_deletes_what_is_old(cli: Cli, write: Write) -> None:
    for age in (91, 40, 20, 0):
        write(timedelta(days=age))
    assert cli.json("receipts", "prune", "--yes").data == {"pruned": 1}
    assert cli("receipts", "prune", "--yes", "--before", "30d").stdout == "deleted 1 receipt\n"
    assert cli("receipts", "prune", "--yes", "--before", "0s").stdout == "deleted 2 receipts\n"
    assert cli.json("receipts", "list").data == []


def test_prune_deletes_nothing_that_nobody_confirmed(cli: Cli, write: Write, spawn: Spawn) -> None:
    write(timedelta(days=91))
    refused = cli("receipts", "prune")
    assert refused.exit_code == 2
    assert refused.stderr.endswith("hint: add --yes to go ahead without asking\n")
    for typed, code, left in ((b"n\n", 2, 1), (b"y\n", 0, 0)):
        process = spawn("receipts", "prune", terminals=("stdin",), stdin=None)
        process.until_stderr(b"Delete all receipts older than 90d from the database? [y/N]")
        process.type(typed)
        assert process.ended().exit_code == code
        assert len(cli.json("receipts", "list").data) == left


def test_migration_deletes_old_receipts_and_says_so_only_then(cli: Cli, write: Write) -> None:
    for age in (100, 91, 89):
        write(timedelta(days=age))
    for looking in ("--check", "--status"):
        assert cli("migrate", looking).exit_code == 0
    assert len(cli.json("receipts", "list").data) == 3
    ran = cli("migrate")
    assert (ran.exit_code, ran.stderr) == (0, "note: deleted 2 receipts older than 90 days\n")
    assert (cli("migrate").stderr, len(cli.json("receipts", "list").data)) == ("", 1)


def test_migration_to_a_revision_without_receipts_is_not_disturbed(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", empty_database_url)
    ran = Cli()("migrate", "--to", "0001")
    assert (ran.exit_code, ran.stderr) == (0, "")


# turned off


def test_receipts_that_are_turned_off_are_not_written_but_still_shown(
    sqlite_cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write()
    monkeypatch.setenv("OLLAMA_ADMIN_RECEIPTS", "off")
    write()
    assert len(sqlite_cli.json("receipts", "list").data) == 1
    monkeypatch.setenv("OLLAMA_ADMIN_RECEIPTS", "no")
    assert sqlite_cli.json("receipts", "list").failure == (2, "invalid_input")


def test_migration_succeeds_though_old_receipts_cannot_be_deleted(
    cli: Cli, database_url: str, write: Write
) -> None:
    write(timedelta(days=91))
    _forbid_deleting(database_url)
    ran = cli("migrate")
    assert ran.exit_code == 0
    assert ran.stderr.startswith("note: old receipts could not be deleted: the ")
    assert cli("receipts", "prune", "--yes").exit_code in (4, 5)
    assert len(cli.json("receipts", "list").data) == 1


def _forbid_deleting(url: str) -> None:
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.execute(
            "CREATE TRIGGER kept BEFORE DELETE ON ollama_receipts BEGIN SELECT RAISE(ABORT, "
            "'kept'); END"
        )
        connection.close()
        return
    with psycopg.connect(url) as opened:
        opened.execute(
            "CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'kept'; END "
            "$$"
        )
        opened.execute(
            "CREATE TRIGGER kept BEFORE DELETE ON ollama_receipts FOR EACH ROW EXECUTE FUNCTION "
            "kept()"
        )


# one receipt, and the order of several


def test_a_receipt_is_shown_by_its_id(cli: Cli, write: Write) -> None:
    write(model="alpha")
    (row,) = cli.json("receipts", "list").data
    assert cli.json("receipts", "show", str(row["id"])).data == row
    page = cli("receipts", "show", str(row["id"]))
    assert (page.exit_code, page.stderr) == (0, "")
    shown = dict(line.split(maxsplit=1) for line in page.stdout.splitlines())
    assert shown["id"] == str(row["id"])
    assert shown["model"] == "alpha"
    assert re.search(r"^created at +\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z$", page.stdout, re.MULTILINE)


@pytest.mark.parametrize("number", ["999", "0", "9" * 30])
def test_a_receipt_that_is_not_there_exits_3(cli: Cli, number: str) -> None:
    assert cli.json("receipts", "show", number).failure == (3, "not_found")


def test_receipts_list_has_ids_and_exact_times(sqlite_cli: Cli, write: Write) -> None:
    write()
    heading, row = sqlite_cli("receipts", "list").stdout.splitlines()
    assert heading.split()[:2] == ["ID", "WHEN"]
    assert re.search(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", row)


def test_receipts_with_most_of_something_come_first(cli: Cli, write: Write) -> None:
    for model in ("first", "second", "third"):
        write(model=model, attempts={"first": 1, "second": 3, "third": 2}[model])
    rows = cli.json("receipts", "list", "--sort", "tries", "--limit", "2").data
    assert [row["model"] for row in rows] == ["second", "third"]
