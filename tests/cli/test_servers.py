"""`ollama-admin server ...`"""

import json
import re
from pathlib import Path

import pytest

from ollama_admin.store import slots
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import Cli
from tests.fake_ollama import Answer
from tests.slot_rows import SlotRows

NOWHERE = "http://127.0.0.1:9"

SERVER_KEYS = [
    *(
        "id",
        "name",
        "url",
        "api_version",
        "capabilities",
        "max_concurrent",
        "slots_in_use",
        "priority",
        "is_default",
    ),
    *(
        "is_active",
        "default_model",
        "auth_type",
        "auth_config",
        "headers",
        "status",
        "version",
        "last_error",
    ),
    *("last_seen_at", "last_discovered_at", "created_at", "updated_at"),
    *("labels", "is_draining", "status_since", "status_at"),
    *("latency_ms", "failures", "asked_last_until"),
    *("managed_by", "ca_file", "client_cert_file", "client_key_file", "proxy"),
]


@pytest.fixture
def one(cli: Cli) -> Cli:
    """A command line whose database holds server 1, `one`, that nobody has asked anything."""
    added(cli, "one", NOWHERE)
    return cli


def added(cli: Cli, name: str, url: str, *options: str) -> dict[str, object]:
    return cli.json("server", "add", name, url, "--no-check", *options).data


def names(cli: Cli) -> list[str]:
    return [server["name"] for server in cli.json("server", "list").data]


def hold_slot(url: str) -> None:
    """Take a slot of server 1 as a process does that is killed then."""
    rows = SlotRows(url)
    with rows.transaction() as connection:
        assert slots.take(connection, 1, 1, holder="somebody", ttl=60).keys
    rows.close()


# add


def test_added_server_is_shown_with_every_column_and_its_defaults(cli: Cli) -> None:
    server = added(cli, "one", "10.39.0.6")
    assert list(server) == SERVER_KEYS
    times = [server.pop("created_at"), server.pop("updated_at")]
    assert times[0] == times[1]
    assert times[0].endswith("Z")
    assert server == {
        "id": 1,
        "name": "one",
        "url": "http://10.39.0.6:11434",
        "api_version": "native",
        "capabilities": [],
        "max_concurrent": 1,
        "slots_in_use": 0,
        "priority": 0,
        "is_default": False,
        "is_active": True,
        "default_model": None,
        "auth_type": "none",
        "auth_config": {},
        "headers": {},
        "status": "unknown",
        "version": None,
        "last_error": None,
        "last_seen_at": None,
        "last_discovered_at": None,
        "labels": {},
        "is_draining": False,
        "status_since": None,
        "status_at": None,
        "latency_ms": None,
        "failures": 0,
        "asked_last_until": None,
        "managed_by": None,
        "ca_file": None,
        "client_cert_file": None,
        "client_key_file": None,
        "proxy": None,
    }


def test_add_takes_every_option(cli: Cli) -> None:
    options = [
        "--capability",
        "vision",
        "--capability",
        "code",
        "--max-concurrent",
        "4",
        "--priority",
        "-3",
        "--default",
        "--inactive",
    ]
    server = added(cli, "one", "https://gpu/ollama/v1", *options, "--default-model", "qwen3-vl:8b")
    told = {
        key: server[key]
        for key in ("url", "api_version", "capabilities", "max_concurrent", "priority")
    }
    assert told == {
        "url": "https://gpu/ollama",
        "api_version": "v1",
        "capabilities": ["vision", "code"],
        "max_concurrent": 4,
        "priority": -3,
    }
    assert (server["is_default"], server["is_active"], server["default_model"]) == (
        True,
        False,
        "qwen3-vl:8b",
    )


@pytest.mark.parametrize(
    ("url", "option", "spoken"),
    [
        ("http://gpu/v1", (), "v1"),
        ("http://gpu", (), "native"),
        ("http://gpu/v1", ("--api-version", "native"), "native"),
        ("http://gpu", ("--api-version", "v1"), "v1"),
        ("http://gpu/api", (), "native"),
    ],
)
def test_dialect_is_told_by_the_option_or_by_the_url(
    sqlite_cli: Cli, url: str, option: tuple[str, ...], spoken: str
) -> None:
    server = added(sqlite_cli, "one", url, *option)
    assert (server["url"], server["api_version"]) == ("http://gpu", spoken)


