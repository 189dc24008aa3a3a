"""The options that give credentials: every way in works, none is a plain argument, and nothing is
shown again.
"""

import base64
import fcntl
import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ollama_admin.domain.secret import MASK
from ollama_admin.simulator.http import RecordedRequest
from tests.cli.conftest import Serve
from tests.cli.running import SECONDS, Cli, Ran
from tests.fake_ollama_thread import FakeOllamaThread
from tests.security.rows import stored

pytestmark = pytest.mark.usefixtures("key")

GPU = "http://127.0.0.2:11434"  # nobody is asked there
BASIC_HUNTER2 = "Basic " + base64.b64encode(b"u:hunter2").decode()
KINDS = {
    "basic": (["--auth", "basic", "--username", "u"], "authorization", BASIC_HUNTER2),
    "bearer": (["--auth", "bearer"], "authorization", "Bearer hunter2"),
    "api_key": (["--auth", "api_key"], "x-api-key", "hunter2"),
    "api_key-named": (["--auth", "api_key", "--header-name", "X-Own"], "x-own", "hunter2"),
}
every_kind = pytest.mark.parametrize(("kind", "header", "value"), KINDS.values(), ids=KINDS)


def add(cli: Cli, *options: str, url: str = GPU, stdin: str | bytes | None = None) -> Ran:
    ran = cli.json("server", "add", "gpu", url, "--no-check", *options, stdin=stdin)
    assert "hunter2" not in ran.stdout + ran.stderr
    return ran


def last(fake: FakeOllamaThread) -> RecordedRequest:
    return fake.requests()[-1]


# the ways in


@every_kind
def test_secret_on_stdin_is_sent(
    cli: Cli, serve: Serve, kind: list[str], header: str, value: str
) -> None:
    fake = serve("alpha")
    assert add(cli, *kind, "--secret-stdin", url=fake.url, stdin="hunter2\n").exit_code == 0
    assert cli("discover").exit_code == 0
    assert {request.headers[header] for request in fake.requests()} == {value}


@every_kind
def test_secret_of_a_variable_is_read_once(
    cli: Cli,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    kind: list[str],
    header: str,
    value: str,
) -> None:
    fake = serve("alpha")
    monkeypatch.setenv("GPU_TOKEN", "hunter2")
    assert add(cli, *kind, "--secret-env", "GPU_TOKEN", url=fake.url).exit_code == 0
    monkeypatch.delenv("GPU_TOKEN")
    assert cli("discover").exit_code == 0
    assert {request.headers[header] for request in fake.requests()} == {value}


@every_kind
def test_referred_secret_is_read_at_each_use(
    cli: Cli,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    kind: list[str],
    header: str,
    value: str,
) -> None:
    fake = serve("alpha")
    assert add(cli, *kind, "--secret-ref", "env:GPU_TOKEN", url=fake.url).exit_code == 0
    assert cli.json("server", "check", "gpu").failure == (5, "secret_unavailable")
    assert fake.requests() == []
    monkeypatch.setenv("GPU_TOKEN", "hunter2")
    assert cli("server", "check", "gpu").exit_code == 0
    assert last(fake).headers[header] == value
    monkeypatch.setenv("GPU_TOKEN", "other")
    assert cli("server", "check", "gpu").exit_code == 0
    assert last(fake).headers[header] != value


def test_referred_file_is_read_at_each_use(cli: Cli, serve: Serve, tmp_path: Path) -> None:
    fake = serve("alpha")
    (tmp_path / "token").write_text("hunter2\n")
    added = add(cli, "--auth", "bearer", "--secret-ref", "file:token", url=fake.url)
    assert added.data["auth_config"] == {"token": f"file:{tmp_path / 'token'}"}
    assert cli("server", "check", "gpu").exit_code == 0
    assert last(fake).headers["authorization"] == "Bearer hunter2"


