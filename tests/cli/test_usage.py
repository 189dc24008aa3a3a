"""`ollama-admin usage`, and receipts by key."""

from datetime import UTC, datetime, timedelta

import pytest

from ollama_admin.domain.keys import KeyRef
from tests.cli.running import Cli
from tests.cli.test_receipts import Write, write  # noqa: F401 (a fixture)

NOW = datetime.now(UTC)


@pytest.fixture
def used(cli: Cli, write: Write) -> Cli:  # noqa: F811
    """Two requests of a key today, one of another one, and one of a command."""
    for key in (
        KeyRef(id=1, name="team"),
        KeyRef(id=1, name="team"),
        KeyRef(id=2, name="=1"),
        None,
    ):
        write(created_at=NOW, key=key, estimated=key is not None)
    return cli


def test_usage_is_a_line_for_each_key_and_day(used: Cli) -> None:
    heading, *lines = used("usage").stdout.splitlines()
    assert heading.split()[:7] == [
        *("DAY", "KEY", "REQUESTS", "FAILED", "PROMPT", "OUTPUT", "ESTIMATED"),
    ]
    today = NOW.date().isoformat()
    assert lines[0].split()[:7] == [today, "team", "2", "0", "22", "140", "140"]
    assert sorted(line.split()[1] for line in lines) == ["-", "=1", "team"]
    first = used.json("usage", "--key", "team", "--since", "1d").data
    assert first == [
        {
            "day": today,
            "key": {"id": 1, "name": "team"},
            "requests": 2,
            "failures": 0,
            "prompt_tokens": 22,
            "output_tokens": 140,
            "estimated_tokens": 140,
            "tokens_per_second": 15.5,
            "time_to_first_token_p50_ms": 500,
            "time_to_first_token_p95_ms": 500,
        }
    ]


def test_usage_as_csv_is_no_formula(used: Cli) -> None:
    heading, *lines = used("usage", "--csv").stdout.splitlines()
    assert heading == (
        "day,key_id,key,requests,failures,prompt_tokens,output_tokens,estimated_tokens,"
        "tokens_per_second,time_to_first_token_p50_ms,time_to_first_token_p95_ms"
    )
    today = NOW.date().isoformat()
    assert f"{today},1,team,2,0,22,140,140,15.5,500,500" in lines
    assert f"{today},2,'=1,1,0,11,70,70,15.5,500,500" in lines
    assert f"{today},,,1,0,11,70,0,15.5,500,500" in lines
    assert used.json("usage", "--csv").failure == (2, "invalid_input")
    assert used("usage", "-o", "csv").stdout.splitlines() == [heading, *lines]


def test_usage_is_added_up_by_what_is_asked_for(used: Cli) -> None:
    [model] = used.json("usage", "--by", "model").data
    assert (model["model"], model["requests"]) == ("alpha:latest", 4)
    assert not model.keys() & {"key", "day", "server"}
    [server] = used.json("usage", "--by", "server", "--key", "team", "--model", "ALPHA").data
    assert (server["server"]["name"], server["requests"]) == ("one", 2)
    assert used("usage", "--by", "day").stdout.split()[0] == "DAY"
    assert used("usage", "--by", "key", "--csv").stdout.startswith("key_id,key,requests")
    assert used.json("usage", "--by", "x").failure == (2, "invalid_input")
    assert used.json("usage", "--server", "nobody").failure[0] == 3


def test_usage_stays_when_receipts_are_deleted(used: Cli) -> None:
    before = used.json("usage").data
    assert used.json("receipts", "prune", "--before", "0s", "--yes").data == {"pruned": 4}
    assert used.json("usage").data == before


def test_receipts_are_listed_and_added_up_by_key(used: Cli) -> None:
    assert len(used.json("receipts", "list", "--key", "team").data) == 2
    assert used.json("receipts", "list", "--key", "nobody").failure == (3, "not_found")
    sums = used.json("receipts", "stats", "--by", "key").data
    assert (sums[0]["key"], sums[0]["count"]) == ({"id": 1, "name": "team"}, 2)
    assert "model" not in sums[0]
    heading = used("receipts", "stats", "--by", "day").stdout.splitlines()[0]
    assert heading.split()[:2] == ["DAY", "COUNT"]
    assert used.json("receipts", "stats", "--by", "x").failure == (2, "invalid_input")


def test_dry_run_of_prune_deletes_nothing(cli: Cli, write: Write) -> None:  # noqa: F811
    write(created_at=NOW - timedelta(days=100))
    write(created_at=NOW)
    assert cli("receipts", "prune", "--dry-run").stdout == "1 receipt would be deleted\n"
    assert cli.json("receipts", "prune", "--before", "0s", "--dry-run").data == {
        "pruned": 0,
        "would_prune": 2,
    }
    assert cli.json("receipts", "prune", "--before", "0s").failure == (2, "invalid_input")
    assert len(cli.json("receipts", "list").data) == 2
