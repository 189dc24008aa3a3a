"""`ollama-admin top`"""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from rich.cells import cell_len

from ollama_admin.cli.activity_cells import ORDERS
from ollama_admin.cli.top_screen import TopScreen
from ollama_admin.errors import DatabaseBusy
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import Cli
from tests.cli.test_diff import discovered

TERMINAL = ("stdin", "stdout", "stderr")
SCREEN = {"TERM": "xterm-256color"}
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def stamp(**ago: float) -> str:
    return (NOW - timedelta(**ago)).isoformat()


def server(number: int, **changed: Any) -> dict[str, Any]:
    row = {
        "server": {"id": number, "name": f"gpu-{number:03}", "url": "http://x"},
        "is_active": True,
        "is_draining": False,
        "status": "online",
        "status_since": stamp(minutes=3),
        "in_flight": number % 3,
        "max_concurrent": 4,
        "waiting": 0,
        "tokens_per_second": 0.0,
        "models": [{"name": "llama3.2:3b", "expires_at": stamp(minutes=-4)}],
        "error": None,
    }
    return row | changed


def activity(count: int, requests: Any = None, **changed: Any) -> dict[str, Any]:
    servers = [server(number, **changed) for number in range(count)]
    return {"at": NOW.isoformat(), "servers": servers, "requests": requests}


def drawn(screen: TopScreen, width: int = 80, height: int = 24) -> list[str]:
    return screen.text(width, height).plain.split("\n")


def shown(seen: dict[str, Any], sort: str = "name") -> TopScreen:
    screen = TopScreen(sort, reverse=False)
    screen.take(seen)
    return screen


def test_it_is_printed_once_in_a_pipe(cli: Cli, serve: Serve) -> None:
    discovered(cli, one=serve("alpha").url)
    assert cli("generate", "-m", "alpha", "hi").exit_code == 0
    ran = cli("top")
    assert ran.exit_code == 0
    heading, row = ran.stdout.splitlines()
    assert heading.split()[:5] == ["SERVER", "STATE", "USED", "WAIT", "TOK/S"]
    assert row.split()[0] == "one"
    assert "alpha:latest" in row
    assert ran.stderr.startswith("note: requests on their way are known inside serve alone")


def test_json_is_one_document(cli: Cli, serve: Serve) -> None:
    discovered(cli, one=serve("alpha").url)
    document = cli.json("top").data
    assert list(document) == ["at", "servers", "requests"]
    assert document["servers"][0]["server"]["name"] == "one"
    assert document["requests"] is None


def test_without_servers_it_says_how_one_is_added(cli: Cli) -> None:
    ran = cli("top")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "server add" in ran.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--sort", "colour"),
        ("--every", "0"),
        ("--every", "nan"),
        ("--url", "http://127.0.0.1:9"),  # no key is set
    ],
)
def test_bad_options_are_refused(sqlite_cli: Cli, words: tuple[str, ...]) -> None:
    assert sqlite_cli.json("top", *words).failure == (2, "invalid_input")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "no url"])