def test_the_path_of_one_call_is_cut_off_with_a_note(cli: Cli) -> None:
    ran = cli("server", "add", "gpu", "http://127.0.0.1:9/ollama/api/generate", "--no-check")
    assert "note: /api/generate is the path of one call: the server" in ran.stderr
    assert cli.json("server", "show", "gpu").data["url"] == "http://127.0.0.1:9/ollama"
    ran = cli("server", "update", "gpu", "--url", "http://127.0.0.1:9/v1/chat/completions")
    assert "note: /v1/chat/completions is the path of one call" in ran.stderr
    assert cli.json("server", "show", "gpu").data["url"] == "http://127.0.0.1:9"


def test_added_server_is_told_in_one_line(cli: Cli) -> None:
    ran = cli("server", "add", "Server 1 - General/Reasoning", "gpu", "--no-check")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout == "added server 1, Server 1 - General/Reasoning: http://gpu:11434\n"


def test_add_asks_the_server_for_its_version(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    ran = cli("server", "add", "one", fake.url)
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout == f"added server 1, one: {fake.url} (online, Ollama 0.33.0)\n"
    assert [request.path for request in fake.requests()] == ["/api/version"]


def test_server_without_ollama_behind_it_is_online_without_a_version(
    cli: Cli, serve: Serve
) -> None:
    fake = serve("alpha", version=None)
    server = cli.json("server", "add", "one", f"{fake.url}/v1").data
    assert (server["status"], server["version"], server["api_version"]) == ("online", None, "v1")


def test_no_check_asks_nothing(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    assert added(cli, "one", fake.url)["status"] == "unknown"
    assert fake.requests() == []


def test_unreachable_server_is_added_with_a_warning(cli: Cli) -> None:
    ran = cli.json("server", "add", "one", NOWHERE)
    assert ran.data["status"] == "offline"
    assert "connection refused" in ran.data["last_error"]
    first, *_ = ran.stderr.splitlines()
    assert first.startswith(
        "note: server one (http://127.0.0.1:9) cannot be reached: connection refused"
    )
    assert first.endswith("(the server is kept)")
    assert names(cli) == ["one"]


def test_server_that_refuses_us_is_added_with_a_warning(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha", require_header=("Authorization", "Bearer abc"))
    ran = cli.json("server", "add", "one", fake.url)
    assert ran.data["status"] == "unauthorized"
    assert "note: server one refused the request (401)" in ran.stderr


def test_other_program_behind_a_native_url_is_added_with_the_way_out(
    cli: Cli, serve: Serve
) -> None:
    fake = serve("alpha", version=None)
    ran = cli.json("server", "add", "one", fake.url)
    assert ran.data["status"] == "error"
    assert "--api-version v1" in ran.stderr


def test_add_with_discover_reads_the_models(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    server = cli.json("server", "add", "one", fake.url, "--discover").data
    assert (server["status"], server["version"]) == ("online", "0.33.0")
    assert server["last_discovered_at"] is not None
    assert [model["name"] for model in cli.json("models").data] == ["alpha:latest"]


def test_add_with_discover_keeps_an_unreachable_server(cli: Cli) -> None:
    ran = cli.json("server", "add", "one", NOWHERE, "--discover")
    assert ran.data["status"] == "offline"
    assert "(the server is kept)" in ran.stderr


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", " one", "one ", "-one", "12", "١٢", "x" * 101, "x" * 300),
        *("a\x00b", "a\x1b[31mb", "a\nb", "a\u202eb", "a\u2066b", "a\udcffb", "a\u200bb"),
    ],
)
def test_bad_server_name_is_refused_with_the_rule(cli: Cli, name: str) -> None:
    ran = cli.json("server", "add", "--no-check", "--", name, "gpu")
    assert ran.failure == (2, "invalid_input")
    assert "1-100 printable characters" in ran.error["hint"]
    assert names(cli) == []


@pytest.mark.parametrize(
    "name",
    [
        "Server 1 - General/Reasoning",
        "../x",
        "gpu.example",
        "Сервер",
        "🦙",
        "x" * 100,
        "1a",
        "a'b\"c;--",
        "[red]%s{0}",
    ],
)
def test_good_server_name_is_kept_as_written(cli: Cli, name: str) -> None:
    assert added(cli, name, "gpu")["name"] == name
    assert cli.json("server", "show", name).data["name"] == name
    assert f"  {name}  " in cli("server", "list").stdout


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("gpu", "GPU"),
        ("Strasse", "STRAßE"),
        ("caf\u00e9", "cafe\u0301"),
        ("Ёлка", "ёлка"),
        ("\u2126", "\u03c9"),
    ],
)
def test_names_that_are_equal_after_folding_are_one_name(cli: Cli, first: str, second: str) -> None:
    added(cli, first, "gpu-1")
    ran = cli.json("server", "add", second, "gpu-2", "--no-check")
    assert ran.failure == (4, "server_exists")
    assert "server show" in ran.error["hint"]
    assert cli.json("server", "show", second).data["id"] == 1
    assert len(names(cli)) == 1


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://gpu",
            "file:///etc/passwd",
            "",
            " ",
            "http://",
            "http:///v1",
            "http://gpu:0",
            "http://gpu:99999",
        ),
        *(
            "http://gpu:",
            "http://gpu:http",
            "http://[::1",
            "::1",
            "http://gp u",
            "http://gpu/a b",
            "127.1",
            "0x7f.1",
        ),
        *(
            "2130706433",
            "http://gpu\\x",
            "http://gpü",
            "http://gpu.",
            "http://gpu/?a=1",
            "http://gpu?",
            "http://gpu#x",
        ),
        *(
            "http://gpu/../x",
            "http://gpu//v1",
            "http://[::ffff:127.0.0.1]",
            "http://0.0.0.0",
            "http://[::]",
        ),
        *(
            "http://gpu/api/api",
            "http://gpu\x00",
            "http://gpu\n",
            "x" * 3000,
            "http://[fe80::1%25eth0]",
        ),
    ],
)
def test_bad_url_is_refused(sqlite_cli: Cli, url: str) -> None:
    ran = sqlite_cli.json("server", "add", "one", url)
    if url.strip() == "http://gpu":  # edge spaces are not part of a URL
        assert ran.exit_code == 0
        return
    assert ran.failure == (2, "invalid_input")
    assert names(sqlite_cli) == []