def test_headers_public_and_referred_are_sent(
    cli: Cli, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = serve("alpha")
    monkeypatch.setenv("CF_SECRET", "hunter2")
    options = [
        "--header",
        "CF-Access-Client-Id=id=1",
        "--header-ref",
        "CF-Access-Client-Secret=env:CF_SECRET",
    ]
    added = add(cli, *options, url=fake.url)
    assert added.data["headers"] == {
        "CF-Access-Client-Id": MASK,
        "CF-Access-Client-Secret": "env:CF_SECRET",
    }
    assert cli("server", "check", "gpu").exit_code == 0
    assert last(fake).headers["cf-access-client-id"] == "id=1"
    assert last(fake).headers["cf-access-client-secret"] == "hunter2"


def _take_terminal() -> None:
    """Control the terminal on stdin, and hear Ctrl-C even where whoever started the tests ignores
    it.
    """
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


class Person:
    """A command whose three streams are one terminal that it controls, with somebody who types."""

    def __init__(self, *words: str) -> None:
        self._mine, theirs = os.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ollama_admin", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 (three system calls)
        )
        os.close(theirs)
        self.seen = b""

    def until(self, text: bytes) -> None:
        while text not in self.seen and (data := self._read()):
            self.seen += data
        assert text in self.seen

    def type(self, text: bytes) -> None:
        os.write(self._mine, text)

    def ended(self) -> int:
        while data := self._read():
            self.seen += data
        return self._process.wait(SECONDS)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(SECONDS)
        os.close(self._mine)

    def _read(self) -> bytes:
        try:
            return os.read(self._mine, 65536)
        except OSError:  # the last user of the terminal has left
            return b""


@pytest.fixture
def person() -> Iterator[Callable[..., Person]]:
    started: list[Person] = []

    def start(*words: str) -> Person:
        started.append(Person(*words))
        return started[-1]

    yield start
    for process in started:
        process.close()


def test_person_is_asked_and_what_is_typed_is_not_shown(
    sqlite_cli: Cli, serve: Serve, person: Callable[..., Person]
) -> None:
    fake = serve("alpha")
    asked = person("server", "add", "gpu", fake.url, "--auth", "bearer")
    asked.until(b"Token: ")
    asked.type(b"hunter2\n")
    assert asked.ended() == 0
    assert b"hunter2" not in asked.seen
    assert last(fake).headers["authorization"] == "Bearer hunter2"


def test_person_is_asked_for_the_new_secret_of_an_update(
    sqlite_cli: Cli, serve: Serve, person: Callable[..., Person]
) -> None:
    fake = serve("alpha")
    add(sqlite_cli, *KINDS["basic"][0], "--secret-stdin", url=fake.url, stdin="old")
    asked = person("server", "update", "gpu", "--username", "u", "--check")
    asked.until(b"Password: ")
    asked.type(b"hunter2\n")
    assert asked.ended() == 0
    assert b"hunter2" not in asked.seen
    assert last(fake).headers["authorization"] == BASIC_HUNTER2


@pytest.mark.parametrize("words", [("server", "add", "two", GPU), ("server", "update", "gpu")])
@pytest.mark.parametrize(("typed", "code"), [(b"hun\x03", 130), (b"\x04", 2), (b"\n", 2)])
def test_question_that_is_not_answered_changes_nothing(
    sqlite_cli: Cli, person: Callable[..., Person], words: tuple[str, ...], typed: bytes, code: int
) -> None:
    add(sqlite_cli)
    asked = person(*words, "--auth", "bearer")
    asked.until(b"Token: ")
    asked.type(typed)
    assert asked.ended() == code
    assert b"Traceback" not in asked.seen
    (server,) = sqlite_cli.json("server", "list").data
    assert server["auth_type"] == "none"


