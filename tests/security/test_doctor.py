"""`ollama-admin doctor`: everything that is wrong is named, nothing that is right, and no secret is
shown.
"""

import json
from pathlib import Path
from typing import Any

import certifi
import pytest

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.vault import new_key
from tests.cli.conftest import Serve
from tests.cli.running import Cli, Ran
from tests.fake_ollama import Answer, FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread
from tests.security.rows import execute, store

NOWHERE = "http://127.0.0.1:9"
FAR = "http://10.39.0.6:11434"  # reached through a proxy on this machine alone
KEY = "OLLAMA_ADMIN_SECRET_KEY"
TOKEN = ("--auth", "bearer", "--secret-stdin")


def add(cli: Cli, name: str, url: str, *options: str, stdin: str | None = None) -> None:
    assert cli("server", "add", name, url, "--no-check", *options, stdin=stdin).exit_code == 0


def examined(cli: Cli) -> tuple[int, dict[str, Any]]:
    """Exit code and document."""
    ran = cli.json("doctor")
    assert ran.stderr == ""
    return ran.exit_code, json.loads(ran.stdout)


def findings(cli: Cli) -> tuple[int, list[str]]:
    """Exit code, and what the page says is wrong, a line each."""
    ran = cli("doctor")
    assert ran.stderr == ""
    return ran.exit_code, [
        line for line in ran.stdout.splitlines() if line.startswith(("problem: ", "warning: "))
    ]


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    return tmp_path / "one.db"


# a registry that is well


def test_nothing_is_wrong_with_an_empty_registry(cli: Cli) -> None:
    ran = cli("doctor")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout.endswith("no problems found\n")


@pytest.mark.usefixtures("key")
def test_nothing_is_wrong_with_servers_that_answer(cli: Cli, serve: Serve) -> None:
    add(cli, "open", serve("alpha").url)
    add(
        cli,
        "closed",
        serve("alpha", require_header=("Authorization", "Bearer t")).url,
        *TOKEN,
        stdin="t",
    )
    add(cli, "v1", serve("alpha", version=None).url + "/v1")
    assert findings(cli) == (0, [])


@pytest.mark.usefixtures("key")
def test_the_document_has_these_keys(cli: Cli, serve: Serve) -> None:
    add(cli, "gpu", serve("alpha").url)
    code, report = examined(cli)
    assert code == 0
    assert list(report) == [
        "settings",
        "ignored_variables",
        "revision",
        "head",
        "secrets",
        "servers",
        "findings",
    ]
    assert [list(setting) for setting in report["settings"]] == [["name", "value", "source"]] * 11
    assert report["revision"] == report["head"]
    assert list(report["secrets"]) == [
        "key_source",
        "keys",
        "secrets",
        "stale",
        "unreadable",
        "problem",
    ]
    (health,) = report["servers"]
    assert list(health) == ["server", "status", "version", "is_active", "findings"]
    assert list(health["server"]) == ["id", "name", "url"]
    assert (health["status"], health["version"], health["is_active"]) == ("online", "0.33.0", True)
    assert (report["findings"], health["findings"]) == ([], [])


# settings