@pytest.mark.parametrize(
    "url", ["http://me:secret@gpu", "me:secret@gpu", "http://me:secret@gpu?x=#", "://me:secret@"]
)
def test_password_inside_a_url_is_refused_and_not_repeated(sqlite_cli: Cli, url: str) -> None:
    ran = sqlite_cli("server", "add", "one", url)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "secret" not in ran.stderr.replace("--secret-stdin", "")
    assert "--auth basic" in ran.stderr


@pytest.mark.parametrize(
    "url",
    [
        "http://10.39.0.101:11434/v1",
        "http://10.39.0.101:11434/",
        "10.39.0.101",
        "HTTP://10.39.0.101:11434/api/",
    ],
)
def test_spellings_of_one_url_are_one_server(cli: Cli, url: str) -> None:
    added(cli, "one", "http://10.39.0.101:11434")
    ran = cli.json("server", "add", "two", url, "--no-check")
    assert ran.failure == (4, "server_exists")
    assert "http://10.39.0.101:11434 is taken by server 1, 'one'" in ran.error["message"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--max-concurrent", value) for value in ("0", "-1", str(2**31), "1.5", "many", "")),
        *(("--priority", value) for value in (str(2**40), str(-(2**31)), "1e3", "high")),
        *(("--capability", value) for value in ("", " vision", "a\x1bb", "x" * 101)),
        *(("--default-model", value) for value in (" ", "a b\n", "x" * 501)),
        *(("--api-version", value) for value in ("v2", "", "NATIVE")),
    ],
)
def test_bad_value_is_refused_alike_by_add_and_update(one: Cli, option: str, value: str) -> None:
    before = one.json("server", "show", "one").data
    assert one.json("server", "add", "two", "gpu", "--no-check", option, value).failure == (
        2,
        "invalid_input",
    )
    assert one.json("server", "update", "one", option, value).failure == (2, "invalid_input")
    assert one.json("server", "list").data == [before]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--max-concurrent", str(2**31 - 1)),
        ("--priority", str(2**31 - 1)),
        ("--priority", str(1 - 2**31)),
    ],
)
def test_numbers_at_their_limits_are_stored(one: Cli, option: str, value: str) -> None:
    column = option.removeprefix("--").replace("-", "_")
    assert one.json("server", "update", "one", option, value).data[column] == int(value)


# list and show


def test_list_of_no_servers_is_an_empty_document_and_a_note(cli: Cli) -> None:
    assert cli.json("server", "list").data == []
    ran = cli("server", "list")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "ollama-admin server add" in ran.stderr


def test_list_shows_every_row_in_the_order_of_choice(cli: Cli) -> None:
    added(cli, "low", "a")
    added(cli, "high", "b", "--priority", "5")
    added(cli, "off", "c", "--priority", "9", "--inactive")
    added(cli, "default", "d", "--default")
    assert names(cli) == ["default", "off", "high", "low"]
    assert all(list(server) == SERVER_KEYS for server in cli.json("server", "list").data)


