"""The plan against rows, and the service that applies it."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.client import Client
from ollama_admin.domain import urls
from ollama_admin.domain.secret import Reference, Secret
from ollama_admin.domain.servers import ApiVersion, AuthType, Server, ServerStatus
from ollama_admin.errors import InvalidInput, SecretUnavailable
from ollama_admin.legacy import envfile
from ollama_admin.legacy import plan as planning
from ollama_admin.legacy.comparison import Held
from ollama_admin.legacy.plan import Plan
from ollama_admin.legacy.reader import Legacy, read
from ollama_admin.legacy.servers import State

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def row(number: int = 1, name: str = "ollama", url: str = "http://a", **columns: object) -> Server:
    server = Server(
        id=number,
        name=name,
        url=url,
        api_version=ApiVersion.NATIVE,
        capabilities=(),
        max_concurrent=1,
        priority=0,
        is_default=number == 1,
        is_active=True,
        default_model=None,
        auth_type=AuthType.NONE,
        auth_config={},
        headers={},
        status=ServerStatus.UNKNOWN,
        version=None,
        last_error=None,
        last_seen_at=None,
        last_discovered_at=None,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(server, **columns)


def legacy(*texts: str) -> Legacy:
    files = [(f"{number or ''}.env", text) for number, text in enumerate(texts)]
    return read(
        [envfile.EnvFile(file=name, bindings=envfile.parse(text, name)) for name, text in files]
    )


def plan(servers: list[Server], found: Legacy, *, update: bool = False) -> Plan:
    """A plan against rows whose credentials lie open."""
    return planning.plan(servers, found, stored, update=update)


def stored(server: Server) -> dict[str, Held]:
    held: dict[str, Held] = {
        f"headers.{name.casefold()}": value for name, value in server.headers.items()
    }
    if server.auth_type is not AuthType.NONE:
        held["auth_type"] = server.auth_type.value
    return held | {f"auth_config.{name}": value for name, value in server.auth_config.items()}


def told(planned: Plan) -> list[tuple[str, str | None, object, str]]:
    return [
        (entry.variable, entry.field, entry.value, entry.state.value) for entry in planned.entries
    ]


def states(planned: Plan) -> dict[str, State]:
    return {entry.field or "": entry.state for entry in planned.entries}


def whys(planned: Plan, state: State) -> list[str | None]:
    return [entry.why for entry in planned.entries if entry.state is state]


def deletable(planned: Plan) -> list[str]:
    return [variable for _, _, variable in planned.deletable]


def applied(servers: list[Server], planned: Plan) -> list[Server]:
    """The rows after the changes, as the store would leave them."""
    rows = {server.id: server for server in servers}
    for change in planned.changes:
        columns = dict(change.columns)
        if change.make_default:
            rows = {
                server_id: replace(server, is_default=False) for server_id, server in rows.items()
            }
            columns["is_default"] = True
        if "api_version" in columns:
            columns["api_version"] = ApiVersion(columns["api_version"])
        before = change.row or row()
        moved = urls.origin(columns.get("url", before.url)) != urls.origin(before.url)
        if moved:
            columns |= {"auth_type": AuthType.NONE, "auth_config": {}, "headers": {}}
        if change.auth and change.auth.auth_type:
            columns |= {
                "auth_type": AuthType(change.auth.auth_type),
                "auth_config": change.auth.auth_config,
            }
        if change.auth and change.auth.headers:
            columns["headers"] = {**({} if moved else before.headers), **change.auth.headers}
        if change.row is None:
            new = max(rows, default=0) + 1
            rows[new] = row(new, **{"is_default": False, **columns})
        else:
            rows[change.row.id] = replace(rows[change.row.id], **columns)
    assert len({server.url for server in rows.values()}) == len(rows)
    assert len({server.name.casefold() for server in rows.values()}) == len(rows)
    return list(rows.values())


def test_a_new_server_is_planned_line_by_line() -> None:
    planned = plan(
        [], legacy("OLLAMA_BASE_URL=http://a/v1\nOLLAMA_MODEL=m\nOLLAMA_CAPABILITIES=x,y\n")
    )
    assert told(planned) == [
        ("OLLAMA_BASE_URL", "name", "ollama", "new"),
        ("OLLAMA_BASE_URL", "url", "http://a", "new"),
        ("OLLAMA_BASE_URL", "api_version", "v1", "new"),
        ("OLLAMA_BASE_URL", "is_default", True, "new"),
        ("OLLAMA_MODEL", "default_model", "m", "new"),
        ("OLLAMA_CAPABILITIES", "capabilities", ("x", "y"), "new"),
    ]
    (change,) = planned.changes
    assert (change.row, change.name, change.make_default) == (None, "ollama", True)
    assert dict(change.columns) == {
        "name": "ollama",
        "url": "http://a",
        "api_version": "v1",
        "default_model": "m",
        "capabilities": ("x", "y"),
    }
    assert deletable(planned) == ["OLLAMA_BASE_URL", "OLLAMA_MODEL", "OLLAMA_CAPABILITIES"]


def test_an_entry_is_a_json_object_with_the_eight_keys() -> None:
    entry = plan([], legacy("OLLAMA_URL=a\n\nOLLAMA_CAPABILITIES=x,y")).entries[-1]
    assert entry.document() == {
        "file": ".env",
        "line": 3,
        "variable": "OLLAMA_CAPABILITIES",
        "server": "ollama",
        "field": "capabilities",
        "value": ["x", "y"],
        "state": "new",
        "why": None,
    }


def test_a_row_is_found_by_its_url_whatever_its_name() -> None:
    planned = plan(
        [row(name="gpu"), row(2, "ollama", "http://b")], legacy("OLLAMA_HOST=http://a/api")
    )
    assert told(planned) == [("OLLAMA_HOST", "url", "http://a", "unchanged")]
    assert planned.entries[0].server == "gpu"
    assert planned.changes == ()


def test_a_row_found_by_its_name_has_a_conflict_of_urls_and_is_left_alone() -> None:
    planned = plan(
        [row(default_model="m")],
        legacy("OLLAMA_HOST=http://b\nOLLAMA_MODEL=n\nOLLAMA_CAPABILITIES=x"),
    )
    assert states(planned) == {
        "url": State.CONFLICT,
        "default_model": State.IGNORED,
        "capabilities": State.IGNORED,
    }
    assert whys(planned, State.CONFLICT) == ["the server 'ollama' has the URL http://a"]
    assert (planned.changes, planned.count(State.CONFLICT), deletable(planned)) == ((), 1, [])


def test_update_moves_a_row_that_was_found_by_its_name() -> None:
    planned = plan([row()], legacy("OLLAMA_HOST=http://b\nOLLAMA_MODEL=n"), update=True)
    assert [dict(change.columns) for change in planned.changes] == [
        {"url": "http://b", "default_model": "n"}
    ]
    assert whys(planned, State.NEW) == ["replaces http://a", None]


@pytest.mark.parametrize(
    ("line", "columns", "why"),
    [
        ("OLLAMA_MODEL=n", {"default_model": "m"}, "the server has m"),
        ("OLLAMA_NAME=other", {}, "the server has ollama"),
        ("OLLAMA_PRIORITY=5", {"priority": 1}, "the server has 1"),
        ("OLLAMA_MAX_CONCURRENT=5", {}, "the server has 1"),
        ("OLLAMA_CAPABILITIES=x", {"capabilities": ("x", "y")}, "the server has x, y"),
    ],
)
def test_a_value_that_differs_is_a_conflict_until_update(
    line: str, columns: dict[str, object], why: str
) -> None:
    servers, found = [row(**columns)], legacy(f"OLLAMA_URL=http://a\n{line}")
    planned, updated = plan(servers, found), plan(servers, found, update=True)
    assert whys(planned, State.CONFLICT) == [why]
    assert (planned.changes, planned.count(State.CONFLICT)) == ((), 1)
    assert deletable(planned) == ["OLLAMA_URL"]
    assert (len(updated.changes), updated.count(State.CONFLICT)) == (1, 0)
    assert len(deletable(updated)) == 2


@pytest.mark.parametrize(
    ("line", "columns"),
    [
        ("OLLAMA_MODEL=qwen3", {"default_model": "Qwen3:latest"}),
        ("OLLAMA_NAME=OLLAMA", {}),
        ("OLLAMA_CAPABILITIES=y;x", {"capabilities": ("x", "y")}),
        ("OLLAMA_MAX_CONCURRENT=1", {}),
    ],
)
def test_a_value_that_means_the_same_is_unchanged(line: str, columns: dict[str, object]) -> None:
    planned = plan([row(**columns)], legacy(f"OLLAMA_URL=http://a\n{line}"))
    assert {entry.state for entry in planned.entries} == {State.UNCHANGED}


def test_model_names_are_compared_byte_for_byte_where_the_server_speaks_v1() -> None:
    server = row(api_version=ApiVersion.V1, default_model="m")
    assert plan([server], legacy("OLLAMA_URL=http://a\nOLLAMA_MODEL=M")).count(State.CONFLICT) == 1


def test_a_null_column_is_filled_without_a_conflict() -> None:
    planned = plan([row()], legacy("OLLAMA_URL=http://a\nOLLAMA_MODEL=m\nOLLAMA_CAPABILITIES=x"))
    assert [dict(change.columns) for change in planned.changes] == [
        {"default_model": "m", "capabilities": ("x",)}
    ]
    assert planned.count(State.CONFLICT) == 0


def test_a_v1_tail_against_a_native_row_is_reported_and_no_conflict() -> None:
    planned = plan([row()], legacy("OLLAMA_URL=http://a/v1"))
    assert told(planned) == [("OLLAMA_URL", "url", "http://a", "unchanged")]
    assert "native" in (planned.entries[0].why or "")
    assert (
        plan([row(api_version=ApiVersion.V1)], legacy("OLLAMA_URL=http://a")).count(State.CONFLICT)
        == 0
    )


def test_a_derived_name_makes_way_for_names_there_are() -> None:
    servers = [row(1, "ollama-2", "http://a"), row(2, "ollama-2-2", "http://c")]
    planned = plan(servers, legacy("OLLAMA_URL_1=http://a\nOLLAMA_URL_2=http://b"))
    assert [change.name for change in planned.changes] == ["ollama-2-3"]


def test_a_given_name_of_another_server_is_a_conflict_that_update_does_not_settle() -> None:
    servers = [row(1, "x", "http://a"), row(2, "y", "http://b")]
    for text in ("OLLAMA_HOSTS=y=http://a,http://b", "OLLAMA_HOSTS=http://a,x=http://c,http://b"):
        planned = plan(servers, legacy(text), update=True)
        assert [entry.field for entry in planned.entries if entry.state is State.CONFLICT] == [
            "name"
        ]
        assert planned.changes == ()


def test_the_first_active_server_becomes_the_default_if_none_is_set() -> None:
    text = (
        "OLLAMA_URL_1=http://a\nOLLAMA_ENABLED_1=no\nOLLAMA_URL_2=http://b\nOLLAMA_URL_3=http://c"
    )
    fresh = plan([], legacy(text))
    assert [change.make_default for change in fresh.changes] == [False, True, False]
    with_default = plan([row(1, "x", "http://x")], legacy(text))
    assert not any(change.make_default for change in with_default.changes)
    without = plan([row(7, "x", "http://b", is_default=False)], legacy(text))
    assert [change.row and change.row.id for change in without.changes if change.make_default] == [
        7
    ]


def test_a_variable_that_repeats_another_may_go_with_it() -> None:
    planned = plan(
        [], legacy("OLLAMA_HOST=http://a\nOLLAMA_BASE_URL=http://a/v1\nOLLAMA_HOST=http://a")
    )
    assert [entry.line for entry in planned.entries if entry.state is State.UNCHANGED] == [3]
    assert [line for _, line, _ in planned.deletable] == [1, 2, 3]


def test_an_overruled_line_stays_with_the_one_that_overrules_it() -> None:
    planned = plan(
        [row(default_model="m")], legacy("OLLAMA_URL=http://a\nOLLAMA_MODEL=x\nOLLAMA_MODEL=y")
    )
    assert deletable(planned) == ["OLLAMA_URL"]


def test_a_line_that_another_one_mentions_stays() -> None:
    text = "OLLAMA_HOST=http://a\nOLLAMA_URL=${OLLAMA_HOST}\nOLLAMA_URL_2=http://b\nOTHER=${OLLAMA_URL_2}/x\n"
    assert deletable(plan([], legacy(text))) == ["OLLAMA_HOST", "OLLAMA_URL"]


def test_only_unchanged_lines_may_go_before_the_changes_are_made() -> None:
    planned = plan([row()], legacy("OLLAMA_URL=http://a\nOLLAMA_MODEL=m"))
    assert [variable for _, _, variable in planned.deletable_now] == ["OLLAMA_URL"]


def test_what_is_no_line_of_a_file_is_never_deletable() -> None:
    found = read([envfile.from_environ({"OLLAMA_URL": "http://a"})])
    assert plan([], found).deletable == ()
    assert deletable(plan([], legacy("OLLAMA_URL=http://a\nDEFAULT_MODEL=m"))) == ["OLLAMA_URL"]


def test_a_secret_is_planned_and_its_value_nowhere() -> None:
    text = "OLLAMA_URL=http://u:hunter2@a\nOLLAMA_API_KEY=hunter2\nOLLAMA_PASSWORD_2=hunter2\nOLLAMA_ODD=hunter2"
    planned = plan([], legacy(text))
    assert "hunter2" not in repr(planned)
    assert "hunter2" not in repr([entry.document() for entry in planned.entries])
    assert told(planned)[2:] == [
        ("OLLAMA_URL", "auth_type", "basic", "new"),
        ("OLLAMA_URL", "auth_config.username", "u", "new"),
        ("OLLAMA_URL", "auth_config.password", None, "new"),
        ("OLLAMA_URL", "is_default", True, "new"),
        ("OLLAMA_API_KEY", "auth_config", None, "ignored"),
        ("OLLAMA_PASSWORD_2", None, None, "ignored"),
        ("OLLAMA_ODD", None, None, "ignored"),
    ]
    assert "taken out of the URL" in whys(planned, State.NEW)
    assert deletable(planned) == ["OLLAMA_URL"]


BEARER = {"auth_type": AuthType.BEARER, "auth_config": {"token": Secret("k-1")}}
BASIC = {"auth_type": AuthType.BASIC, "auth_config": {"username": "u", "password": Secret("p")}}
USER = "OLLAMA_USERNAME=u\nOLLAMA_PASSWORD=p"


@pytest.mark.parametrize(
    ("lines", "columns"),
    [
        ("OLLAMA_API_KEY=k-1", BEARER),
        ("OLLAMA_API_KEY='Bearer k-1'\nOLLAMA_AUTH_TYPE=bearer", BEARER),
        (USER, BASIC),
        (
            "OLLAMA_API_KEY=k-1\nOLLAMA_AUTH_HEADER=x-key",
            {
                "auth_type": AuthType.API_KEY,
                "auth_config": {"header_name": "X-Key", "key": Secret("k-1")},
            },
        ),
        ('OLLAMA_HEADERS=\'{"X-A": "b"}\'', {"headers": {"x-a": Secret("b"), "X-B": Secret("c")}}),
    ],
)
def test_credentials_that_the_row_has_are_unchanged(lines: str, columns: dict[str, object]) -> None:
    planned = plan([row(**columns)], legacy(f"OLLAMA_URL=http://a\n{lines}"))
    assert {entry.state for entry in planned.entries} == {State.UNCHANGED}
    assert planned.changes == ()
    assert len(deletable(planned)) == 2 + lines.count("\n")


@pytest.mark.parametrize(
    ("lines", "columns", "fields", "why"),
    [
        ("OLLAMA_API_KEY=k-2", BEARER, ["auth_config.token"], "another secret"),
        ("OLLAMA_API_KEY=k-1", BASIC, ["auth_type"], "basic"),
        (
            USER,
            BASIC | {"auth_config": {"username": "v", "password": Secret("p")}},
            ["auth_config.username"],
            "v",
        ),
        (
            'OLLAMA_HEADERS=\'{"X-A": "b"}\'',
            {"headers": {"X-A": Secret("c")}},
            ["headers.X-A"],
            "another secret",
        ),
        (
            "OLLAMA_API_KEY=k-1",
            BEARER | {"auth_config": {"token": Reference(kind="env", name="TOKEN")}},
            ["auth_config.token"],
            "the reference env:TOKEN",
        ),
        (
            "OLLAMA_API_KEY=k-1",
            BEARER | {"auth_config": {"token": SecretUnavailable("no key")}},
            ["auth_config.token"],
            "a secret that cannot be read: no key",
        ),
    ],
)
def test_other_credentials_are_a_conflict_until_update(
    lines: str, columns: dict[str, object], fields: list[str], why: str
) -> None:
    servers, found = [row(**columns)], legacy(f"OLLAMA_URL=http://a\n{lines}")
    planned, updated = plan(servers, found), plan(servers, found, update=True)
    assert [entry.field for entry in planned.entries if entry.state is State.CONFLICT] == fields
    assert (whys(planned, State.CONFLICT)[0] or "").startswith(f"the server has {why}")
    assert planned.changes == ()
    assert (whys(updated, State.NEW)[0] or "").startswith(f"replaces {why}")
    assert (updated.count(State.CONFLICT), len(updated.changes)) == (0, 1)
    assert plan(applied(servers, updated), found).count(State.NEW) == 0


def test_credentials_of_another_kind_wait_for_the_auth_type() -> None:
    planned = plan([row(**BEARER)], legacy(f"OLLAMA_URL=http://a\n{USER}"))
    assert told(planned)[1:] == [
        ("OLLAMA_USERNAME", "auth_config.username", "u", "ignored"),
        ("OLLAMA_PASSWORD", "auth_type", "basic", "conflict"),
        ("OLLAMA_PASSWORD", "auth_config.password", None, "ignored"),
    ]
    assert deletable(planned) == ["OLLAMA_URL"]


def test_a_header_that_the_row_has_not_is_new_beside_those_it_has() -> None:
    found = legacy('OLLAMA_URL=http://a\nOLLAMA_HEADERS=\'{"X-A": "b", "X-B": "c"}\'')
    (change,) = plan([row(headers={"X-A": Secret("b")})], found).changes
    assert change.auth is not None
    assert (change.auth.auth_type, change.auth.headers) == (None, {"X-B": Secret("c")})


def test_a_row_that_moves_to_another_origin_gets_its_credentials_from_the_file_alone() -> None:
    lines = "OLLAMA_URL=http://b\nOLLAMA_API_KEY=k-1"
    kept, updated = (
        plan([row(**BEARER)], legacy(lines), update=update) for update in (False, True)
    )
    assert states(kept) == {"url": State.CONFLICT, "auth_config.token": State.IGNORED}
    assert states(updated)["auth_config.token"] is State.NEW
    assert "the credentials stored for http://a:80 are dropped" in (
        whys(updated, State.NEW)[0] or ""
    )
    same_origin = plan([row(**BEARER)], legacy(lines.replace("//b", "//a/prefix")), update=True)
    assert states(same_origin)["auth_config.token"] is State.UNCHANGED


def test_every_variable_is_counted_once() -> None:
    text = "OLLAMA_URL=http://a\nOLLAMA_MODEL=x\nOLLAMA_MODEL=n\nOLLAMA_API_KEY=k-1\nOLLAMA_ODD=1\nA=1\nB=2\nOLLAMA_TIMEOUT=1"
    counts = plan([row(default_model="m")], legacy(text)).counts
    assert (counts.seen, counts.imported, counts.conflicts) == (8, 2, 1)
    assert (counts.skipped, counts.unknown, counts.unrelated) == (2, 1, 2)


def test_entries_stand_in_the_order_of_files_and_lines() -> None:
    planned = plan([], legacy("OLLAMA_ODD=1\nOLLAMA_URL=b\nOLLAMA_TIMEOUT=1", "OLLAMA_URL=a\n"))
    assert [
        (entry.file, entry.line) for entry in planned.entries if entry.field in (None, "url")
    ] == [
        (".env", 1),
        (".env", 2),
        (".env", 3),
        ("1.env", 1),
    ]


KEYS = (
    "OLLAMA_URL OLLAMA_HOST OLLAMA_URL_1 OLLAMA_URL_2 OLLAMA_HOST_HEAVY OLLAMA_HOSTS OLLAMA_NAMES "
    "X_OLLAMA_URL "
    "OLLAMA_NAME OLLAMA_SERVER_2_NAME OLLAMA_MODEL OLLAMA_MODEL_1 OLLAMA_PRIORITY OLLAMA_ENABLED_1 "
    "OLLAMA_PORT "
    "OLLAMA_CAPABILITIES OLLAMA_API_KEY OLLAMA_PASSWORD OLLAMA_USERNAME OLLAMA_AUTH_HEADER "
    "OLLAMA_HEADERS "
    "OLLAMA_TIMEOUT OLLAMA_ODD OTHER"
)
VALUES = [
    "a",
    "b",
    "http://a:11434/v1",
    "http://c",
    "a,b",
    "c;b",
    "ollama=a,x=c",
    "1",
    "0",
    "ollama-2",
    "u:p@a",
    "u:q@a",
    '{"X-A": "1"}',
]
env_lines = st.lists(st.tuples(st.sampled_from(KEYS.split()), st.sampled_from(VALUES)), max_size=10)
env_files = st.lists(env_lines, min_size=1, max_size=2)
row_urls = ["http://a:11434", "http://b:11434", "http://c", "http://x"]
names = ["ollama", "ollama-1", "ollama-2", "x", "a", "X-ollama"]
rows = st.tuples(
    st.permutations(row_urls), st.permutations(names), st.integers(0, 4), st.booleans()
).map(
    lambda drawn: [
        row(number + 1, name, url, is_default=drawn[3] and number == 0)
        for number, (url, name) in enumerate(
            list(zip(drawn[0], drawn[1], strict=False))[: drawn[2]]
        )
    ]
)


@given(env_files, rows, st.booleans())
def test_a_plan_that_was_applied_is_followed_by_one_without_changes(
    files: list[list[tuple[str, str]]], servers: list[Server], update: bool
) -> None:
    found = legacy(*("".join(f"{key}={value}\n" for key, value in lines) for lines in files))
    first = plan(servers, found, update=update)
    second = plan(applied(servers, first), found)
    if not (
        update and first.count(State.CONFLICT)
    ):  # a name that one row gave up may then be free for another
        assert second.count(State.NEW) == 0
        assert second.changes == ()
        assert second.count(State.CONFLICT) == first.count(State.CONFLICT)
    counts = first.counts
    assert counts.seen == sum(map(len, files))
    assert counts.seen == (
        counts.imported
        + counts.conflicts
        + counts.errors
        + counts.skipped
        + counts.unknown
        + counts.unrelated
    )
    assert set(first.deletable) >= set(first.deletable_now)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'registry.db'}"


def env_file(text: str, name: str = ".env") -> Path:
    path = Path(name)
    path.write_text(text)
    path.chmod(0o600)
    return path


async def test_import_reads_the_env_file_of_the_folder_and_a_second_run_changes_nothing(
    database_url: str,
) -> None:
    env_file(
        "OLLAMA_URL_1=http://a/v1\nOLLAMA_MODEL_1=m\nOLLAMA_CAPABILITIES_1=x,y\nOLLAMA_URL_2=http://b\n"
    )
    async with Client(database_url=database_url, environ={}) as client:
        dry = await client.import_env(dry_run=True)
        assert await client.servers.list() == []
        first = await client.import_env()
        servers = await client.servers.list()
        second = await client.import_env()
        assert await client.servers.list() == servers
    assert (dry.applied, dry.failed, dry.deletable) == (0, 0, ())
    assert (first.applied, first.failed, len(first.deletable), len(first.server_ids)) == (
        8,
        0,
        4,
        2,
    )
    assert (second.applied, second.failed, second.server_ids) == (0, 0, ())
    assert {entry.state for entry in second.entries} == {State.UNCHANGED}
    assert [(s.name, s.url, s.api_version.value, s.is_default) for s in servers] == [
        ("ollama-1", "http://a", "v1", True),
        ("ollama-2", "http://b", "native", False),
    ]
    assert (servers[0].default_model, servers[0].capabilities) == ("m", ("x", "y"))


async def test_import_shows_a_conflict_and_update_settles_it(database_url: str) -> None:
    env_file("OLLAMA_URL=http://a\nOLLAMA_MODEL=old\nOLLAMA_CAPABILITIES=x\n")
    async with Client(database_url=database_url, environ={}) as client:
        await client.import_env()
        await client.servers.update("ollama", default_model="new", capabilities=["z"])
        kept = await client.import_env()
        assert (await client.servers.show("ollama")).default_model == "new"
        updated = await client.import_env(update=True)
        server = await client.servers.show("ollama")
    assert (kept.applied, kept.failed) == (0, 2)
    assert (updated.applied, updated.failed) == (2, 0)
    assert (server.default_model, server.capabilities) == ("old", ("x",))


async def test_import_writes_nothing_when_one_file_cannot_be_read(database_url: str) -> None:
    files = [env_file("OLLAMA_URL=http://a\n", "a.env"), env_file("\nOLLAMA_URL='open\n", "b.env")]
    async with Client(database_url=database_url, environ={}) as client:
        with pytest.raises(InvalidInput, match=r"^b\.env, line 2: "):
            await client.import_env(files)
        assert await client.servers.list() == []


async def test_errors_come_all_at_once_and_the_rest_is_imported_when_they_are_skipped(
    database_url: str,
) -> None:
    file = env_file("OLLAMA_URL_1=ftp://x\nOLLAMA_URL_2=http://b\nOLLAMA_PRIORITY_2=high\n")
    async with Client(database_url=database_url, environ={}) as client:
        dry = await client.import_env([file], dry_run=True)
        with pytest.raises(InvalidInput, match=r"line 1: .*; \.env, line 3: "):
            await client.import_env([file])
        assert await client.servers.list() == []
        done = await client.import_env([file], skip_errors=True)
        assert [server.url for server in await client.servers.list()] == ["http://b"]
    assert (dry.failed, len(dry.errors), done.failed) == (2, 2, 2)
    assert dry.counts.errors == 2
    assert [variable for _, _, variable in done.deletable] == ["OLLAMA_URL_2"]


async def test_import_takes_the_environment_only_when_it_is_given(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://canary")
    async with Client(database_url=database_url, environ={}) as client:
        await client.import_env(
            [env_file("OLLAMA_URL=http://${OLLAMA_HOST}\nOLLAMA_URL_2=http://b")]
        )
        await client.import_env(environ={"OLLAMA_HOST": "http://c"})
        assert [server.url for server in await client.servers.list()] == ["http://b", "http://c"]


async def test_import_gives_the_documented_json(database_url: str) -> None:
    env_file("OLLAMA_URL=http://a\n")
    async with Client(database_url=database_url, environ={}) as client:
        document = (await client.import_env()).document()
    assert set(document) == {"results", "applied", "failed"}
    assert (document["applied"], document["failed"]) == (3, 0)
