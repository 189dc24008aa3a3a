"""What goes wrong is told without the secrets that were near: by databases, by servers, by
libraries, by a crash.
"""

import asyncio
import base64
import json
import logging
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, text

import ollama_admin
from ollama_admin.cli.app import app
from ollama_admin.client import Client
from ollama_admin.domain.secret import MASK, Secret
from ollama_admin.domain.servers import ApiVersion, AuthType, Target
from ollama_admin.domain.urls import server_url
from ollama_admin.errors import AdminError, Conflict, InvalidInput, ServerExists
from ollama_admin.ollama.faults import ERROR_TEXT_LIMIT, scrubbed
from ollama_admin.services.upstream_auth import Auth, UpstreamAuth
from ollama_admin.settings import Settings
from ollama_admin.store import servers as store
from ollama_admin.store.database import Database
from ollama_admin.vault import Keys, Vault, new_key, resolve
from tests.cli.conftest import Serve
from tests.cli.running import Cli
from tests.fake_ollama import Answer, FakeOllama, Raw
from tests.security.rows import stored

GPU = "http://127.0.0.2:11434"  # nobody is asked there
CANARY = 'Hunter2/+ &%"\\Söhne?'  # each way of writing it down changes it

FORMS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "base64": lambda plain: base64.b64encode(plain.encode()).decode(),
    "base64 of latin-1": lambda plain: base64.b64encode(plain.encode("latin-1")).decode(),
    "base64 without its end": lambda plain: base64.b64encode(plain.encode()).decode().rstrip("="),
    "base64 for URLs": lambda plain: base64.urlsafe_b64encode(plain.encode()).decode(),
    "URL": lambda plain: quote(plain, safe=""),
    "URL in lower case": lambda plain: quote(plain, safe="").lower(),
    "URL path": quote,
    "form": quote_plus,
    "JSON": lambda plain: json.dumps(plain)[1:-1],
    "upper case": str.upper,
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def found_in(told: str, plain: str = CANARY) -> list[str]:
    """The forms of the secret that are in a text."""
    texts = (told, told.casefold())
    return [name for name, form in FORMS.items() if any(form(plain) in one for one in texts)]


# database URLs (C3)

URLS = [
    "postgresql://u:Hunter2@127.0.0.1:port/db",
    "postgresql://u:Hunter2@127.0.0.1:99999/db",
    "postgresql://u:Hunter2@[::1/db",
    "postgresql://u:Hunter2@[zz]/db",
    "postgresql://u:Hun/ter2Hunter2@127.0.0.1:9/db",
    "postgresql://u:Hunter2@x@127.0.0.1:9/db",
    "postgresql://u:Hunter2@127.0.0.1:9/db?sslmode=Hunter2",
    "postgresql://u:Hunter2@127.0.0.1:9/db?nonsense=Hunter2",
    "postgresql://u:Hunter2@127.0.0.1:9/db?connect_timeout=Hunter2",
    "postgresql://u@127.0.0.1:9/db?password=Hunter2",
    "postgresql://u:Hunter2%00@127.0.0.1:9/db",
    "postgres:u:Hunter2@127.0.0.1",
    "mysql://u:Hunter2@127.0.0.1/db",
    "Hunter2",
    "sqlite:///one.db?key=Hunter2",
    "sqlite://u:Hunter2@host/db",
]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    "words", [("server", "list"), ("doctor",), ("migrate", "--status"), ("secrets", "status")]
)
def test_a_wrong_database_url_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, url: str, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", url)
    for form in ("table", "json"):
        ran = Cli()("-v", "-o", form, *words)
        assert ran.exit_code in (2, 5, 7)
        assert "unter2" not in ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr


