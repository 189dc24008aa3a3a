"""Credentials are checked when given, arrive as they were meant, at their own origin, and nowhere
else.
"""

import base64
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.client import Client
from ollama_admin.domain.secret import MASK, Reference, Secret, check_header_value
from ollama_admin.domain.servers import AuthType, Server
from ollama_admin.domain.values import Given
from ollama_admin.errors import AdminError, InvalidInput, SecretUnavailable, ServerUnauthorized
from ollama_admin.services.upstream_auth import read_auth
from tests.fake_ollama import Answer, FakeOllama
from tests.security.rows import execute, store, stored

GPU = "http://127.0.0.2:11434"  # nobody is asked there
PRINTABLE_LATIN_1 = "".join(
    character for character in map(chr, range(256)) if character.isprintable()
)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# what is accepted (A6, A7)


@pytest.mark.parametrize(
    ("auth_type", "auth_config", "problem"),
    [
        ("digest", {}, "auth type 'digest' is not one of none, basic, bearer, api_key"),
        ("bearer", {}, "the bearer token is missing"),
        ("bearer", {"token": ""}, "the bearer token is empty"),
        ("bearer", {"token": "t", "username": "u"}, "auth bearer has no username"),
        ("bearer", {"key": "t"}, "the bearer token is missing"),
        ("bearer", {"token": "t", "tokens": "t"}, "auth bearer has no tokens"),
        ("basic", {}, "auth basic has no username"),
        ("basic", {"username": "u"}, "the basic password is missing"),
        ("basic", {"password": "p"}, "auth basic has no username"),
        ("basic", {"username": "", "password": "p"}, "auth basic has no username"),
        ("basic", {"username": "u:v", "password": "p"}, "cannot have a ':' in it"),
        ("basic", {"username": "u\nv", "password": "p"}, "the user name has a line break"),
        ("basic", {"username": Secret("u"), "password": "p"}, "auth basic has no username"),
        ("basic", {"username": "u", "password": "p", "token": "t"}, "auth basic has no token"),
        ("api_key", {}, "the api_key key is missing"),
        ("api_key", {"key": "k", "header_name": "X Key"}, "'X Key' is not a header name"),
        ("api_key", {"key": "k", "header_name": "Host"}, "header Host cannot be set"),
        ("api_key", {"key": "k", "password": "p"}, "auth api_key has no password"),
        ("none", {"token": "t"}, "auth none has no token"),
        (None, {"token": "t"}, "auth none has no token"),
    ],
)
def test_credentials_that_do_not_belong_to_their_kind_are_refused(
    auth_type: str | None, auth_config: dict[str, Given], problem: str
) -> None:
    with pytest.raises(InvalidInput, match=re.escape(problem)):
        read_auth(auth_type, auth_config, None)


@pytest.mark.parametrize(
    ("auth_type", "auth_config", "headers", "problem"),
    [
        (None, None, {"X-A": "1", "x-a": "2"}, "a header is given twice"),
        ("api_key", {"key": "k"}, {"x-api-key": "1"}, "a header is given twice"),
        (
            "api_key",
            {"key": "k", "header_name": "X-Own"},
            {"X-OWN": "1"},
            "a header is given twice",
        ),
        (
            None,
            None,
            {"authorization": "Bearer t"},
            "the header Authorization is given as a header",
        ),
        (None, None, {"Content-Length": "1"}, "header Content-Length cannot be set"),
        (None, None, {"X-A": ""}, "the header X-A is empty"),
        (None, None, {"X-A": "1\r\nX-B: 2"}, "the header X-A has a line break"),
        (None, None, {"X-A\r\nX-B": "1"}, "is not a header name"),
    ],
)
def test_headers_that_clash_or_cannot_be_sent_are_refused(
    auth_type: str | None,
    auth_config: dict[str, Given] | None,
    headers: dict[str, Given],
    problem: str,
) -> None:
    with pytest.raises(InvalidInput, match=re.escape(problem)):
        read_auth(auth_type, auth_config, headers)


@pytest.mark.parametrize(
    "value", ["", "a\rb", "a\nb", "a\0b", " a", "a ", "\ta", "a\tb", "пароль", "a\x85b", "\ud800"]
)
def test_a_secret_that_no_header_carries_is_refused_unseen(value: str) -> None:
    for kind, name in (("bearer", "token"), ("api_key", "key"), ("basic", "password")):
        with pytest.raises(InvalidInput) as caught:
            read_auth(
                kind, {"username": "u", name: value} if kind == "basic" else {name: value}, None
            )
        assert f"the {kind} {name}" in caught.value.message


