"""Foreign text of any kind reaches a terminal as harmless text, and JSON as it is: hundreds of
examples of each, and thousands by `make chaos`.
"""

import asyncio
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert, update
from typer.testing import CliRunner

from ollama_admin.cli.app import app
from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import ListView
from ollama_admin.cli.output import Output
from ollama_admin.cli.progress import DiscoverProgress
from ollama_admin.cli.tables import ListTable
from ollama_admin.cli.views.discover import print_discovered
from ollama_admin.cli.views.import_env import described
from ollama_admin.cli.views.models import group_list, model_list
from ollama_admin.cli.views.servers import print_checks, print_server, server_list
from ollama_admin.cli.views.texts import print_fields
from ollama_admin.client import Client
from ollama_admin.domain.models import DigestChange, DiscoverResult, Model, ModelGroup, ModelHolder
from ollama_admin.domain.servers import (
    ApiVersion,
    AuthType,
    CheckResult,
    Server,
    ServerRef,
    ServerStatus,
)
from ollama_admin.errors import AdminError, UpstreamError
from ollama_admin.safe_text import TerminalFilter, safe_text
from ollama_admin.store.tables import models, servers
from tests.fake_ollama import Answer, FakeOllama, SimulatedModel
from tests.fake_ollama_thread import FakeOllamaThread

# What must never reach a terminal: C0 but the line feed, DEL, C1, bidi controls and marks,
# separators, surrogates
HARMFUL = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
NASTY = (
    "\x1b]0;title\x07",
    "\x1b[2J\x1b[31mred",
    "\x1b]52;c;aGk=\x07",
    "\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\",
    "\x9b31m\x9d0;x\x9c",
    "a\u202egpj.exe\u2066",
    "line\nerror: forged",
    "cr\rover\x08write\x7f",
    "\u2028\u2029\u0085\ufeff",
    "\x00",
    "[bold]x[/bold]",
    "[/foo]",
    "[link=http://evil]x[/link]",
    "\\[x] \\\\[/x]",
    ":smile: :warning:",
    "[/]",
    "[[]]",
    "日本語 \U0001f600\u200d\U0001f468 e\u0301\u0300 \u05d0\u05d1",
    "\ud800",
    "%s {0} {x!r} $(id) `id`",
    "",
    "x" * 3000,
)
TEXT = st.one_of(st.sampled_from(NASTY), st.text(st.characters(), max_size=40))


def storable(text: str) -> str:
    """What of a text every database takes."""
    return re.sub("[\x00\ud800-\udfff]", "", text)


STORABLE = TEXT.map(storable)
WORST = storable("".join(NASTY))
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

quick = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def examples(few: int, many: int) -> pytest.MarkDecorator:
    """The number of examples, and that of `make chaos`."""
    return pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.chaos)])


class Terminal(io.StringIO):
    """A stream that says it is a terminal, so that colours and boxes are tried."""

    def isatty(self) -> bool:
        return True


def whole(output: Output, view: ListView[Any], items: list[Any]) -> None:
    """Print a list that comes in one part."""
    printer = ListTable(output, view)
    printer.add(items)
    printer.end()


def printed(show: Callable[[Output], None], *, terminal: bool = False) -> str:
    """What a function prints on both streams, ours and a library's."""
    streams = (Terminal(), Terminal()) if terminal else (io.StringIO(), io.StringIO())
    show(Output(json=False, stdout=streams[0], stderr=streams[1]))
    return "".join(stream.getvalue() for stream in streams)


def assert_harmless(text: str, *, lines: int | None = None) -> None:
    found = HARMFUL.search(text)
    assert found is None, (found and found.start(), text)
    if lines is not None:
        assert text.count("\n") == lines, text


def without_styles(text: str) -> str:
    """What a terminal shows once our own bold headings and red cells are taken away."""
    return re.sub("\x1b\\[(?:0|1|31)m", "", text)