# what is refused


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--auth", "bearer"], "--auth bearer needs a secret"),
        (["--auth", "bearer", "--secret-stdin"], "the bearer token is empty"),
        (
            ["--auth", "bearer", "--secret-env", "MISSING"],
            "the variable MISSING is not set, or empty",
        ),
        (["--auth", "bearer", "--secret-env", "EMPTY"], "the variable EMPTY is not set, or empty"),
        (
            ["--auth", "bearer", "--secret-env", ""],
            "the variable that was named is not set, or empty",
        ),
        (
            ["--auth", "bearer", "--secret-env", "hunter2"],
            "the variable that was named is not set, or empty",
        ),
        (["--auth", "bearer", "--secret-env", "LINES"], "the bearer token has a line break"),
        (
            ["--auth", "bearer", "--secret-ref", "hunter2"],
            "a reference names neither a variable nor a file",
        ),
        (
            ["--auth", "bearer", "--secret-ref", ""],
            "a reference names neither a variable nor a file",
        ),
        (
            ["--auth", "bearer", "--secret-ref", "env:OLLAMA_ADMIN_SECRET_KEY"],
            "a setting of ollama-admin itself",
        ),
        (["--auth", "basic", "--secret-env", "TOKEN"], "auth basic has no username"),
        (
            ["--auth", "basic", "--secret-env", "TOKEN", "--username", "a:b"],
            "cannot have a ':' in it",
        ),
        (
            ["--auth", "bearer", "--secret-env", "TOKEN", "--username", "u"],
            "auth bearer has no username",
        ),
        (
            ["--auth", "bearer", "--secret-env", "TOKEN", "--header-name", "X-A"],
            "auth bearer has no header_name",
        ),
        (
            ["--auth", "api_key", "--secret-env", "TOKEN", "--header-name", "Host"],
            "header Host cannot be set",
        ),
        (["--auth", "none", "--secret-env", "TOKEN"], "auth none has no"),
        (["--secret-env", "TOKEN"], "without --auth"),
        (["--secret-ref", "env:TOKEN"], "without --auth"),
        (["--secret-stdin"], "without --auth"),
        (["--username", "u"], "without --auth"),
        (["--header", "hunter2"], "a header has no value"),
        (["--header", "X-A="], "the header X-A is empty"),
        (["--header", "X-A=1\r\nX-B: 2"], "the header X-A has a line break"),
        (["--header", "X A=hunter2"], "a header is not written as a name and a value"),
        (["--header", "X(A)=hunter2"], "'X(A)' is not a header name"),
        (["--header", "X-A: hunter2=="], "a header is not written as a name and a value"),
        (["--header", "Authorization=hunter2"], "the header Authorization is given as a header"),
        (["--header", "X-A=1", "--header", "x-a=2"], "a header is given twice"),
        (["--header", "X-A=1", "--header-ref", "x-a=env:TOKEN"], "a header is given twice"),
        (["--header-ref", "X-A=hunter2"], "a reference names neither a variable nor a file"),
        (["--header-ref", "X-A"], "a header has no value"),
        (["--header-ref", "X-A=env:OLLAMA_ADMIN_SECRET_KEY"], "a setting of ollama-admin itself"),
    ],
)
@pytest.mark.parametrize(
    "words", [("server", "add", "gpu", GPU), ("generate", "hi", "-m", "m", "--server-url", GPU)]
)
def test_what_is_wrong_with_the_options_is_told_without_the_secret(
    sqlite_cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    options: list[str],
    problem: str,
) -> None:
    for name, value in {"TOKEN": "hunter2", "EMPTY": "", "LINES": "hunter2\r\nX-Evil: 1"}.items():
        monkeypatch.setenv(name, value)
    ran = sqlite_cli.json(*words, *options, stdin="")
    assert ran.failure == (2, "invalid_input")
    assert problem in ran.error["message"]
    assert "hunter2" not in ran.stderr
    assert sqlite_cli.json("server", "list").data == []


@pytest.mark.parametrize(
    "ways",
    [
        ["--secret-stdin", "--secret-env", "TOKEN"],
        ["--secret-stdin", "--secret-ref", "env:TOKEN"],
        ["--secret-env", "TOKEN", "--secret-ref", "env:TOKEN"],
        ["--secret-stdin", "--secret-env", "TOKEN", "--secret-ref", "env:TOKEN"],
    ],
)
def test_secret_is_given_in_one_way_only(
    sqlite_cli: Cli, monkeypatch: pytest.MonkeyPatch, ways: list[str]
) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    ran = add(sqlite_cli, "--auth", "bearer", *ways, stdin="hunter2")
    assert ran.failure == (2, "invalid_input")
    assert ran.error["message"] == "the secret is given more than once"


@pytest.mark.parametrize(
    "data", [b"hunter2\nhunter3\n", b"hunter2\0", b"\xffhunter2", b"A" * 65537, b" hunter2\n"]
)
def test_stdin_that_is_no_secret_is_refused_unseen(sqlite_cli: Cli, data: bytes) -> None:
    assert add(sqlite_cli, "--auth", "bearer", "--secret-stdin", stdin=data).failure == (
        2,
        "invalid_input",
    )