@given(st.text(max_size=40))
def test_a_value_is_accepted_exactly_if_a_header_can_carry_it(value: str) -> None:
    can = (
        bool(value)
        and value == value.strip()
        and all(character in PRINTABLE_LATIN_1 for character in value)
    )
    if can:
        check_header_value("value", value)
        return
    with pytest.raises(InvalidInput) as caught:
        check_header_value("value", value)
    assert len(value) < 5 or value not in caught.value.message


# what is sent

Sent = dict[str, str]
KINDS: dict[str, tuple[dict[str, Any], Sent]] = {
    "none": ({}, {}),
    "basic": (
        {"auth_type": "basic", "auth_config": {"username": "ünder", "password": "pä:ss wörd"}},
        {"authorization": basic("ünder", "pä:ss wörd")},
    ),
    "bearer": (
        {"auth_type": "bearer", "auth_config": {"token": "t0ken=="}},
        {"authorization": "Bearer t0ken=="},
    ),
    "api key": ({"auth_type": "api_key", "auth_config": {"key": "k3y"}}, {"x-api-key": "k3y"}),
    "api key under another name": (
        {
            "auth_type": "api_key",
            "auth_config": {"key": "k3y", "header_name": "Ocp-Apim-Subscription-Key"},
        },
        {"ocp-apim-subscription-key": "k3y"},
    ),
    "two headers": (
        {"headers": {"CF-Access-Client-Id": "id.access", "CF-Access-Client-Secret": "s3cret"}},
        {"cf-access-client-id": "id.access", "cf-access-client-secret": "s3cret"},
    ),
    "token and header": (
        {"auth_type": "bearer", "auth_config": {"token": "t"}, "headers": {"X-Team": "a b"}},
        {"authorization": "Bearer t", "x-team": "a b"},
    ),
    "every character": (
        {"auth_type": "bearer", "auth_config": {"token": f"x{PRINTABLE_LATIN_1}x"}},
        {"authorization": f"Bearer x{PRINTABLE_LATIN_1}x"},
    ),
}
USUAL = {
    "host",
    "accept",
    "connection",
    "accept-encoding",
    "user-agent",
    "content-length",
    "content-type",
}
every_kind = pytest.mark.parametrize(("auth", "expected"), KINDS.values(), ids=KINDS)

Asking = Callable[[Client], Awaitable[Any]]
CALLS: dict[str, tuple[Asking, list[str]]] = {
    "check": (lambda client: client.servers.check(["gpu"]), ["/api/version"]),
    "discover": (
        lambda client: client.discover(["gpu"]),
        ["/api/version", "/api/tags", "/api/show"],
    ),
    "generate": (
        lambda client: client.generate(prompt="hi", server="gpu", model="alpha"),
        ["/api/version", "/api/tags", "/api/generate", "/api/tags"],
    ),
    "think": (
        lambda client: client.generate(prompt="hi", server="gpu", model="alpha", think=False),
        ["/api/version", "/api/tags", "/api/chat", "/api/tags"],
    ),
}
every_call = pytest.mark.parametrize(("ask", "paths"), CALLS.values(), ids=CALLS)


def credentials_of(fake: FakeOllama) -> list[Sent]:
    """What each request carried beside the headers that any request has."""
    return [
        {name: value for name, value in request.headers.items() if name not in USUAL}
        for request in fake.requests
    ]


@every_call
@every_kind
async def test_every_request_to_a_row_carries_exactly_its_credentials(
    client: Client,
    fake: FakeOllama,
    auth: dict[str, Any],
    expected: Sent,
    ask: Asking,
    paths: list[str],
) -> None:
    await client.servers.add(name="gpu", url=fake.url, **auth)
    await ask(client)
    assert [request.path for request in fake.requests] == paths
    assert credentials_of(fake) == [expected] * len(paths)


@every_kind
async def test_v1_carries_the_same_credentials(
    client: Client, fake: FakeOllama, auth: dict[str, Any], expected: Sent
) -> None:
    fake.version = None
    await client.servers.add(name="gpu", url=fake.url + "/v1", **auth)
    await client.discover()
    await client.generate(prompt="hi", server="gpu", model="alpha:latest")
    assert "/v1/chat/completions" in {request.path for request in fake.requests}
    assert all(sent == expected for sent in credentials_of(fake))