def test_a_serve_that_is_not_there_is_one_line(
    sqlite_cli: Cli, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_API_TOKEN", "a-token-that-is-long-enough")
    ran = sqlite_cli("top", "--once", "--url", url)
    assert ran.exit_code in (2, 6)
    assert ran.stderr.startswith("error: ")


def test_what_is_no_serve_is_told(
    sqlite_cli: Cli, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_API_TOKEN", "a-token-that-is-long-enough")
    ran = sqlite_cli.json("top", "--url", serve("alpha").url)
    assert ran.failure == (6, "upstream_error")
    assert "not as ollama-admin serve" in ran.error["message"]


def test_keys_sort_and_quit_and_the_screen_comes_back(
    sqlite_cli: Cli, serve: Serve, spawn: Spawn
) -> None:
    discovered(sqlite_cli, one=serve("alpha").url)
    screen = spawn("top", terminals=TERMINAL, stdin=None, environ=SCREEN)
    screen.until_stdout(b"by name")
    screen.type(b"s")
    screen.until_stdout(b"by used")
    screen.type(b"r")
    screen.until_stdout(b"by used reversed")
    screen.type(b"q")
    ran = screen.ended()
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout.rindex("\x1b[?1049l") > ran.stdout.rindex("\x1b[?1049h")
    assert ran.stdout.rindex("\x1b[?25h") > ran.stdout.rindex("\x1b[?25l")


def test_an_interrupted_screen_comes_back(sqlite_cli: Cli, serve: Serve, spawn: Spawn) -> None:
    discovered(sqlite_cli, one=serve("alpha").url)
    screen = spawn("top", terminals=TERMINAL, stdin=None, environ=SCREEN)
    screen.until_stdout(b"by name")
    screen.interrupt()
    ran = screen.ended()
    assert ran.exit_code == 130
    assert "Traceback" not in ran.stderr
    assert ran.stdout.rindex("\x1b[?1049l") > ran.stdout.rindex("\x1b[?1049h")


def test_a_dumb_terminal_gets_it_once(sqlite_cli: Cli, serve: Serve, spawn: Spawn) -> None:
    discovered(sqlite_cli, one=serve("alpha").url)
    ran = spawn("top", terminals=TERMINAL, environ={"TERM": "dumb"}).ended()
    assert ran.exit_code == 0
    assert "\x1b" not in ran.stdout
    assert "SERVER" in ran.stdout


@pytest.mark.parametrize("width", [1, 10, 40, 80, 200])
@pytest.mark.parametrize("count", [0, 3, 200])
def test_nothing_is_wider_or_higher_than_the_terminal(width: int, count: int) -> None:
    requests = [
        {
            "model": "\u6a21\u578b" * 40,
            "server": None,
            "key": {"id": 1, "name": "\x1b[2J" * 9},
            "client": None,
            "ms": 1234,
            "output_tokens": None,
        }
    ] * count
    both = (activity(count), activity(count, requests))
    for seen, height in product(both, (1, 2, 5, 24, 50)):
        lines = drawn(shown(seen), width, height)
        assert len(lines) <= max(2, height)
        assert max(map(cell_len, lines)) <= width
        assert "\x1b" not in "".join(lines)


def test_what_has_no_room_is_left_out_from_the_end() -> None:
    wide, narrow = drawn(shown(activity(3)), 80), drawn(shown(activity(3)), 40)
    assert wide[1].split() == ["SERVER", "STATE", "USED", "WAIT", "TOK/S", "MODELS", "IN", "MEMORY"]
    assert wide[2].split() == ["gpu-000", "online", "3m", "0/4", "-", "-", "llama3.2:3b", "4m"]
    assert narrow[1].split() == ["SERVER", "STATE", "USED", "WAIT", "TOK/S"]


def test_many_servers_are_scrolled() -> None:
    screen = shown(activity(60))
    assert drawn(screen)[2].startswith("gpu-000")
    for key in " jjk":
        assert screen.press(key)
    assert drawn(screen)[2].startswith("gpu-011")
    for _ in range(20):
        screen.press(" ")
    lines = drawn(screen)
    assert any(line.startswith("gpu-059") for line in lines)
    assert not screen.press("q")


def test_each_order_sorts_and_what_differs_comes_first() -> None:
    rows = [
        server(1, in_flight=1, waiting=9, tokens_per_second=1.0, models=[]),
        server(2, in_flight=2, waiting=0, tokens_per_second=9.0, status="offline", models=None),
        server(3, in_flight=0, waiting=1, tokens_per_second=0.0),
    ]
    seen = {"at": NOW.isoformat(), "servers": rows, "requests": None}
    firsts = {sort: drawn(shown(seen, sort))[2].split()[0] for sort in ORDERS}
    assert firsts == {
        "name": "gpu-001",
        "used": "gpu-002",
        "waiting": "gpu-001",
        "speed": "gpu-002",
        "state": "gpu-002",
        "models": "gpu-003",
    }


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"status": "offline", "status_since": stamp(hours=5)}, "offline 5h"),
        ({"is_active": False, "status_since": None}, "inactive"),
        ({"is_draining": True, "status_since": stamp(seconds=9)}, "draining 9s"),
        ({"status_since": stamp(days=40)}, "online 40d"),
        ({"models": [{"name": "a", "expires_at": stamp(days=-40_000)}]}, "a forever"),
        ({"models": [{"name": "a", "expires_at": None}]}, "  a"),
        ({"models": []}, "none"),
        ({"models": None, "error": {"code": "server_unreachable"}}, "server_unreachable"),
        ({"waiting": 7}, "  7"),
    ],
)
def test_a_server_is_told_in_few_words(changed: dict[str, Any], words: str) -> None:
    assert words in drawn(shown(activity(1, **changed)))[2]


def test_what_cannot_be_read_is_told_and_the_rest_stays() -> None:
    screen = shown(activity(3))
    screen.fail(DatabaseBusy("others hold the database"))
    lines = drawn(screen)
    assert lines[-1] == "not up to date: others hold the database"
    assert lines[2].startswith("gpu-000")
    screen.take(activity(3))
    assert "not up to date" not in drawn(screen)[-1]