def test_list_marks_the_default_and_inactive_ones(cli: Cli) -> None:
    added(cli, "one", "a", "--default", "--inactive")
    added(cli, "two", "b", "--capability", "vision")
    lines = [line.split() for line in cli("server", "list").stdout.splitlines()]
    assert lines[0][:7] == ["ID", "NAME", "URL", "API", "USED", "STATE", "MODELS"]
    assert lines[1][:9] == [
        "1",
        "one",
        "http://a:11434",
        "native",
        "0/1",
        "unknown,",
        "default,",
        "inactive",
        "0",
    ]
    assert lines[2][:8] == ["2", "two", "http://b:11434", "native", "0/1", "unknown", "0", "0"]
    assert lines[2][8] == "vision"


def test_list_counts_the_models_of_each_server(cli: Cli, serve: Serve) -> None:
    added(cli, "one", serve("alpha", "beta").url, "--discover")
    added(cli, "two", "b")
    heading, *rows = [re.split(" {2,}", row) for row in cli("server", "list").stdout.splitlines()]
    assert [(row[1], row[heading.index("MODELS")]) for row in rows] == [("one", "2"), ("two", "0")]


def test_slots_in_use_are_shown_beside_the_limit(one: Cli, database_url: str) -> None:
    one("server", "update", "one", "--max-concurrent", "4")
    hold_slot(database_url)
    assert one.json("server", "list").data[0]["slots_in_use"] == 1
    assert one.json("server", "show", "one").data["slots_in_use"] == 1
    assert "1/4" in one("server", "list").stdout.split()
    assert "\nslots in use     1\n" in one("server", "show", "one").stdout


def test_list_of_a_capability_shows_the_servers_that_have_it(cli: Cli) -> None:
    added(cli, "one", "a", "--capability", "Vision")
    added(cli, "two", "b", "--capability", "code")
    assert [
        server["name"] for server in cli.json("server", "list", "--capability", "vISION").data
    ] == ["one"]
    assert cli.json("server", "list", "--capability", "none").data == []


def test_show_finds_a_server_by_id_or_name(one: Cli) -> None:
    by_id, by_name = one.json("server", "show", "1").data, one.json("server", "show", "ONE").data
    assert by_id == by_name
    assert list(by_id) == SERVER_KEYS


def test_show_tells_every_field_on_a_line(one: Cli) -> None:
    ran = one("server", "show", "one")
    told = dict(
        line.split(maxsplit=1) for line in ran.stdout.splitlines() if len(line.split()) == 2
    )
    assert (told["id"], told["name"], told["url"], told["state"]) == (
        "1",
        "one",
        NOWHERE,
        "unknown",
    )
    for field in (
        "max concurrent",
        "priority",
        "default model",
        "last error",
        "created",
        "updated",
    ):
        assert f"\n{field}" in ran.stdout


@pytest.mark.parametrize(
    "server", ["9", "0", "nobody", "", "99999999999999999999999", "a\udcffb", "a\x00b", "' or 1=1"]
)
@pytest.mark.parametrize(
    "command", ["show", "update", "remove", "enable", "disable", "set-default", "check"]
)
def test_unknown_server_is_not_found(one: Cli, command: str, server: str) -> None:
    options = {"update": ["--priority", "1"], "remove": ["--yes"]}.get(command, [])
    ran = one.json("server", command, *options, "--", server)
    assert ran.failure == (3, "server_not_found")
    assert ran.error["hint"] == "list them with: ollama-admin server list"
    assert names(one) == ["one"]


# update


def test_update_changes_what_is_given_and_nothing_else(one: Cli) -> None:
    before = one.json("server", "show", "one").data
    options = [
        "--name",
        "two",
        "--capability",
        "vision",
        "--max-concurrent",
        "3",
        "--priority",
        "7",
        "--default",
        "--inactive",
    ]
    after = one.json(
        "server", "update", "one", *options, "--default-model", "alpha", "--api-version", "v1"
    ).data
    changed = {
        key: after[key] for key in SERVER_KEYS if after[key] != before[key] and key != "updated_at"
    }
    assert changed == {
        "name": "two",
        "api_version": "v1",
        "capabilities": ["vision"],
        "max_concurrent": 3,
        "priority": 7,
        "is_default": True,
        "is_active": False,
        "default_model": "alpha",
    }