@every_kind
async def test_a_url_that_no_row_has_gets_the_credentials_of_this_call_alone(
    client: Client, fake: FakeOllama, auth: dict[str, Any], expected: Sent
) -> None:
    await client.generate(prompt="hi", server_url=fake.url, model="alpha", **auth)
    assert credentials_of(fake) == [expected] * 4
    await client.generate(prompt="hi", server_url=fake.url, model="alpha")
    assert credentials_of(fake)[4:] == [{}] * 4
    assert await client.servers.list() == []


async def test_a_rows_url_gets_the_rows_credentials_and_takes_no_others(
    client: Client, fake: FakeOllama
) -> None:
    token = {"auth_type": "bearer", "auth_config": {"token": "t"}}
    await client.servers.add(name="gpu", url=fake.url, **token)
    await client.generate(prompt="hi", server_url=fake.url, model="alpha")
    assert credentials_of(fake) == [{"authorization": "Bearer t"}] * 4
    for given_too in (token, {"headers": {"X-A": "1"}}):
        with pytest.raises(InvalidInput, match="server gpu has this URL, and its own credentials"):
            await client.generate(prompt="hi", server_url=fake.url, model="alpha", **given_too)
    assert len(fake.requests) == 4


@pytest.mark.parametrize("where", [{"server": "gpu"}, {}])
async def test_credentials_without_a_url_are_refused_and_not_dropped(
    client: Client, fake: FakeOllama, where: dict[str, Any]
) -> None:
    await client.servers.add(name="gpu", url=fake.url)
    with pytest.raises(InvalidInput):
        await client.generate(
            prompt="hi", model="alpha", auth_type="bearer", auth_config={"token": "t"}, **where
        )
    assert fake.requests == []


async def test_what_a_service_gives_back_shows_no_secret(client: Client, fake: FakeOllama) -> None:
    added = await client.servers.add(
        name="gpu",
        url=fake.url,
        auth_type="basic",
        auth_config={"username": "u", "password": "hunter2"},
        headers={"X-A": "hunter3", "X-B": Reference.parse("env:OTHER")},
    )
    shown = [added, await client.servers.show("gpu"), *await client.servers.list()]
    shown += [await client.servers.update("gpu", priority=1), await client.servers.disable("gpu")]
    shown += [await client.servers.enable("gpu"), await client.servers.set_default("gpu")]
    for server in shown:
        assert server.auth_config == {"username": "u", "password": MASK}
        assert server.headers == {"X-A": MASK, "X-B": "env:OTHER"}


async def test_nothing_of_a_secret_is_stored_in_the_clear(
    client: Client, database_url: str
) -> None:
    await client.servers.add(
        name="gpu",
        url=GPU,
        auth_type="api_key",
        auth_config={"key": "hunter2"},
        headers={"X-A": "hunter3"},
    )
    config, headers = stored(database_url, "gpu")
    assert (config.keys(), headers.keys()) == ({"header_name", "key"}, {"X-A"})
    assert "hunter" not in str((config["key"], headers))


# references (K10)

ENV, FILE = "env:GPU_TOKEN", "file:token"
both_references = pytest.mark.parametrize("reference", [ENV, FILE])


def put(environ: dict[str, str], reference: str, value: str) -> None:
    """Make the reference mean the value from now on."""
    if reference == ENV:
        environ["GPU_TOKEN"] = value
    else:
        Path("token").write_text(value)


async def add_referring(client: Client, fake: FakeOllama, reference: str) -> Server:
    auth = {"auth_type": "bearer", "auth_config": {"token": Reference.parse(reference)}}
    return await client.servers.add(name="gpu", url=fake.url, **auth)


@both_references
async def test_a_reference_is_shown_and_its_value_stored_nowhere(
    client: Client, fake: FakeOllama, environ: dict[str, str], reference: str, database_url: str
) -> None:
    put(environ, reference, "hunter2")
    server = await add_referring(client, fake, reference)
    assert server.auth_config == {"token": str(Reference.parse(reference))}
    assert "GPU_TOKEN" not in str(stored(database_url, "gpu"))
    assert "token" not in str(stored(database_url, "gpu")[0]["token"])


@both_references
async def test_a_changed_value_is_seen_by_the_next_request(
    client: Client, fake: FakeOllama, environ: dict[str, str], reference: str
) -> None:
    await add_referring(client, fake, reference)
    for value in ("first", "second", "third"):
        put(environ, reference, value)
        await client.servers.check(["gpu"])
        assert credentials_of(fake)[-1] == {"authorization": f"Bearer {value}"}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