@pytest.mark.parametrize("command", [("server", "add"), ("server", "update"), ("generate",)])
def test_no_option_takes_a_secret_itself(sqlite_cli: Cli, command: tuple[str, ...]) -> None:
    told = sqlite_cli(*command, "--help").stdout
    options = set(re.findall(r"--[a-z][a-z-]*", told))
    about = {
        name for name in options if re.search("secret|token|password|key|auth|user|header", name)
    }
    assert about - {"--client-key"} == {  # which names a file
        *(
            "--auth",
            "--username",
            "--header-name",
            "--secret-stdin",
            "--secret-env",
            "--secret-ref",
        ),
        *("--header", "--header-ref"),
    }
    for name in ("--secret", "--token", "--password", "--key", "--api-key"):
        ran = sqlite_cli(*command, name, "hunter2")
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert "hunter2" not in ran.stderr


def test_user_and_password_in_a_url_are_refused_unseen(sqlite_cli: Cli) -> None:
    for words in (("server", "add", "gpu"), ("generate", "hi", "-m", "m", "--server-url")):
        ran = sqlite_cli.json(*words, "http://u:hunter2@127.0.0.2")
        assert ran.failure == (2, "invalid_input")
        assert "hunter2" not in ran.stderr
        assert "--auth basic --username" in ran.error["hint"]


# what is shown