def test_a_wrong_password_is_not_repeated(
    migrated_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, _, rest = migrated_postgres_url.partition("@")
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", f"{user.rpartition(':')[0]}:Hunter2@{rest}")
    ran = Cli()("-v", "-o", "json", "server", "list")
    assert "unter2" not in ran.stderr


def test_a_password_in_an_option_is_warned_about_and_not_repeated() -> None:
    ran = Cli()("--database-url", "postgresql://u:Hunter2@127.0.0.1:9/db", "server", "list")
    assert ran.exit_code == 5
    assert ran.stderr.startswith("note: the password in --database-url shows in process lists")
    assert "unter2" not in ran.stderr


# errors of the database (C10, K1)


SEALED = Vault(Keys(source="the test", keys=(new_key(),))).seal(Secret(CANARY), GPU)
ROW = store.NewServer(
    name="gpu",
    url=GPU,
    api_version=ApiVersion.NATIVE,
    auth_type=AuthType.BASIC,
    auth_config={"username": "u", "password": SEALED},
    headers={"X-A": SEALED},
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(Settings.read({}, database_url), lambda: None)
    yield opened
    opened.close()


def insert(new: store.NewServer) -> Callable[[Connection], object]:
    return lambda connection: store.add(connection, new)


def twice(new: store.NewServer, **columns: Any) -> Callable[[Connection], object]:
    """Two rows that clash, as if another process had written the first one after we had looked."""

    def work(connection: Connection) -> None:
        store.add(connection, new)
        connection.execute(
            text(
                "INSERT INTO ollama_servers (name, name_key, url, api_version, capabilities, "
                "max_concurrent, priority,"
                " is_default, is_active, auth_type, auth_config, headers, status, created_at, "
                "updated_at)"
                " SELECT :name, :name, :url, api_version, capabilities, max_concurrent, priority, "
                "is_default,"
                " is_active, auth_type, auth_config, headers, status, created_at, updated_at FROM "
                "ollama_servers"
            ),
            {"name": "two", "url": "http://127.0.0.3"} | columns,
        )

    return work


def changed(new: store.NewServer, column: str, value: str) -> Callable[[Connection], object]:
    """The row, changed by a statement that the database refuses."""

    def work(connection: Connection) -> None:
        store.add(connection, new)
        connection.execute(text(f"UPDATE ollama_servers SET {column} = {value}"))

    return work


BROKEN: dict[
    str, tuple[Callable[[store.NewServer], Callable[[Connection], object]], type[AdminError]]
] = {
    "unique name": (lambda new: twice(new, name="gpu"), ServerExists),
    "unique url": (lambda new: twice(new, url=GPU), ServerExists),
    "two defaults": (lambda new: twice(replace(new, is_default=True)), Conflict),
    "check": (lambda new: insert(replace(new, max_concurrent=0)), InvalidInput),
    "not null": (lambda new: changed(new, "name", "NULL"), InvalidInput),
    "auth_config is null": (lambda new: changed(new, "auth_config", "NULL"), InvalidInput),
    "unknown status": (lambda new: changed(new, "status", "'broken'"), InvalidInput),
    "no such column": (lambda new: changed(new, "hunter", "1"), AdminError),
    "no SQL": (lambda new: changed(new, "name", "'"), AdminError),
}


@pytest.mark.parametrize(("broken", "kind"), BROKEN.values(), ids=BROKEN)
async def test_what_the_database_refuses_is_told_in_our_words_alone(
    database: Database,
    broken: Callable[[store.NewServer], Callable[[Connection], object]],
    kind: type[AdminError],
) -> None:
    with pytest.raises(AdminError) as caught:
        await database.write(broken(ROW))
    error = caught.value
    assert isinstance(error, kind)
    told = f"{error.message} {error.hint}"
    assert not any(
        word in told
        for word in ("gpu", "DETAIL", "INSERT", "UPDATE", "ollama_servers", "Fernet", "gAAAA")
    )
    whole = "".join(traceback.format_exception(error))
    assert found_in(whole) == []
    assert await database.read(store.all_servers) == []


@pytest.mark.parametrize(
    "columns",
    [
        {"default_model": "a\0b"},
        {"auth_config": {"a": "\0"}},
        {"priority": "many"},
        {"priority": 2**40},
    ],
)
async def test_what_postgresql_alone_refuses_is_told_in_our_words_alone(
    migrated_postgres_url: str, columns: dict[str, Any]
) -> None:
    database = Database(Settings.read({}, migrated_postgres_url), lambda: None)
    with pytest.raises(InvalidInput, match="the database rejected one of the values") as caught:
        await database.write(insert(replace(ROW, **columns)))
    database.close()
    assert found_in("".join(traceback.format_exception(caught.value))) == []


# what servers repeat (K12)


async def told_of(client: Client, database_url: str) -> str:
    """Everything that is said after a check, a discovery and an answer of the server have
    failed.
    """
    told: list[str] = []
    for ask in (
        lambda: client.servers.check(["gpu"]),
        lambda: client.discover(["gpu"]),
        lambda: client.generate(prompt="hi", server="gpu", model="alpha"),
    ):
        try:
            (answer,) = await ask()
            error = answer.error
        except AdminError as exc:
            error = exc
        assert isinstance(error, AdminError)
        told += [
            error.message,
            str(error.hint),
            json.dumps(error.document()),
            *traceback.format_exception(error),
        ]
        told.append(str((await client.servers.show("gpu")).last_error))
    return "\n".join(told)


SECRETS: dict[str, dict[str, Any]] = {
    "basic": {"auth_type": "basic", "auth_config": {"username": "u", "password": CANARY}},
    "bearer": {"auth_type": "bearer", "auth_config": {"token": CANARY}},
    "api_key": {"auth_type": "api_key", "auth_config": {"key": CANARY}},
    "header": {"headers": {"X-A": CANARY}},
}
BODIES: dict[str, Callable[[str], object]] = {
    "text": lambda said: {"error": f"bad token {said}!"},
    "object": lambda said: {"error": {"message": f"bad token {said}!"}},
    "nested": lambda said: {"error": json.dumps({"error": {"message": f"bad token {said}!"}})},
    "page": lambda said: f"<html>{said}</html>",
    "at the edge": lambda said: {"error": "x" * (ERROR_TEXT_LIMIT - 5) + said},
}


@every_form
@pytest.mark.parametrize(
    "status",
    [
        401,
        500,
        *(pytest.param(status, marks=pytest.mark.chaos) for status in (400, 403, 404, 429, 503)),
    ],
)
async def test_a_refusal_that_repeats_the_secret_is_told_without_it(
    client: Client, database_url: str, fake: FakeOllama, status: int, form: Callable[[str], str]
) -> None:
    kind = list(SECRETS)[status % len(SECRETS)]
    await client.servers.add(name="gpu", url=fake.url, **SECRETS[kind])
    for body in BODIES.values():
        for path in ("/api/version", "/api/tags", "/api/show", "/api/generate"):
            fake.script_always(path, Answer(status, body(form(CANARY))))
        told = await told_of(client, database_url)
        assert found_in(told) == []
        assert form(CANARY)[:5] not in told


@pytest.mark.parametrize("auth", SECRETS.values(), ids=SECRETS)
async def test_every_kind_of_secret_is_taken_out(
    client: Client, database_url: str, fake: FakeOllama, auth: dict[str, Any]
) -> None:
    await client.servers.add(name="gpu", url=fake.url, **auth)
    pair = base64.b64encode(f"u:{CANARY}".encode()).decode()
    said = " ".join(
        [*(form(CANARY) for form in FORMS.values()), *([pair] if "username" in str(auth) else [])]
    )
    fake.script_always("/api/version", Answer(500, {"error": said}))
    told = await told_of(client, database_url)
    assert found_in(told) == []
    assert pair not in told
    assert MASK in told


@every_form
@pytest.mark.parametrize("begun", [False, True])
async def test_an_error_in_mid_stream_that_repeats_the_secret_is_told_without_it(
    client: Client, fake: FakeOllama, form: Callable[[str], str], begun: bool
) -> None:
    await client.servers.add(name="gpu", url=fake.url, **SECRETS["bearer"])
    piece = b'{"model":"alpha:latest","response":"x","done":false}\n' if begun else b""
    body = piece + json.dumps({"error": f"bad token {form(CANARY)}"}).encode() + b"\n"
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    )
    fake.script_always("/api/generate", Raw((head, body)))
    with pytest.raises(AdminError) as caught:
        await client.generate(prompt="hi", server="gpu", model="alpha")
    assert found_in("".join(traceback.format_exception(caught.value))) == []
    assert MASK in caught.value.message


async def test_a_dynamic_servers_secret_is_taken_out_too(client: Client, fake: FakeOllama) -> None:
    fake.script_always("/api/version", Answer(401, {"error": f"bad token {CANARY}"}))
    with pytest.raises(AdminError) as caught:
        await client.generate(prompt="hi", server_url=fake.url, model="alpha", **SECRETS["bearer"])
    assert found_in(caught.value.message) == []
    assert MASK in caught.value.message


def test_the_command_line_and_the_database_show_nothing_of_it(
    cli: Cli, serve: Serve, key: str, database_url: str
) -> None:
    fake = serve("alpha")
    said = " ".join(form(CANARY) for form in FORMS.values())
    for path in ("/api/version", "/api/tags", "/api/generate"):
        fake.call(lambda path=path: fake.fakes[0].script_always(path, Answer(500, {"error": said})))  # type: ignore[misc]
    options = ["--auth", "bearer", "--secret-stdin"]
    ran = cli("server", "add", "gpu", fake.url, *options, stdin=CANARY.encode())
    told = ran.stdout + ran.stderr
    for words in (
        ("server", "check"),
        ("server", "check", "gpu"),
        ("discover",),
        ("generate", "hi", "-s", "gpu", "-m", "alpha"),
        ("server", "show", "gpu"),
        ("server", "list"),
        ("doctor",),
    ):
        for form in ("table", "json"):
            ran = cli("-v", "-o", form, *words)
            told += ran.stdout + ran.stderr
    assert MASK in told
    assert found_in(told) == []
    assert found_in(str(stored(database_url, "gpu"))) == []


@given(
    st.text(st.characters(codec="latin-1", exclude_categories=["C"]), min_size=1, max_size=30),
    st.text(),
    st.data(),
)
def test_no_part_of_a_longer_text_shows_a_secret(
    secret: str, around: str, data: st.DataObject
) -> None:
    form = data.draw(st.sampled_from(sorted(FORMS)))
    target = target_with(secret)
    said = scrubbed(f"{around}{FORMS[form](secret)}{around}", target)
    if FORMS[form](secret).casefold() not in (MASK + around).casefold() + MASK:
        assert FORMS[form](secret) not in said
    assert len(said) <= ERROR_TEXT_LIMIT


def test_two_secrets_of_which_one_holds_the_other_are_both_taken_out() -> None:
    target = target_with("abc", "abcdef")
    assert scrubbed("abcdef and abc", target) == f"{MASK} and {MASK}"


def target_with(*secrets: str) -> Target:
    """A target to which these are sent as headers."""
    url = server_url(GPU)
    given_headers = {f"X-{number}": Secret(secret) for number, secret in enumerate(secrets)}
    auth = UpstreamAuth(no_vault, resolve, {})
    return asyncio.run(auth.dynamic(url, Auth(headers=given_headers)))


def no_vault(*, create: bool) -> Vault:
    raise AssertionError("nothing is stored here")


# URLs with a password (K4)


@given(st.text(st.characters(codec="ascii", exclude_characters="/?#\\"), min_size=6, max_size=20))
def test_a_url_with_a_password_is_refused_unseen(password: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        server_url(f"http://user:{password}@gpu:11434")
    assert password not in f"{caught.value.message} {caught.value.hint}"


# logs (K4, K5)


async def test_libraries_that_log_everything_log_no_secret(
    client: Client, fake: FakeOllama, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (
        "httpx",
        "httpcore",
        "asyncio",
        "sqlalchemy.engine",
        "psycopg",
        "ollama_admin",
        "",
    ):
        caplog.set_level(logging.DEBUG, logger=name)
    head = f"HTTP/1.1 500 bad token {CANARY}\r\nX-Token: {CANARY}\r\nContent-Length: 0\r\n\r\n"
    for number, auth in enumerate(SECRETS.values()):
        async with FakeOllama() as server:
            server.script(
                "/api/version", Answer(500, {"error": CANARY}), Raw((head.encode("latin-1"),))
            )
            await client.servers.add(name=f"s{number}", url=server.url, **auth)
            await client.servers.check([f"s{number}"])
            await client.discover([f"s{number}"])
    with pytest.raises(AdminError):
        await client.generate(
            prompt="hi", server_url=fake.url, model="missing", **SECRETS["bearer"]
        )
    assert "sqlalchemy" in caplog.text
    assert "hunter2" not in caplog.text.casefold()
    assert found_in(caplog.text) == []
    assert base64.b64encode(f"u:{CANARY}".encode()).decode() not in caplog.text


# crashes (K6)

CRASH = """
import os
from ollama_admin.cli import doctor
from ollama_admin.cli.app import main

def crash():
    token = os.environ["CRASH_TOKEN"]
    raise RuntimeError("a bug")

doctor.app.registered_commands[0].callback = crash
main()
"""


@pytest.mark.parametrize("words", [("doctor",), ("-v", "doctor"), ("-o", "json", "doctor")])
def test_a_crash_shows_where_it_happened_and_no_local_variable(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRASH_TOKEN", "Hunter2")
    monkeypatch.setenv("OLLAMA_ADMIN_SECRET_KEY", "Hunter2")
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", "postgresql://u:Hunter2@127.0.0.1:9/db")
    ran = subprocess.run([sys.executable, "-c", CRASH, *words], capture_output=True, text=True)
    assert ran.returncode == 1
    assert "RuntimeError: a bug" in ran.stderr
    assert "Hunter2" not in ran.stdout + ran.stderr


def test_the_program_prints_no_locals_and_no_default_is_a_secret(
    sqlite_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert app.pretty_exceptions_enable is False
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", "postgresql://u:Hunter2@127.0.0.1:9/db")
    monkeypatch.setenv("OLLAMA_ADMIN_SECRET_KEY", "Hunter2")
    for words in (
        (),
        ("server", "add"),
        ("server", "update"),
        ("generate",),
        ("secrets", "rotate"),
        ("migrate",),
    ):
        ran = sqlite_cli(*words, "--help")
        assert ran.exit_code == 0
        assert "Hunter2" not in ran.stdout
    assert "Hunter2" not in repr(ollama_admin)