def test_update_clears_fields_and_the_default(cli: Cli) -> None:
    added(cli, "one", "a", "--capability", "vision", "--default-model", "alpha", "--default")
    fields = ("--clear", "capabilities", "--clear", "default_model", "--no-default")
    after = cli.json("server", "update", "one", *fields).data
    assert (after["capabilities"], after["default_model"], after["is_default"]) == ([], None, False)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--clear", "url"),
        ("--clear", ""),
        ("--capability", "a", "--clear", "capabilities"),
        ("--name", "12"),
        ("--url", "ftp://x"),
        ("--url", "http://me:secret@gpu"),
    ],
)
def test_update_refuses_what_makes_no_sense(one: Cli, words: tuple[str, ...]) -> None:
    before = one.json("server", "show", "one").data
    assert one.json("server", "update", "one", *words).failure == (2, "invalid_input")
    assert one.json("server", "show", "one").data == before


def test_update_refuses_the_name_and_the_url_of_another_server(one: Cli) -> None:
    added(one, "two", "gpu")
    assert one.json("server", "update", "one", "--name", "TWO").failure == (4, "server_exists")
    assert one.json("server", "update", "one", "--url", "http://gpu:11434/").failure == (
        4,
        "server_exists",
    )
    assert one.json("server", "update", "one", "--name", "ONE").data["name"] == "ONE"


def test_another_url_makes_the_models_unavailable_until_discovery(cli: Cli, serve: Serve) -> None:
    old, new = serve("alpha"), serve("alpha")
    cli.json("server", "add", "one", old.url, "--discover")
    moved = cli.json("server", "update", "one", "--url", new.url, "--no-check").data
    assert (moved["status"], moved["version"], moved["last_discovered_at"]) == (
        "unknown",
        None,
        None,
    )
    assert cli.json("models").data == []
    assert [model["is_available"] for model in cli.json("models", "--all").data] == [False]
    assert (
        cli.json("server", "update", "one", "--priority", "1", "--discover").data["status"]
        == "online"
    )
    assert [model["is_available"] for model in cli.json("models").data] == [True]