def test_no_command_shows_a_secret_again(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    options = [
        *KINDS["basic"][0],
        "--secret-stdin",
        "--header",
        "X-A=hunter2",
        "--header-ref",
        "X-B=env:PATH",
    ]
    shown = add(cli, *options, url=fake.url, stdin="hunter2").data
    assert shown["auth_type"] == "basic"
    assert shown["auth_config"] == {"username": "u", "password": MASK}
    assert shown["headers"] == {"X-A": MASK, "X-B": "env:PATH"}
    for words in (
        ("server", "list"),
        ("server", "show", "gpu"),
        ("server", "check", "gpu"),
        ("discover",),
        ("models",),
        ("generate", "hi", "-s", "gpu", "-m", "alpha", "--stats"),
        ("secrets", "status"),
        ("doctor",),
        ("server", "update", "gpu", "--priority", "1"),
        ("server", "disable", "gpu"),
        ("server", "remove", "gpu", "--yes"),
    ):
        for form in ("table", "json"):
            ran = cli("-v", "-o", form, *words)
            assert "hunter2" not in ran.stdout + ran.stderr
            assert BASIC_HUNTER2 not in ran.stdout + ran.stderr


# update


def test_update_with_a_new_secret_keeps_kind_and_user_name(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    add(cli, *KINDS["basic"][0], "--secret-stdin", "--header", "X-A=1", url=fake.url, stdin="old")
    changed = cli.json("server", "update", "gpu", "--secret-stdin", "--check", stdin="hunter2").data
    assert (changed["auth_type"], changed["auth_config"]) == (
        "basic",
        {"username": "u", "password": MASK},
    )
    assert last(fake).headers["authorization"] == BASIC_HUNTER2
    assert last(fake).headers["x-a"] == "1"


def test_update_with_a_new_secret_keeps_the_headers_name(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    add(cli, *KINDS["api_key-named"][0], "--secret-stdin", url=fake.url, stdin="old")
    assert (
        cli("server", "update", "gpu", "--secret-stdin", "--check", stdin="hunter2").exit_code == 0
    )
    assert last(fake).headers["x-own"] == "hunter2"


def test_update_turns_a_secret_into_a_reference(cli: Cli, database_url: str) -> None:
    add(cli, "--auth", "bearer", "--secret-stdin", stdin="hunter2")
    before = stored(database_url, "gpu")
    changed = cli.json("server", "update", "gpu", "--secret-ref", "env:GPU_TOKEN").data
    assert changed["auth_config"] == {"token": "env:GPU_TOKEN"}
    assert stored(database_url, "gpu") != before


def test_update_of_a_server_without_credentials_wants_their_kind(sqlite_cli: Cli) -> None:
    add(sqlite_cli)
    ran = sqlite_cli.json("server", "update", "gpu", "--secret-stdin", stdin="hunter2")
    assert ran.failure == (2, "invalid_input")
    assert "--auth" in ran.error["hint"]


def test_update_of_nobody_reads_no_secret(sqlite_cli: Cli) -> None:
    assert sqlite_cli.json("server", "update", "gpu", "--secret-stdin", stdin="x").failure == (
        3,
        "server_not_found",
    )


@pytest.mark.parametrize(
    ("fields", "auth", "headers"),
    [
        (["auth"], {}, {"X-A": MASK}),
        (["headers"], {"token": MASK}, {}),
        (["auth", "headers"], {}, {}),
    ],
)
def test_update_clears_what_is_named(
    cli: Cli, fields: list[str], auth: dict[str, str], headers: dict[str, str]
) -> None:
    add(cli, "--auth", "bearer", "--secret-stdin", "--header", "X-A=1", stdin="hunter2")
    changed = cli.json(
        "server", "update", "gpu", *(word for field in fields for word in ("--clear", field))
    ).data
    assert (changed["auth_config"], changed["headers"]) == (auth, headers)
    assert changed["auth_type"] == ("bearer" if auth else "none")


def test_update_of_the_url_drops_the_secret_and_says_so(cli: Cli) -> None:
    add(cli, "--auth", "bearer", "--secret-stdin", stdin="hunter2")
    ran = cli.json("server", "update", "gpu", "--url", "http://127.0.0.3:11434")
    assert (ran.data["auth_type"], ran.data["auth_config"]) == ("none", {})
    assert (
        "note: the credentials that server gpu had for http://127.0.0.2:11434 were dropped"
        in ran.stderr
    )


def test_update_of_the_url_keeps_a_secret_that_is_given_with_it(cli: Cli) -> None:
    add(cli, "--auth", "bearer", "--secret-stdin", stdin="hunter2")
    options = ["--url", "http://127.0.0.3:11434", "--secret-stdin"]
    changed = cli.json("server", "update", "gpu", *options, stdin="hunter2").data
    assert (changed["auth_type"], changed["auth_config"]) == ("bearer", {"token": MASK})


# generate


@every_kind
def test_generate_sends_the_secret_to_a_url_that_no_row_has(
    cli: Cli, serve: Serve, kind: list[str], header: str, value: str
) -> None:
    fake = serve("alpha")
    options = [
        "--server-url",
        fake.url,
        "-m",
        "alpha",
        *kind,
        "--secret-stdin",
        "--header",
        "X-A=1",
    ]
    ran = cli("generate", "hi", *options, stdin="hunter2\n")
    assert (ran.exit_code, ran.stdout) == (0, "I am alpha")
    assert {(request.headers[header], request.headers["x-a"]) for request in fake.requests()} == {
        (value, "1")
    }
    assert [
        request.body["prompt"] for request in fake.requests() if request.path == "/api/generate"
    ] == ["hi"]  # type: ignore[index,call-overload]
    assert cli.json("server", "list").data == []


def test_generate_refuses_credentials_for_a_url_that_a_row_has(cli: Cli, serve: Serve) -> None:
    fake = serve("alpha")
    add(cli, "--auth", "bearer", "--secret-stdin", url=fake.url, stdin="hunter2")
    options = [
        "--server-url",
        fake.url + "/v1",
        "-m",
        "alpha",
        "--auth",
        "bearer",
        "--secret-stdin",
    ]
    ran = cli.json("generate", "hi", *options, stdin="hunter3")
    assert ran.failure == (2, "invalid_input")
    assert "has this URL, and its own credentials" in ran.error["message"]
    assert fake.requests() == []


@pytest.mark.parametrize("where", [(), ("-s", "gpu")])
def test_generate_refuses_credentials_without_a_url(
    cli: Cli, serve: Serve, where: tuple[str, ...]
) -> None:
    fake = serve("alpha")
    add(cli, url=fake.url)
    ran = cli.json(
        "generate",
        "hi",
        "-m",
        "alpha",
        *where,
        "--auth",
        "bearer",
        "--secret-stdin",
        stdin="hunter2",
    )
    assert ran.failure == (2, "invalid_input")
    assert fake.requests() == []


def test_generate_cannot_read_prompt_and_secret_from_one_stdin(
    sqlite_cli: Cli, serve: Serve
) -> None:
    fake = serve("alpha")
    options = ["--server-url", fake.url, "-m", "alpha", "--auth", "bearer", "--secret-stdin"]
    assert sqlite_cli.json("generate", *options, stdin="hunter2").failure == (2, "invalid_input")
    assert fake.requests() == []