async def test_the_line_end_of_a_file_is_no_part_of_the_secret(
    client: Client, fake: FakeOllama, end: str
) -> None:
    Path("token").write_bytes(f"hunter2{end}".encode())
    await add_referring(client, fake, FILE)
    await client.servers.check(["gpu"])
    assert credentials_of(fake) == [{"authorization": "Bearer hunter2"}]


async def refused(client: Client, fake: FakeOllama, ask: Asking) -> AdminError:
    """The error that a call fails with before anything is sent."""
    try:
        answers = await ask(client)
    except AdminError as exc:
        error = exc
    else:
        error = answers[0].error
    assert isinstance(error, SecretUnavailable)
    assert error.exit_code == 5
    assert error.message.startswith("server gpu: ")
    assert fake.requests == []
    return error


@pytest.mark.parametrize(
    "value",
    [None, "", "\n", "hunter2\r\nX-Evil: 1", "hunter2\n2", "hunter2\0", " hunter2", "пароль"],
    ids=ascii,
)
@both_references
async def test_a_reference_that_gives_no_secret_keeps_the_request_back(
    client: Client,
    fake: FakeOllama,
    environ: dict[str, str],
    reference: str,
    value: str | None,
) -> None:
    await add_referring(client, fake, reference)
    if value is not None:
        put(environ, reference, value)
    for ask, _ in CALLS.values():
        error = await refused(client, fake, ask)
        assert ("GPU_TOKEN" if reference == ENV else "token") in error.message
        assert "hunter2" not in f"{error.message} {error.hint}"
        assert error.hint == "set it where ollama-admin runs, or store another one"


def folder(path: Path) -> None:
    path.mkdir()


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def binary(path: Path) -> None:
    path.write_bytes(b"hunter2\xff")


@pytest.mark.parametrize("made", [folder, endless, binary])
async def test_a_file_that_holds_no_secret_keeps_the_request_back(
    client: Client, fake: FakeOllama, made: Callable[[Path], None]
) -> None:
    await add_referring(client, fake, FILE)
    made(Path("token"))
    await refused(client, fake, CALLS["generate"][0])


async def test_a_missing_header_keeps_the_request_back_although_the_token_is_there(
    client: Client, fake: FakeOllama
) -> None:
    headers = {"X-A": "1", "X-B": Reference.parse("env:MISSING")}
    await client.servers.add(
        name="gpu", url=fake.url, auth_type="bearer", auth_config={"token": "t"}, headers=headers
    )
    assert "MISSING is not set" in (await refused(client, fake, CALLS["check"][0])).message


async def test_a_missing_reference_of_a_single_call_sends_nothing(
    client: Client, fake: FakeOllama
) -> None:
    token = {"token": Reference.parse(ENV)}
    with pytest.raises(SecretUnavailable, match="GPU_TOKEN is not set"):
        await client.generate(
            prompt="hi", server_url=fake.url, model="alpha", auth_type="bearer", auth_config=token
        )
    assert fake.requests == []


async def test_another_server_is_not_asked_instead(
    client: Client, fake: FakeOllama, other: FakeOllama
) -> None:
    await client.servers.add(name="spare", url=other.url)
    await client.servers.add(name="gpu", url=fake.url, priority=1)
    await client.discover()
    await client.servers.update(
        "gpu", auth_type="bearer", auth_config={"token": Reference.parse(ENV)}
    )
    asked = len(fake.requests), len(other.requests)
    with pytest.raises(SecretUnavailable):
        await client.generate(prompt="hi", model="alpha")
    assert (len(fake.requests), len(other.requests)) == asked


async def test_a_reference_made_by_hand_is_held_to_the_same_rules(client: Client) -> None:
    reference = Reference(kind="env", name="OLLAMA_ADMIN_SECRET_KEY")
    for given_as in (
        {"auth_type": "bearer", "auth_config": {"token": reference}},
        {"headers": {"X-A": reference}},
    ):
        with pytest.raises(InvalidInput, match="a setting of ollama-admin itself"):
            await client.servers.add(name="gpu", url=GPU, **given_as)


@pytest.mark.parametrize("text", [ENV, "file:/etc/hostname"])
async def test_text_that_looks_like_a_reference_is_never_followed(
    client: Client, fake: FakeOllama, environ: dict[str, str], text: str
) -> None:
    environ["GPU_TOKEN"] = "hunter2"
    server = await client.servers.add(
        name="gpu", url=fake.url, auth_type="bearer", auth_config={"token": text}
    )
    assert server.auth_config == {"token": MASK}
    await client.servers.check(["gpu"])
    assert credentials_of(fake) == [{"authorization": f"Bearer {text}"}]