def test_another_url_or_credentials_are_checked_as_for_a_new_server(
    one: Cli, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_SECRET_KEY", one("secrets", "generate-key").stdout.strip())
    fake = serve("alpha", require_header=("Authorization", "Bearer abc"))
    wrong = one.json("server", "update", "one", "--url", fake.url)
    assert wrong.failure == (6, "server_unauthorized")
    assert "(401) (the change is kept)" in wrong.error["message"].replace("\n", " ")
    kept = one.json("server", "show", "one").data
    assert (kept["url"], kept["status"]) == (fake.url, "unauthorized")
    let_in = one.json(
        "server", "update", "one", "--auth", "bearer", "--secret-stdin", stdin="abc"
    ).data
    assert (let_in["status"], let_in["failures"]) == ("online", 0)


def test_a_change_of_something_else_asks_nobody(one: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    one("server", "update", "one", "--url", fake.url, "--no-check")
    assert one.json("server", "update", "one", "--priority", "3").data["status"] == "unknown"
    assert fake.requests() == []


def test_the_list_says_since_when_a_server_is_as_it_is(one: Cli, serve: Serve) -> None:
    one("server", "check", "one")
    row = one("server", "list").stdout.splitlines()[1]
    assert re.search(r" offline \d+s ", row)
    shown = one("server", "show", "one").stdout
    assert re.search(r"failures in a row +1\n", shown)


def test_update_can_ask_the_server_afterwards(one: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    ran = one("server", "update", "one", "--url", fake.url, "--check")
    first = ran.stdout.splitlines()[0]
    assert first == f"changed server 1, one: {fake.url} (online, Ollama 0.33.0)"


def test_url_with_an_api_tail_changes_the_dialect(one: Cli) -> None:
    assert one.json("server", "update", "one", "--url", "http://gpu/v1").data["api_version"] == "v1"
    assert one.json("server", "update", "one", "--url", "http://gpu2").data["api_version"] == "v1"
    assert (
        one.json("server", "update", "one", "--url", "http://gpu/api").data["api_version"]
        == "native"
    )


# remove, enable, disable, set-default


def test_remove_deletes_the_server_and_its_models(cli: Cli, serve: Serve) -> None:
    cli.json("server", "add", "one", serve("alpha").url, "--discover")
    assert cli.json("server", "remove", "one", "--yes").data == {
        "removed": {"id": 1, "name": "one"}
    }
    assert cli.json("server", "list").data == []
    assert cli.json("models", "--all").data == []


def test_remove_says_what_it_removed(one: Cli) -> None:
    ran = one("server", "remove", "1", "-y")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "removed server 1, one\n", "")


def test_remove_of_a_server_with_running_requests_wants_force(one: Cli, database_url: str) -> None:
    one("server", "update", "one", "--max-concurrent", "4")
    hold_slot(database_url)
    refused = one.json("server", "remove", "one", "--yes")
    assert refused.failure == (4, "conflict")
    assert refused.error["message"] == "1 request runs at server one, or did a second ago"
    assert "--force" in refused.error["hint"]
    assert names(one) == ["one"]
    ran = one("server", "remove", "one", "--yes", "--force")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "removed server 1, one\n", "")


def test_id_of_a_removed_server_is_never_given_again(one: Cli) -> None:
    one("server", "remove", "one", "--yes")
    assert added(one, "two", "gpu")["id"] == 2


@pytest.mark.parametrize(
    "words", [("server", "remove", "one"), ("-o", "json", "server", "remove", "one")]
)
def test_remove_without_a_terminal_wants_yes_and_changes_nothing(
    one: Cli, words: tuple[str, ...]
) -> None:
    ran = one(*words, stdin="y\n")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "--yes" in ran.stderr
    assert names(one) == ["one"]


@pytest.mark.parametrize(
    ("typed", "code", "left"), [(b"y\n", 0, []), (b"\n", 2, ["one"]), (b"\x04", 2, ["one"])]
)
def test_remove_asks_on_a_terminal(
    sqlite_cli: Cli, spawn: Spawn, typed: bytes, code: int, left: list[str]
) -> None:
    added(sqlite_cli, "one", NOWHERE)
    process = spawn("server", "remove", "one", terminals=("stdin", "stderr"), stdin=None)
    process.until_stderr(b"[y/N]: ")
    process.type(typed)
    ran = process.ended()
    assert ran.exit_code == code
    assert ran.stderr.startswith(
        f"Remove server 'one' ({NOWHERE}) and its models from the database? [y/N]: "
    )
    assert ran.stderr.endswith("[y/N]: " if code == 0 else "error: nothing was done\n")
    assert ran.stdout == ("removed server 1, one\n" if code == 0 else "")
    assert names(sqlite_cli) == left


def test_interrupt_at_the_question_removes_nothing(sqlite_cli: Cli, spawn: Spawn) -> None:
    added(sqlite_cli, "one", NOWHERE)
    process = spawn("server", "remove", "one", terminals=("stdin", "stderr"), stdin=None)
    process.until_stderr(b"[y/N]: ")
    process.interrupt()
    ran = process.ended()
    assert (ran.exit_code, ran.stdout) == (130, "")
    assert "Traceback" not in ran.stderr
    assert names(sqlite_cli) == ["one"]


def test_disabled_server_is_enabled_again(one: Cli) -> None:
    assert one.json("server", "disable", "one").data["is_active"] is False
    assert one.json("server", "disable", "one").data["is_active"] is False
    assert one.json("server", "enable", "one").data["is_active"] is True
    assert one("server", "disable", "one").stdout == f"disabled server 1, one: {NOWHERE}\n"
    assert one("server", "enable", "one").stdout == f"enabled server 1, one: {NOWHERE}\n"


def test_default_is_at_most_one_server(one: Cli) -> None:
    added(one, "two", "a", "--default")
    assert one.json("server", "set-default", "one").data["is_default"] is True
    assert one("server", "set-default", "one").stdout == f"made default: server 1, one: {NOWHERE}\n"
    added(one, "three", "b", "--default")
    assert [
        server["name"] for server in one.json("server", "list").data if server["is_default"]
    ] == ["three"]


def test_two_defaults_set_at_once_leave_one(cli: Cli, spawn: Spawn) -> None:
    for name in ("one", "two", "three"):
        added(cli, name, name)
    processes = [spawn("server", "set-default", name) for name in ("one", "two", "three")]
    assert [process.ended().exit_code for process in processes] == [0, 0, 0]
    assert [server["is_default"] for server in cli.json("server", "list").data] == [
        True,
        False,
        False,
    ]


def test_disabled_default_stays_the_default_and_a_note_says_so(cli: Cli) -> None:
    added(cli, "one", "a", "--default")
    ran = cli.json("server", "disable", "one")
    assert (ran.data["is_default"], ran.data["is_active"]) == (True, False)
    assert "still the default" in ran.stderr


def test_removed_default_leaves_none(cli: Cli) -> None:
    added(cli, "one", "a", "--default")
    added(cli, "two", "b")
    cli("server", "remove", "one", "--yes")
    assert [server["is_default"] for server in cli.json("server", "list").data] == [False]


# check


def test_check_tells_what_each_active_server_said(cli: Cli, serve: Serve) -> None:
    up, gone = serve("alpha"), serve("alpha")
    added(cli, "up", up.url)
    added(cli, "gone", NOWHERE)
    added(cli, "off", gone.url, "--inactive")
    ran = cli.json("server", "check")
    assert ran.exit_code == 7
    document = json.loads(ran.stdout)
    assert document["failed"] == 1
    first, second = document["results"]
    assert list(first) == ["server", "status", "version", "ms", "error", "model"]
    assert first["server"] == {"id": 1, "name": "up", "url": up.url}
    assert (first["status"], first["version"], first["error"]) == ("online", "0.33.0", None)
    assert isinstance(first["ms"], int)
    assert (second["status"], second["version"], second["error"]["code"]) == (
        "offline",
        None,
        "server_unreachable",
    )
    assert gone.requests() == []


def test_check_of_all_asks_inactive_ones_too(cli: Cli, serve: Serve) -> None:
    added(cli, "off", serve("alpha").url, "--inactive")
    assert cli.json("server", "check").data == {"results": [], "failed": 0}
    assert cli.json("server", "check", "--all").data["results"][0]["status"] == "online"
    assert cli.json("server", "check", "off").data["results"][0]["status"] == "online"


def test_check_is_shown_as_a_table(cli: Cli, serve: Serve) -> None:
    added(cli, "up", serve("alpha").url)
    added(cli, "gone", NOWHERE)
    ran = cli("server", "check", "gone", "up", "1")
    assert ran.exit_code == 7
    heading, gone, up = ran.stdout.splitlines()
    assert heading.split() == ["SERVER", "STATUS", "VERSION", "TIME", "ERROR"]
    assert gone.split()[:3] == ["gone", "offline", "-"]
    assert gone.endswith("server_unreachable")
    assert "connection refused" in ran.stderr
    assert up.split()[:3] == ["up", "online", "0.33.0"]


def test_check_of_one_server_that_fails_is_the_commands_own_failure(one: Cli) -> None:
    assert one.json("server", "check", "one").failure == (6, "server_unreachable")
    assert one.json("server", "show", "one").data["status"] == "offline"


@pytest.mark.parametrize(
    ("status", "shown", "code"),
    [
        (401, "unauthorized", "server_unauthorized"),
        (403, "unauthorized", "server_unauthorized"),
        (502, "error", "upstream_error"),
        (404, "error", "upstream_error"),
    ],
)
def test_check_notes_how_a_server_refused(
    cli: Cli, serve: Serve, status: int, shown: str, code: str
) -> None:
    fake = serve("alpha")
    added(cli, "one", fake.url)
    fake.fakes[0].script("/api/version", Answer(status, "<html>no</html>"))
    assert cli.json("server", "check", "one").failure == (6, code)
    assert cli.json("server", "show", "one").data["status"] == shown


def test_check_of_servers_and_all_is_refused(one: Cli) -> None:
    assert one.json("server", "check", "one", "--all").failure == (2, "invalid_input")


# what a change changed


def test_update_says_what_changed_field_by_field(one: Cli) -> None:
    ran = one("server", "update", "one", "--priority", "7", "--capability", "code", "--inactive")
    assert ran.stdout.splitlines()[1:] == [
        "  is_active: yes -> no",
        "  capabilities: - -> code",
        "  priority: 0 -> 7",
    ]
    again = one("server", "update", "one", "--priority", "7")
    assert again.stdout.startswith("nothing changed in server 1, one: ")
    assert again.exit_code == 0


def test_update_says_that_a_secret_was_set_and_never_which(
    one: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_SECRET_KEY", one("secrets", "generate-key").stdout.strip())
    monkeypatch.setenv("TOKEN", "canary-1")
    words = ("server", "update", "one", "--auth", "bearer", "--secret-env", "TOKEN")
    ran = one(*words)
    assert "  auth_type: none -> bearer\n  auth_config: - -> token ********\n" in ran.stdout
    monkeypatch.setenv("TOKEN", "canary-2")
    assert "  auth_config: as before -> set again\n" in one(*words).stdout
    assert "canary" not in ran.stdout


def test_show_has_user_header_and_reference_as_its_json_has(
    one: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_SECRET_KEY", one("secrets", "generate-key").stdout.strip())
    words = ("--auth", "basic", "--username", "me", "--secret-ref", "env:PASS")
    assert one("server", "update", "one", *words, "--header-ref", "X-A=env:A").exit_code == 0
    lines = one("server", "show", "one").stdout.splitlines()
    facts = [line.split() for line in lines]
    assert ["username", "me"] in facts
    assert ["password", "env:PASS"] in facts
    assert ["header", "X-A", "env:A"] in facts


def test_another_default_names_the_one_before(one: Cli) -> None:
    added(one, "two", "b")
    assert one("server", "set-default", "one").stderr == ""
    assert one("server", "set-default", "one").stderr == ""
    assert one("server", "set-default", "two").stderr == "note: the default server was one\n"
    ran = one("server", "update", "one", "--default")
    assert ran.stderr == "note: the default server was two\n"
    ran = one("server", "add", "three", "c", "--default", "--no-check")
    assert ran.stderr == "note: the default server was one\n"


def test_name_and_url_in_the_wrong_order_are_told(cli: Cli) -> None:
    error = cli.json("server", "add", "http://gpu:11434", "one", "--no-check").error
    assert error["message"] == "'http://gpu:11434' is a URL: the name comes first"
    assert error["hint"] == "ollama-admin server add one http://gpu:11434"
    assert cli.json("server", "list").data == []


def test_another_name_of_this_machine_at_the_same_port_is_noted(cli: Cli) -> None:
    assert cli("server", "add", "one", "localhost", "--no-check").stderr == ""
    ran = cli("server", "add", "two", "127.0.0.1", "--no-check")
    assert ran.exit_code == 0
    assert ran.stderr == (
        "note: http://127.0.0.1:11434 and http://localhost:11434 of server one may be the same "
        "server; each row has its own limit\n"
    )
    assert cli("server", "add", "three", "127.0.0.1:11435", "--no-check").stderr == ""
    moved = cli("server", "update", "three", "--url", "http://[::1]:11434", "--no-check")
    assert [line.partition(" may be ")[0] for line in moved.stderr.splitlines()] == [
        "note: http://[::1]:11434 and http://localhost:11434 of server one",
        "note: http://[::1]:11434 and http://127.0.0.1:11434 of server two",
    ]


def test_the_other_scheme_at_the_same_port_is_noted(cli: Cli) -> None:
    assert cli("server", "add", "one", "http://gpu:443", "--no-check").stderr == ""
    assert "of server one may be the same server" in (
        cli("server", "add", "two", "https://gpu", "--no-check").stderr
    )


@pytest.mark.parametrize("options", [("--check",), ("--discover",)])
def test_a_default_model_that_the_server_does_not_list_is_told(
    cli: Cli, serve: Serve, options: tuple[str, ...]
) -> None:
    url = serve("gemma3:27b-it-qat").url
    ran = cli("server", "add", "gpu", url, "--default-model", "gemma3:27b-it-qta", *options)
    assert ran.exit_code == 0
    assert "does not list model 'gemma3:27b-it-qta' (the server is kept)\n" in ran.stderr
    assert "note: it lists: gemma3:27b-it-qat\n" in ran.stderr
    assert "added server 1, gpu" in ran.stdout
    again = cli("server", "update", "gpu", "--default-model", "gemma3:27b-it-qat", *options)
    assert (again.exit_code, again.stderr) == (0, "")


def test_certificates_and_proxy_are_given_shown_and_taken_away(cli: Cli, tmp_path: Path) -> None:
    files = ("--ca-file", "ca.pem", "--client-cert", "cert.pem", "--client-key", "key.pem")
    words = ("server", "add", "gpu", "https://gpu.example", "--no-check")
    added = cli.json(*words, *files, "--proxy", "http://proxy:3128").data
    # another process may run in another folder
    assert added["ca_file"] == str(tmp_path / "ca.pem")
    assert added["client_cert_file"] == str(tmp_path / "cert.pem")
    assert added["client_key_file"] == str(tmp_path / "key.pem")
    shown = cli("server", "show", "gpu").stdout
    assert re.search(rf"^client certificate +{tmp_path}/cert\.pem$", shown, re.MULTILINE)
    ran = cli("server", "update", "gpu", "--clear", "proxy", "--clear", "ca_file", "--no-check")
    assert "  proxy: http://proxy:3128 -> -\n" in ran.stdout
    assert cli.json("server", "show", "gpu").data["proxy"] is None
    refused = cli("server", "update", "gpu", "--clear", "client_cert_file", "--no-check")
    assert refused.exit_code == 2
    assert "there is a client key, and no client certificate" in refused.stderr