def test_settings_in_force_are_told_with_where_they_come_from(
    sqlite_cli: Cli, sqlite_file: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_PROXY", "http://u:hunter2@127.0.0.1:9")
    monkeypatch.setenv("OLLAMA_ADMIN_CA_FILE", certifi.where())
    monkeypatch.setenv("OLLAMA_ADMIN_RECEIPTS", "off")
    monkeypatch.setenv("OLLAMA_ADMIN_API_TOKEN", "hunter2-and-more")
    monkeypatch.setenv("OLLAMA_ADMIN_DYNAMIC_SERVERS", "registered")
    code, report = examined(sqlite_cli)
    told = {
        setting["name"]: (setting["value"], setting["source"]) for setting in report["settings"]
    }
    assert told == {
        "database": (f"sqlite:///{sqlite_file}", "OLLAMA_ADMIN_DATABASE_URL"),
        "secret key": ("set", KEY),
        "secret key file": (None, "default"),
        "proxy": ("127.0.0.1", "OLLAMA_ADMIN_PROXY"),
        "CA file": (certifi.where(), "OLLAMA_ADMIN_CA_FILE"),
        "receipts": ("off", "OLLAMA_ADMIN_RECEIPTS"),
        "API token": ("set", "OLLAMA_ADMIN_API_TOKEN"),
        "dynamic servers": ("registered", "OLLAMA_ADMIN_DYNAMIC_SERVERS"),
        "checks": ("10 s", "default"),
        "loaded models": ("5 s", "default"),
        "discovery": ("600 s", "default"),
    }
    assert code == 0
    assert key not in sqlite_cli("doctor").stdout
    assert "hunter2" not in sqlite_cli("doctor").stdout


@pytest.mark.parametrize(
    ("text", "problem"),
    [(None, "cannot be read: No such file"), ("no certificate", "holds no certificate in PEM")],
)
def test_a_ca_file_that_cannot_be_used_is_a_problem(
    sqlite_cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str | None,
    problem: str,
) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("OLLAMA_ADMIN_CA_FILE", str(path))
    code, found = findings(sqlite_cli)
    assert code == 7
    assert len(found) == 1
    assert f"{path} {problem}" in found[0]


def test_settings_that_nobody_made_have_their_defaults(sqlite_cli: Cli) -> None:
    settings = examined(sqlite_cli)[1]["settings"]
    assert {(row["name"], row["value"], row["source"]) for row in settings[1:]} == {
        ("secret key", None, "default"),
        ("secret key file", None, "default"),
        ("proxy", None, "default"),
        ("CA file", None, "default"),
        ("receipts", "on", "default"),
        ("API token", None, "default"),
        ("dynamic servers", "allow", "default"),
        ("checks", "10 s", "default"),
        ("loaded models", "5 s", "default"),
        ("discovery", "600 s", "default"),
    }


def test_option_and_default_are_told_from_the_variable(
    tmp_path: Path, sqlite_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def database(ran: Ran) -> dict[str, str]:
        setting: dict[str, str] = ran.data["settings"][0]
        return setting

    url = f"sqlite:///{tmp_path / 'two.db'}"
    assert database(sqlite_cli.json("--database-url", url, "doctor"))["source"] == "option"
    monkeypatch.delenv("OLLAMA_ADMIN_DATABASE_URL")
    default = tmp_path / "home" / ".local" / "share" / "ollama-admin" / "ollama-admin.db"
    assert database(sqlite_cli.json("doctor")) == {
        "name": "database",
        "value": f"sqlite:///{default}",
        "source": "default",
    }


def test_the_databases_password_is_not_told(
    cli: Cli, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = cli("doctor")
    if database_url.startswith("postgresql"):
        password = database_url.split(":")[2].partition("@")[0]
        assert password not in ran.stdout
        assert "postgresql://postgres@127.0.0.1:" in ran.stdout
    assert "OLLAMA_ADMIN_DATABASE_URL" in ran.stdout


@pytest.mark.parametrize(
    "name",
    [
        *(
            "OLLAMA_HOST",
            "OLLAMA_MODEL",
            "OLLAMA_API_KEY",
            "OLLAMA_BASE_URL",
            "HTTP_PROXY",
            "https_proxy",
            "ALL_PROXY",
        ),
        *("no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC", "OPENAI_API_KEY"),
    ],
)
def test_a_variable_that_has_no_effect_is_named_and_not_shown(
    sqlite_cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "http://u:hunter2@gpu")
    assert findings(sqlite_cli) == (0, [f"warning: {name} is set and has no effect here"])
    ran = sqlite_cli.json("doctor")
    assert ran.data["ignored_variables"] == [name]
    assert "hunter2" not in ran.stdout


# database and files


def test_a_database_that_is_away_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", "postgresql://u:hunter2@127.0.0.1:9/db")
    code, report = examined(Cli())
    assert code == 7
    assert (report["revision"], report["secrets"], report["servers"]) == (None, None, [])
    (finding,) = report["findings"]
    assert finding["level"] == "problem"
    assert finding["text"].startswith("the database cannot be reached")
    page = Cli()("doctor")
    assert page.exit_code == 7
    assert "database revision unknown" in page.stdout
    assert "hunter2" not in page.stdout + json.dumps(report)


def test_a_schema_that_is_not_at_head_is_a_problem(cli: Cli, database_url: str) -> None:
    execute(database_url, "UPDATE ollama_admin_version SET version_num = '0000'")
    code, (line,) = findings(cli)
    assert code == 7
    assert line.startswith("problem: the database is at revision 0000, this version needs")
    assert "run: ollama-admin migrate" in line


@pytest.mark.parametrize("name", ["one.db", "one.db.key"])
def test_files_that_others_can_read_are_named(sqlite_cli: Cli, tmp_path: Path, name: str) -> None:
    add(sqlite_cli, "gpu", NOWHERE, "--inactive", *TOKEN, stdin="t")
    for mode in (0o640, 0o604, 0o611):
        (tmp_path / name).chmod(mode)
        code, lines = findings(sqlite_cli)
        assert (code, lines[0].startswith("warning: the ")) == (0, True)
        assert (
            f"{tmp_path / name} can be read by others; run: chmod 600 {tmp_path / name}" in lines[0]
        )
    (tmp_path / name).chmod(0o600)
    assert not any("by others" in line for line in findings(sqlite_cli)[1])


def test_a_key_file_that_others_can_change_is_a_problem(sqlite_cli: Cli, tmp_path: Path) -> None:
    add(sqlite_cli, "gpu", NOWHERE, "--inactive", *TOKEN, stdin="t")
    (tmp_path / "one.db.key").chmod(0o666)
    code, lines = findings(sqlite_cli)
    assert code == 7
    problem = "problem: the secrets of gpu cannot be read: the file "
    assert any(line.startswith(problem) and "changed by other users" in line for line in lines)


def test_a_key_file_that_others_can_read_is_named_wherever_it_is(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "my.key"
    path.write_text(new_key().reveal())
    path.chmod(0o644)
    monkeypatch.setenv("OLLAMA_ADMIN_SECRET_KEY_FILE", str(path))
    code, (line,) = findings(cli)
    assert (code, line) == (
        0,
        f"warning: the key file {path} can be read by others; run: chmod 600 {path}",
    )


def test_a_setting_that_is_misspelt_is_named_with_the_one_that_was_meant(
    sqlite_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABSE_URL", "postgresql://u:hunter2@nowhere/db")
    said = (
        "OLLAMA_ADMIN_DATABSE_URL is set, but is not a setting of ollama-admin; did you mean "
        "OLLAMA_ADMIN_DATABASE_URL?"
    )
    assert f"warning: {said}" in sqlite_cli("doctor").stdout.splitlines()
    listed = sqlite_cli("server", "list")
    assert (listed.exit_code, listed.stderr.splitlines()[0]) == (0, f"note: {said}")


# the key


def test_a_key_that_stands_in_for_the_one_beside_the_database_is_told_apart_from_a_lost_one(
    sqlite_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where somebody exports a key after secrets were stored under the database's own."""
    add(sqlite_cli, "gpu", NOWHERE, *TOKEN, "--inactive", stdin="hunter2")
    own, other = tmp_path / "one.db.key", new_key().reveal()
    monkeypatch.setenv(KEY, other)
    hint = (
        f"the key in {own} opens it: unset {KEY}, or write that key behind the one in {KEY}, "
        "after a comma, and run: ollama-admin secrets rotate"
    )
    code, lines = findings(sqlite_cli)
    assert (code, lines[0]) == (7, f"problem: the secrets of gpu cannot be read: {hint}")
    assert not any("under an older key" in line for line in lines)
    status = json.loads(sqlite_cli.json("secrets", "status").stdout)
    assert (status["unreadable"], status["stale"], status["problem"]) == (["gpu"], 0, hint)
    assert sqlite_cli.json("secrets", "rotate").error["hint"] == hint
    monkeypatch.setenv(KEY, f"{other},{own.read_text().strip()}")
    assert sqlite_cli("secrets", "rotate").exit_code == 0
    monkeypatch.setenv(KEY, other)
    assert not any("secrets of gpu" in line for line in findings(sqlite_cli)[1])


def test_a_key_file_that_is_not_there_is_named_and_what_names_it(
    sqlite_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(sqlite_cli, "gpu", NOWHERE, *TOKEN, stdin="hunter2")
    monkeypatch.setenv("OLLAMA_ADMIN_SECRET_KEY_FILE", "/nope")
    error = sqlite_cli.json("generate", "-s", "gpu", "-m", "alpha", "hi").error
    assert error["message"] == (
        "server gpu: the file /nope cannot be read: No such file or directory"
    )
    assert error["hint"] == (
        "OLLAMA_ADMIN_SECRET_KEY_FILE names it: put the key there, or name the right file"
    )


def test_secrets_without_a_key_are_a_problem(
    cli: Cli, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(cli, "gpu", NOWHERE, *TOKEN, "--inactive", stdin="hunter2")
    monkeypatch.delenv(KEY)
    code, lines = findings(cli)
    assert code == 7
    assert lines[0].startswith("problem: the secrets of gpu cannot be read: ")


def test_secrets_under_another_key_are_a_problem_that_names_their_servers(
    cli: Cli, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(cli, "gpu", NOWHERE, *TOKEN, "--inactive", stdin="hunter2")
    monkeypatch.setenv(KEY, new_key().reveal())
    code, lines = findings(cli)
    assert code == 7
    way_back = "write the key that it was stored under behind the one in OLLAMA_ADMIN_SECRET_KEY"
    assert any(
        line.startswith(f"problem: the secrets of gpu cannot be read: {way_back}") for line in lines
    )


@pytest.mark.usefixtures("key")
def test_a_secret_that_was_tampered_with_is_a_problem(cli: Cli, database_url: str) -> None:
    add(cli, "gpu", NOWHERE, *TOKEN, stdin="hunter2")
    store(database_url, "gpu", {"token": "hunter3"})
    code, lines = findings(cli)
    assert code == 7
    way_back = "write the key that it was stored under behind the one in OLLAMA_ADMIN_SECRET_KEY"
    assert any(
        line.startswith(f"problem: the secrets of gpu cannot be read: {way_back}") for line in lines
    )
    assert any(
        line.startswith("problem: server gpu: a stored secret cannot be read") for line in lines
    )


def test_secrets_under_an_older_key_are_a_warning(
    cli: Cli, key: str, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    add(cli, "gpu", serve("alpha").url, *TOKEN, stdin="hunter2")
    monkeypatch.setenv(KEY, f"{new_key().reveal()},{key}")
    assert findings(cli) == (
        0,
        ["warning: 1 secrets are encrypted under an older key; run: ollama-admin secrets rotate"],
    )


@pytest.mark.parametrize("change", ["both", "empty", "no key"])
def test_a_key_that_cannot_be_used_is_a_warning_before_it_is_needed(
    cli: Cli, key: str, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    if change == "both":
        monkeypatch.setenv("OLLAMA_ADMIN_SECRET_KEY_FILE", "key")
    else:
        monkeypatch.setenv(KEY, "" if change == "empty" else "hunter2")
    code, (line,) = findings(cli)
    assert code == 0
    assert line.startswith("warning: no secret can be stored: ")
    assert "hunter2" not in line


# servers


def test_a_server_that_does_not_answer_is_a_problem_unless_it_is_inactive(cli: Cli) -> None:
    add(cli, "gpu", NOWHERE)
    code, (line,) = findings(cli)
    assert code == 7
    assert line.startswith(
        "problem: server gpu (http://127.0.0.1:9) cannot be reached: connection refused"
    )
    cli("server", "disable", "gpu")
    code, (line,) = findings(cli)
    assert (code, line.startswith("warning: server gpu ")) == (0, True)
    assert examined(cli)[1]["servers"][0]["is_active"] is False


def test_a_server_that_refuses_the_credentials_is_a_problem(
    cli: Cli, key: str, serve: Serve
) -> None:
    fake = serve("alpha", require_header=("Authorization", "Bearer right"))
    add(cli, "gpu", fake.url, *TOKEN, stdin="hunter2")
    code, (line,) = findings(cli)
    assert code == 7
    assert "server gpu refused the request (401)" in line
    assert "server update gpu --secret-stdin" in line
    assert examined(cli)[1]["servers"][0]["status"] == "unauthorized"
    assert "hunter2" not in line


@pytest.mark.usefixtures("key")
def test_a_reference_that_gives_nothing_is_a_problem(cli: Cli) -> None:
    add(cli, "gpu", NOWHERE, "--auth", "bearer", "--secret-ref", "env:MISSING")
    code, (line,) = findings(cli)
    assert code == 7
    assert "the variable MISSING is not set, or empty" in line


@pytest.mark.parametrize(
    ("version", "is_old"), [("0.17.0", True), ("0.9.6", True), ("0.17.1", False), ("0.0.0", False)]
)
def test_a_version_with_known_holes_is_a_warning(
    cli: Cli, serve: Serve, version: str, is_old: bool
) -> None:
    add(cli, "gpu", serve("alpha", version=version).url)
    line = (
        f"warning: server gpu: Ollama {version} has known vulnerabilities; update it to 0.17.1 or "
        "newer"
    )
    assert findings(cli) == (0, [line] if is_old else [])


@pytest.fixture
def far(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> FakeOllamaThread:
    """A server at `FAR`, played by a proxy on this machine: nothing is connected to elsewhere."""
    proxy = serve("alpha", prefix=FAR)
    monkeypatch.setenv("OLLAMA_ADMIN_PROXY", f"http://127.0.0.1:{proxy.fakes[0].port}")
    return proxy


@pytest.mark.usefixtures("key")
def test_a_server_elsewhere_that_asks_for_nothing_is_a_warning(
    cli: Cli, far: FakeOllamaThread
) -> None:
    add(cli, "gpu", FAR)
    line = "warning: server gpu: it answers anyone who can reach its port, without credentials"
    assert findings(cli) == (0, [line])
    assert [request.path for request in far.requests()] == [FAR + "/api/version"]


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("options", [TOKEN, ("--header", "X-A=1")])
def test_credentials_over_plain_http_elsewhere_are_a_warning(
    cli: Cli, far: FakeOllamaThread, options: tuple[str, ...]
) -> None:
    add(cli, "gpu", FAR, *options, stdin="t")
    line = (
        "warning: server gpu: its credentials travel over plain http: anyone on the way can "
        "read them"
    )
    assert findings(cli) == (0, [line])


@pytest.mark.usefixtures("key")
def test_every_finding_of_a_server_is_told(cli: Cli, far: FakeOllamaThread) -> None:
    far.call(lambda: setattr(far.fakes[0], "version", "0.5.0"))
    add(cli, "gpu", FAR)
    code, report = examined(cli)
    assert code == 0
    assert [finding["text"].split()[0] for finding in report["servers"][0]["findings"]] == [
        "Ollama",
        "it",
    ]


def test_what_a_server_says_cannot_write_lines_of_its_own(cli: Cli) -> None:
    hostile = FakeOllama(SimulatedModel("alpha"), version="0.1\nproblem: forged\x1b[2J")
    with FakeOllamaThread(hostile) as fake:
        hostile.script_always("/api/tags", Answer(500, {"error": "\nproblem: forged"}))
        add(cli, "gpu", fake.url)
        page = cli("doctor").stdout
    assert not any(line.startswith("problem: forged") for line in page.splitlines())
    assert "\x1b" not in page