# the origin (T4)

TOKEN = {
    "auth_type": "basic",
    "auth_config": {"username": "u", "password": "hunter2"},
    "headers": {"X-A": "hunter3"},
}
DROPPED = (AuthType.NONE, {}, {})


def held(server: Server) -> tuple[AuthType, Any, Any]:
    return server.auth_type, server.auth_config, server.headers


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.2:11434",
        "http://127.0.0.3:11434",
        "http://127.0.0.2:11435",
        "http://127.0.0.2",
    ],
)
async def test_another_scheme_host_or_port_drops_the_secrets(
    client: Client, database_url: str, notes: list[str], url: str
) -> None:
    await client.servers.add(name="gpu", url=GPU, **TOKEN)
    assert held(await client.servers.update("gpu", url=url)) == DROPPED
    assert stored(database_url, "gpu") == ({}, {})
    assert notes == [
        (
            f"the credentials that server gpu had for {GPU} were dropped; only what was given "
            "with the new URL is kept"
        )
    ]


@pytest.mark.parametrize(
    "change", [{"url": GPU + "/prefix"}, {"url": GPU + "/v1"}, {"name": "other"}, {"priority": 3}]
)
async def test_what_keeps_the_origin_keeps_the_secrets(
    client: Client, notes: list[str], change: dict[str, Any]
) -> None:
    await client.servers.add(name="gpu", url=GPU, **TOKEN)
    server = await client.servers.update("gpu", **change)
    assert held(server) == (AuthType.BASIC, {"username": "u", "password": MASK}, {"X-A": MASK})
    assert notes == []


async def test_secrets_follow_to_another_path_of_the_same_origin(
    client: Client, fake: FakeOllama
) -> None:
    await client.servers.add(name="gpu", url=fake.url + "/old", **TOKEN)
    await client.servers.update("gpu", url=fake.url)
    await client.servers.check(["gpu"])
    assert credentials_of(fake) == [{"authorization": basic("u", "hunter2"), "x-a": "hunter3"}]


async def test_a_moved_server_is_asked_without_what_was_meant_for_the_old_place(
    client: Client, fake: FakeOllama, other: FakeOllama
) -> None:
    await client.servers.add(name="gpu", url=fake.url, **TOKEN)
    await client.servers.update("gpu", url=other.url)
    await client.discover(["gpu"])
    await client.generate(prompt="hi", server="gpu", model="alpha")
    assert set(map(str, credentials_of(other))) == {"{}"}
    await client.servers.update("gpu", url=fake.url)
    await client.servers.check(["gpu"])
    assert credentials_of(fake) == [{}]  # and moving back brings nothing back


async def test_only_what_is_given_again_with_the_new_url_is_kept(
    client: Client, fake: FakeOllama, other: FakeOllama
) -> None:
    await client.servers.add(name="gpu", url=fake.url, **TOKEN)
    await client.servers.update("gpu", url=other.url, auth_config={"password": "hunter4"})
    await client.servers.check(["gpu"])
    assert credentials_of(other) == [{"authorization": basic("u", "hunter4")}]
    await client.servers.update("gpu", url=fake.url, headers={"X-B": "1"})
    await client.servers.check(["gpu"])
    assert credentials_of(fake) == [{"x-b": "1"}]


async def test_a_failed_change_of_the_url_keeps_everything(
    client: Client, database_url: str
) -> None:
    await client.servers.add(name="gpu", url=GPU, **TOKEN)
    await client.servers.add(name="taken", url="http://127.0.0.4")
    before = stored(database_url, "gpu")
    for change in (
        {"url": "http://127.0.0.4"},
        {"url": "http://127.0.0.5", "auth_config": {"password": ""}},
    ):
        with pytest.raises(AdminError):
            await client.servers.update("gpu", **change)
    assert stored(database_url, "gpu") == before


async def test_a_path_edited_in_the_database_keeps_the_secrets(
    client: Client, fake: FakeOllama, database_url: str
) -> None:
    await client.servers.add(name="gpu", url=fake.url + "/old", **TOKEN)
    execute(database_url, "UPDATE ollama_servers SET url = :url", url=fake.url)
    await client.servers.check(["gpu"])
    assert credentials_of(fake)[0]["authorization"] == basic("u", "hunter2")