def server_row(text: str, **more: Any) -> Server:
    values: dict[str, Any] = {
        "id": 1,
        "name": text,
        "url": text,
        "api_version": ApiVersion.NATIVE,
        "capabilities": (text, "b"),
        "max_concurrent": 1,
        "priority": 0,
        "is_default": True,
        "is_active": False,
        "default_model": text,
        "auth_type": AuthType.BASIC,
        "auth_config": {"username": text, "password": "x"},
        "headers": {text: "x"},
        "status": ServerStatus.ERROR,
        "version": text,
        "last_error": text,
        "last_seen_at": NOW,
        "last_discovered_at": NOW,
        "labels": {"k": text},
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Server(**values | more)


def model_row(text: str) -> Model:
    return Model(
        name=text,
        digest=None,
        size=1,
        format=text,
        family=text,
        families=(text,),
        parameter_size=text,
        quantization_level=text,
        modified_at=NOW,
        remote_host=None,
        remote_model=None,
        id=1,
        server_id=1,
        server=text,
        context_length=1,
        embedding_length=1,
        capabilities=(text,),
        is_available=False,
        first_seen_at=NOW,
        last_seen_at=NOW,
        digest_changed_at=None,
    )


def check_of(text: str) -> CheckResult:
    error = UpstreamError(text, text)
    return CheckResult(server=ref(text), status=ServerStatus.ERROR, version=text, ms=1, error=error)


def discovered_of(text: str) -> list[DiscoverResult]:
    changed = (DigestChange(name=text, before=text, after=None),)
    good = DiscoverResult(server=ref(text), added=(text,), changed=changed, vanished=(text,))
    return [good, DiscoverResult(server=ref(text), error=UpstreamError(text, text))]


def group_of(text: str) -> ModelGroup:
    holders = tuple(
        ModelHolder(server=text, digest=digest, is_available=True) for digest in (text or "x", None)
    )
    return ModelGroup(name=text, builds=2, servers=holders)


def ref(text: str) -> ServerRef:
    return ServerRef(id=1, name=text or None, url=text)


@examples(300, 2000)
def test_tables_show_any_text_without_control_characters(examples: int) -> None:
    @example("[/foo]")
    @example("\x1b]0;x\x07")
    @given(TEXT)
    @settings(quick, max_examples=examples)
    def are_harmless(text: str) -> None:
        for show, lines in tables_of(text):
            assert_harmless(printed(show), lines=lines)

    are_harmless()


def tables_of(text: str) -> list[tuple[Callable[[Output], None], int | None]]:
    """What shows the text everywhere, and the number of its lines."""
    return [
        (lambda out: whole(out, server_list({}), [server_row(text)]), 2),
        (lambda out: print_server(out, server_row(text)), 24),
        (lambda out: whole(out, model_list(), [model_row(text)]), 2),
        (lambda out: whole(out, group_list(), [group_of(text)]), 2),
        (lambda out: print_checks(out, [check_of(text)]), 3),
        (lambda out: print_discovered(out, discovered_of(text)), 5),
        (lambda out: print_fields(out, ref(text)), 3),
        (lambda out: print_table(out, ["NAME"], [(text,)]), 2),
        (lambda out: out.sentence(text), 1),
    ]


@pytest.mark.parametrize("columns", [20, 80, 200])
@given(text=TEXT)
@settings(quick, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tables_on_a_terminal_of_any_width_hold_no_control_characters_but_our_own(
    columns: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    for show in (
        lambda out: whole(out, server_list({}), [server_row(text)]),
        lambda out: whole(out, model_list(), [model_row(text)]),
        lambda out: print_discovered(out, discovered_of(text)),
    ):
        assert_harmless(without_styles(printed(show, terminal=True)))


@given(TEXT)
@quick
def test_a_progress_bar_shows_no_foreign_text_as_markup_or_control(text: str) -> None:
    def show(out: Output) -> None:
        with DiscoverProgress(out) as progress:
            progress.start(2)
            for result in discovered_of(text):
                progress.result(result)

    assert_harmless(printed(show))
    drawn = printed(show, terminal=True)
    own = re.compile("\x1b\\[[0-9;?]*[A-Za-z]|\r")  # what moves the cursor and colours the bar
    assert_harmless(own.sub("", drawn))


@given(TEXT)
@settings(quick, max_examples=300)
def test_errors_hints_and_notes_show_any_text_in_one_line_each(text: str) -> None:
    def show(out: Output) -> None:
        out.verbose = True
        out.error(UpstreamError(text, text or None))
        out.problem("invalid_input", text)
        out.note(text)
        out.detail(text)

    assert_harmless(printed(show), lines=5 if text else 4)


@examples(150, 1000)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_is_harmless_and_comes_back_as_it_went_in(encoding: str, examples: int) -> None:
    @given(TEXT)
    @settings(quick, max_examples=examples)
    def comes_back(text: str) -> None:
        for value in (
            server_row(text),
            model_row(text),
            check_of(text),
            discovered_of(text),
            group_of(text),
        ):
            assert_json_holds(text, value, encoding)
        assert_json_error_holds(text)

    comes_back()


def assert_json_holds(text: str, value: Any, encoding: str) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    output = Output(json=True, stdout=stdout, stderr=io.StringIO())
    output.data(value)
    output.record(value)
    stdout.seek(0)
    printed_text = stdout.read()
    whole, _, line = printed_text.rstrip("\n").rpartition("\n")
    assert_harmless(printed_text)
    assert encoding == "utf-8" or printed_text.isascii()
    assert json.loads(whole) == json.loads(line)
    assert text in strings_in(json.loads(whole))


def assert_json_error_holds(text: str) -> None:
    stderr = io.StringIO()
    Output(json=True, stdout=io.StringIO(), stderr=stderr).error(AdminError(text, text))
    assert json.loads(stderr.getvalue()) == {
        "error": {"code": "error", "message": text, "hint": text}
    }
    assert stderr.getvalue().isascii()
    assert stderr.getvalue().count("\n") == 1


def strings_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from strings_in(item)


@given(st.lists(TEXT, max_size=6))
@settings(quick, max_examples=300)
def test_an_answer_on_a_terminal_is_filtered_however_it_is_cut(pieces: list[str]) -> None:
    whole = "".join(pieces)
    filters = TerminalFilter()
    shown = "".join(filters.feed(piece) for piece in pieces)
    assert shown == TerminalFilter().feed(whole)
    assert HARMFUL.sub("", shown.replace("\t", "")) == shown.replace("\t", "")


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=60))
@settings(quick, max_examples=200)
def test_text_without_control_characters_is_left_as_it_is(text: str) -> None:
    kept = re.sub("[\u061c\u200e\u200f]", "", text)
    assert safe_text(kept) == kept
    assert TerminalFilter().feed(kept) == kept


# Through the whole program


@pytest.fixture(scope="module")
def hostile_server() -> Iterator[FakeOllamaThread]:
    """A server whose words a test chooses."""
    with FakeOllamaThread(FakeOllama(SimulatedModel("alpha"))) as thread:
        yield thread


COMMANDS = (
    ["server", "list"],
    ["server", "show", "1"],
    ["server", "check", "--all"],
    ["server", "update", "1", "--priority", "3"],
    ["server", "disable", "1"],
    ["models", "--all"],
    ["models", "--all", "--by-model"],
    ["discover", "--all"],
    ["doctor"],
    ["secrets", "status"],
    ["secrets", "rotate"],
    ["migrate", "--status"],
    ["generate", "-m", "none", "hi"],
    ["generate", "-s", "1", "hi"],
    ["server", "enable", "1"],
    ["server", "set-default", "1"],
    ["server", "remove", "1", "--yes"],
)


@examples(2, 20)
def test_whatever_the_database_holds_every_command_shows_it_harmless(
    examples: int, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", database_url)

    @example(WORST)
    @given(STORABLE)
    @settings(quick, max_examples=examples)
    def is_shown_harmless(text: str) -> None:
        fill(database_url, text)
        assert_commands_are_harmless()

    is_shown_harmless()


def assert_commands_are_harmless() -> None:
    for words in COMMANDS:
        ran = CliRunner().invoke(app, words)
        assert ran.exit_code != 1, (words, ran.exc_info)
        assert_harmless(ran.stdout + ran.stderr)
        ran = CliRunner().invoke(app, ["-o", "json", *words])
        assert ran.exit_code != 1, (words, ran.exc_info)
        assert_harmless(ran.stdout)
        if ran.stdout:
            json.loads(ran.stdout)
        else:
            assert json.loads(ran.stderr.splitlines()[-1])["error"]["message"]


def fill(database_url: str, text: str) -> None:
    """One server and one model whose every column holds the text, as another program could write
    them: of a name the database asks that it is not empty.
    """
    name = text or "x"
    url = database_url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(models.delete())
        connection.execute(servers.delete())
        columns = server_row(
            text, url="http://127.0.0.1:9", auth_config={}, headers={}, auth_type=AuthType.NONE
        )
        values = {
            field: getattr(columns, field) for field in Server.__slots__ if field != "slots_in_use"
        }
        values |= {"name": name, "name_key": name, "is_active": True}
        values["capabilities"] = [text, "b"]
        connection.execute(insert(servers).values(**values))
        row = model_row(text)
        values = {
            column.name: getattr(row, column.name)
            for column in models.columns
            if column.name != "name_key"
        }
        values |= {
            "families": [text],
            "capabilities": [text],
            "name": name,
            "name_key": name,
            "is_available": True,
        }
        connection.execute(insert(models).values(**values))
        connection.execute(update(servers).values(name=name))
    engine.dispose()


@examples(10, 50)
def test_whatever_a_server_says_every_command_shows_it_harmless(
    examples: int,
    hostile_server: FakeOllamaThread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", f"sqlite:///{tmp_path / 'hostile.db'}")

    @example(WORST)
    @example(f"{WORST}.")  # of the other length: it is in the list of models, not in an error
    @given(TEXT)
    @settings(quick, max_examples=examples)
    def is_shown_harmless(text: str) -> None:
        hostile_server.call(lambda: speak(hostile_server.fakes[0], text))
        assert_answers_are_harmless(hostile_server)

    is_shown_harmless()


def assert_answers_are_harmless(hostile_server: FakeOllamaThread) -> None:
    server = ["--server-url", hostile_server.url]
    CliRunner().invoke(app, ["server", "add", "gpu", hostile_server.url, "--no-check"])
    for words in (
        ["server", "check"],
        ["discover"],
        ["models"],
        ["generate", "-m", "alpha", "hi", *server],
    ):
        ran = CliRunner().invoke(app, words)
        assert ran.exit_code != 1, (words, ran.exc_info)
        assert_harmless(ran.stderr if words[0] == "generate" else ran.stdout + ran.stderr)


def speak(fake: FakeOllama, text: str) -> None:
    """The server's version, models and errors are all this text."""
    written = json.dumps(text).encode()  # a lone surrogate can be sent like this
    model = b'{"models": [{"name": %s, "details": {"family": %s}}, {"name": "alpha"}]}' % (
        written,
        written,
    )
    fake.clear_script()
    fake.script_always(
        "/api/version",
        Answer(200, b'{"version": %s}' % written if text.strip() else {"version": "1"}),
    )
    fake.script_always(
        "/api/tags",
        Answer(200 if len(text) % 2 else 500, model if len(text) % 2 else {"error": text}),
    )
    fake.script_always("/api/show", Answer(200, b'{"capabilities": [%s]}' % written))
    fake.script_always("/api/generate", Answer(400, b'{"error": %s}' % written))


@given(text=STORABLE.filter(bool))
@settings(quick, max_examples=60, suppress_health_check=list(HealthCheck))
def test_whatever_an_env_file_says_its_plan_is_harmless(text: str, tmp_path: Path) -> None:
    file = tmp_path / "any.env"
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    file.write_bytes(
        f"OLLAMA_URL=http://a\nOLLAMA_MODEL='{quoted}'\nOLLAMA_{text}='{quoted}'\n".encode()
    )

    async def plan() -> Any:
        async with Client(
            database_url=f"sqlite:///{tmp_path}/x.db", environ={}, on_note=lambda _: None
        ) as client:
            return await client.import_env([file], dry_run=True)

    try:
        found = asyncio.run(plan())
    except AdminError as error:
        caught = error
        assert_harmless(printed(lambda out: out.error(caught)))
        return
    for entry in found.entries:
        assert_harmless(
            printed(lambda out, entry=entry: out.sentence(described(entry))),
            lines=1,
        )


@pytest.mark.parametrize(
    "environ",
    [
        {"NO_COLOR": "1"},
        {"TERM": "dumb"},
        {"FORCE_COLOR": "1"},
        {"TTY_COMPATIBLE": "1"},
        {"COLUMNS": "20"},
        {},
    ],
)
def test_a_pipe_gets_whole_cells_and_no_escapes(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    name = "gpu" * 30

    def show(out: Output) -> None:
        whole(out, server_list({}), [server_row(name)])
        with DiscoverProgress(out) as progress:
            progress.start(2)
            progress.result(discovered_of(name)[0])

    text = printed(show)
    assert "\x1b" not in text
    assert name in text
    assert text.count("\n") == 2


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Our clock, and the sessions of PostgreSQL, are nine hours ahead."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.delenv("TZ")
    time.tzset()


@pytest.mark.usefixtures("far_from_utc")
def test_times_are_utc_in_iso_form_wherever_the_clock_is(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", database_url)
    fill(database_url, "gpu")
    assert (
        "last seen        2026-01-02T03:04:05Z"
        in CliRunner().invoke(app, ["server", "show", "1"]).stdout
    )
    row = json.loads(CliRunner().invoke(app, ["-o", "json", "server", "show", "1"]).stdout)
    assert row["created_at"] == row["last_seen_at"] == "2026-01-02T03:04:05Z"
    (model,) = json.loads(CliRunner().invoke(app, ["-o", "json", "models"]).stdout)
    assert model["modified_at"] == "2026-01-02T03:04:05Z"