async def test_a_header_name_edited_in_the_database_smuggles_nothing(
    client: Client, fake: FakeOllama, database_url: str
) -> None:
    await client.servers.add(
        name="gpu", url=fake.url, auth_type="api_key", auth_config={"key": "k"}
    )
    for name in ("Host", "X-A\r\nX-Evil", "Transfer-Encoding", "ключ"):
        store(database_url, "gpu", stored(database_url, "gpu")[0] | {"header_name": name})
        (check,) = await client.servers.check(["gpu"])
        assert isinstance(check.error, AdminError)
    assert fake.requests == []


# changes of credentials


async def test_a_new_secret_keeps_kind_and_user_name(client: Client, fake: FakeOllama) -> None:
    await client.servers.add(name="gpu", url=fake.url, **TOKEN)
    await client.servers.update("gpu", auth_config={"password": "hunter4"})
    await client.servers.check(["gpu"])
    assert credentials_of(fake) == [{"authorization": basic("u", "hunter4"), "x-a": "hunter3"}]


async def test_another_kind_takes_nothing_over(client: Client, fake: FakeOllama) -> None:
    await client.servers.add(name="gpu", url=fake.url, **TOKEN)
    with pytest.raises(InvalidInput, match="the bearer token is missing"):
        await client.servers.update("gpu", auth_type="bearer")
    server = await client.servers.update("gpu", auth_type="bearer", auth_config={"token": "t"})
    assert server.auth_config == {"token": MASK}
    await client.servers.check(["gpu"])
    assert credentials_of(fake) == [{"authorization": "Bearer t", "x-a": "hunter3"}]


async def test_a_header_replaces_the_one_of_its_name_and_no_other(
    client: Client, fake: FakeOllama
) -> None:
    await client.servers.add(name="gpu", url=fake.url, headers={"X-A": "1", "X-B": "2"})
    server = await client.servers.update("gpu", headers={"x-a": "3", "X-C": "4"})
    assert sorted(server.headers) == ["X-B", "X-C", "x-a"]
    await client.servers.check(["gpu"])
    assert credentials_of(fake) == [{"x-a": "3", "x-b": "2", "x-c": "4"}]


async def test_no_update_gives_a_header_twice(client: Client, database_url: str) -> None:
    await client.servers.add(name="gpu", url=GPU, auth_type="api_key", auth_config={"key": "k"})
    await client.servers.add(name="two", url="http://127.0.0.3", headers={"X-API-Key": "k"})
    before = stored(database_url, "gpu"), stored(database_url, "two")
    with pytest.raises(InvalidInput, match="a header is given twice"):
        await client.servers.update("gpu", headers={"x-api-key": "1"})
    with pytest.raises(InvalidInput, match="a header is given twice"):
        await client.servers.update("two", auth_type="api_key", auth_config={"key": "k"})
    assert (stored(database_url, "gpu"), stored(database_url, "two")) == before


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"clear": ["auth"]}, {"x-a": "hunter3"}),
        ({"clear": ["headers"]}, {"authorization": basic("u", "hunter2")}),
        ({"clear": ["auth", "headers"]}, {}),
        ({"auth_type": "none"}, {"x-a": "hunter3"}),
        (
            {"clear": ["headers"], "headers": {"X-B": "1"}},
            {"authorization": basic("u", "hunter2"), "x-b": "1"},
        ),
    ],
)
async def test_what_is_cleared_is_sent_no_more(
    client: Client, fake: FakeOllama, database_url: str, change: dict[str, Any], left: Sent
) -> None:
    await client.servers.add(name="gpu", url=fake.url, **TOKEN)
    await client.servers.update("gpu", **change)
    await client.servers.check(["gpu"])
    assert credentials_of(fake) == [left]


# a server that refuses


@pytest.mark.parametrize("status", [401, 403])
async def test_a_wrong_secret_is_told_with_the_servers_name_and_the_next_step(
    client: Client, status: int
) -> None:
    async with FakeOllama() as fake:
        fake.script_always("/api/version", Answer(status))
        await client.servers.add(name="gpu", url=fake.url, **TOKEN)
        (check,) = await client.servers.check(["gpu"])
        assert isinstance(check.error, ServerUnauthorized)
        assert check.error.message == f"server gpu refused the request ({status})"
        assert (
            "it did not accept the credentials; give others: ollama-admin server update gpu"
            in str(check.error.hint)
        )
        await client.servers.update("gpu", clear=["auth", "headers"])
        (check,) = await client.servers.check(["gpu"])
        assert check.error is not None
        assert "wants credentials: ollama-admin server update gpu --auth" in str(check.error.hint)
