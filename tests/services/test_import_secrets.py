"""Secrets of legacy files: stored encrypted, sent as they were meant, shown nowhere."""

import base64
import json
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.secret import Reference
from ollama_admin.errors import InvalidInput, SecretUnavailable
from ollama_admin.legacy.servers import State
from ollama_admin.services.import_env import ImportResult
from ollama_admin.simulator.model import SimulatedModel
from tests.fake_ollama import FakeOllama

SECRET = "hunter2/+ ?correct=horse"  # its base64 and its URL-encoded form differ from it
PAIR = base64.b64encode(f"u:{SECRET}".encode()).decode()
BASIC = {"authorization": f"Basic {PAIR}"}
BEARER = {"authorization": f"Bearer {SECRET}"}


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(SimulatedModel("alpha")) as server:
        yield server


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
async def client(database: Path) -> AsyncIterator[Client]:
    async with client_of(database) as client:
        yield client


def client_of(database: Path, **environ: str) -> Client:
    return Client(database_url=f"sqlite:///{database}", environ=environ)


def env_file(text: str) -> None:
    path = Path(".env")
    path.write_text(text)
    path.chmod(0o600)


def with_userinfo(url: str) -> str:
    return url.replace("://", f"://u:{quote(SECRET, safe='')}@")


def states(result: ImportResult) -> dict[str | None, State]:
    return {entry.field: entry.state for entry in result.entries}


def whys(result: ImportResult, state: State) -> list[str | None]:
    return [entry.why for entry in result.entries if entry.state is state]


def assert_secret_is_nowhere_in(text: str | bytes, secret: str = SECRET) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    forms = [secret, quote(secret, safe=""), json.dumps(secret)[1:-1]]
    forms += [
        base64.b64encode(part.encode()).decode().rstrip("=") for part in (secret, f"u:{secret}")
    ]
    assert [form for form in forms if form.encode() in data] == []


LAYOUTS = {
    "key": (f"OLLAMA_API_KEY='{SECRET}'", BEARER),
    "token": (f"OLLAMA_AUTH_TOKEN='{SECRET}'", BEARER),
    "bearer token": (f"OLLAMA_BEARER_TOKEN='Bearer {SECRET}'", BEARER),
    "user and password": (f"OLLAMA_USERNAME=u\nOLLAMA_PASSWORD='{SECRET}'", BASIC),
    "scheme": (f"OLLAMA_USERNAME=u\nOLLAMA_PASSWORD='{SECRET}'\nOLLAMA_AUTH_SCHEME=Basic", BASIC),
    "basic user": (f"OLLAMA_BASIC_AUTH_USER=u\nOLLAMA_BASIC_AUTH_PASSWORD='{SECRET}'", BASIC),
    "basic": (f"OLLAMA_BASIC_AUTH='u:{SECRET}'", BASIC),
    "basic in base64": (f"OLLAMA_BASIC_AUTH={PAIR}", BASIC),
    "whole header": (f"OLLAMA_AUTH_HEADER='Authorization: Bearer {SECRET}'", BEARER),
    "basic header": (f"OLLAMA_AUTH_HEADER='Basic {PAIR}'", BASIC),
    "other header": (f"OLLAMA_AUTH_HEADER='X-Key: {SECRET}'", {"x-key": SECRET}),
    "other scheme": (
        f"OLLAMA_AUTH_HEADER='Authorization: Token {SECRET}'",
        {"authorization": f"Token {SECRET}"},
    ),
    "header name": (f"OLLAMA_AUTH_HEADER=X-Key\nOLLAMA_API_KEY='{SECRET}'", {"x-key": SECRET}),
    "api_key": (f"OLLAMA_AUTH_TYPE=api_key\nOLLAMA_API_KEY='{SECRET}'", {"x-api-key": SECRET}),
    "headers": (
        f"OLLAMA_HEADERS='{json.dumps({'X-Id': 'id', 'X-Secret': SECRET})}'",
        {"x-id": "id", "x-secret": SECRET},
    ),
    "headers with Authorization": (
        f"OLLAMA_HEADERS_JSON='{json.dumps({'Authorization': f'Bearer {SECRET}', 'X-Id': 'id'})}'",
        {**BEARER, "x-id": "id"},
    ),
}


@pytest.mark.parametrize(("lines", "headers"), LAYOUTS.values(), ids=LAYOUTS)
async def test_a_secret_of_every_layout_is_sent_as_the_header_it_means(
    fake: FakeOllama, client: Client, database: Path, lines: str, headers: dict[str, str]
) -> None:
    env_file(f"OLLAMA_BASE_URL={fake.url}\n{lines}\n")
    first = await client.import_env()
    await assert_sent(fake, client, headers)
    second = await client.import_env()
    assert (first.failed, len(first.deletable)) == (0, 2 + lines.count("\n"))
    assert (second.applied, second.failed, second.deletable) == (0, 0, first.deletable)
    assert {entry.state for entry in second.entries} == {State.UNCHANGED}
    assert_secret_is_nowhere_in(repr(first) + repr(second) + json.dumps(first.document()))
    assert_secret_is_nowhere_in(repr(await client.servers.list()))
    assert_secret_is_nowhere_in(database.read_bytes())


async def assert_sent(fake: FakeOllama, client: Client, headers: dict[str, str]) -> None:
    fake.requests.clear()
    (result,) = await client.discover()
    assert result.error is None
    assert fake.requests
    for request in fake.requests:
        assert {name: request.headers.get(name) for name in headers} == headers


async def test_a_user_and_a_password_leave_the_url(
    fake: FakeOllama, client: Client, database: Path
) -> None:
    env_file(f"OLLAMA_BASE_URL={with_userinfo(fake.url)}/v1\n")
    first = await client.import_env()
    (server,) = await client.servers.list()
    assert (server.url, server.auth_config) == (fake.url, {"username": "u", "password": "********"})
    await client.servers.update("ollama", api_version="native")
    await assert_sent(fake, client, BASIC)
    assert whys(first, State.NEW).count("taken out of the URL") == 2
    assert len(first.deletable) == 1
    assert (await client.import_env()).applied == 0
    assert_secret_is_nowhere_in(repr(first))
    assert_secret_is_nowhere_in(database.read_bytes())


async def test_numbered_servers_get_each_their_own_secret(client: Client) -> None:
    async with FakeOllama() as one, FakeOllama() as two:
        env_file(
            f"OLLAMA_BASE_URL={one.url}\nOLLAMA_API_KEY=k-0\nOLLAMA_SERVER_2_BASE_URL={two.url}\n"
            f"OLLAMA_SERVER_2_USERNAME=u\nOLLAMA_SERVER_2_PASSWORD='{SECRET}'\nOLLAMA_SERVER_2_AUTH_SCHEME=basic\n"
        )
        assert len((await client.import_env()).deletable) == 6
        await client.discover()
        assert {request.headers["authorization"] for request in one.requests} == {"Bearer k-0"}
        assert {request.headers["authorization"] for request in two.requests} == {
            BASIC["authorization"]
        }


async def test_open_webui_configs_give_their_keys_and_headers(client: Client) -> None:
    async with FakeOllama() as one, FakeOllama() as two:
        configs = {
            "0": {"enable": True, "key": "k-0", "auth_type": "bearer"},
            "1": {"headers": {"X-Key": SECRET}},
        }
        env_file(
            f"OLLAMA_BASE_URLS='{one.url};{two.url}'\nOLLAMA_API_CONFIGS='{json.dumps(configs)}'\n"
        )
        assert len((await client.import_env()).deletable) == 2
        await client.discover()
        assert {request.headers["authorization"] for request in one.requests} == {"Bearer k-0"}
        assert {request.headers["x-key"] for request in two.requests} == {SECRET}
        assert (await client.import_env()).applied == 0


async def test_another_secret_is_a_conflict_and_update_replaces_it(
    fake: FakeOllama, client: Client
) -> None:
    await client.servers.add(
        name="ollama",
        url=fake.url,
        is_default=True,
        auth_type="bearer",
        auth_config={"token": "old"},
    )
    env_file(f"OLLAMA_URL={fake.url}\nOLLAMA_API_KEY='{SECRET}'\n")
    kept = await client.import_env()
    await assert_sent(fake, client, {"authorization": "Bearer old"})
    updated = await client.import_env(update=True)
    await assert_sent(fake, client, BEARER)
    assert (kept.applied, kept.failed, len(kept.deletable)) == (0, 1, 1)
    assert whys(kept, State.CONFLICT) == ["the server has another secret"]
    assert (updated.applied, updated.failed, len(updated.deletable)) == (1, 0, 2)


async def test_update_exchanges_the_kind_of_credentials_and_keeps_other_headers(
    fake: FakeOllama, client: Client
) -> None:
    await client.servers.add(
        name="ollama",
        url=fake.url,
        auth_type="api_key",
        auth_config={"key": "old"},
        headers={"X-Id": "id"},
    )
    env_file(
        f"OLLAMA_URL={fake.url}\nOLLAMA_USERNAME=u\nOLLAMA_PASSWORD='{SECRET}'\n"
        'OLLAMA_HEADERS=\'{"X-B": "b"}\'\n'
    )
    kept = await client.import_env()
    assert whys(kept, State.CONFLICT) == ["the server has api_key; a user name with a password"]
    await assert_sent(fake, client, {"x-api-key": "old", "x-id": "id", "x-b": "b"})
    await client.import_env(update=True)
    await assert_sent(fake, client, {**BASIC, "x-id": "id", "x-b": "b"})
    assert all("x-api-key" not in request.headers for request in fake.requests)


async def test_a_reference_is_a_conflict(fake: FakeOllama, client: Client) -> None:
    reference = Reference.parse("env:TOKEN")
    await client.servers.add(
        name="ollama", url=fake.url, auth_type="bearer", auth_config={"token": reference}
    )
    env_file(f"OLLAMA_URL={fake.url}\nOLLAMA_API_KEY='{SECRET}'\n")
    assert whys(await client.import_env(), State.CONFLICT) == [
        "the server has the reference env:TOKEN"
    ]


async def test_a_secret_that_cannot_be_opened_is_a_conflict_and_update_replaces_it(
    fake: FakeOllama, client: Client, database: Path
) -> None:
    env_file(f"OLLAMA_URL={fake.url}\nOLLAMA_API_KEY='{SECRET}'\n")
    await client.import_env()
    other_key = base64.urlsafe_b64encode(bytes(32)).decode()
    async with client_of(database, OLLAMA_ADMIN_SECRET_KEY=other_key) as stranger:
        kept = await stranger.import_env()
        updated = await stranger.import_env(update=True)
        await assert_sent(fake, stranger, BEARER)
    (why,) = whys(kept, State.CONFLICT)
    assert (why or "").startswith("the server has a secret that cannot be read: ")
    assert (updated.applied, updated.failed) == (1, 0)


async def test_a_url_of_another_origin_takes_no_stored_credentials_along(client: Client) -> None:
    async with FakeOllama() as old, FakeOllama() as new:
        env_file(
            f"OLLAMA_URL={old.url}\nOLLAMA_API_KEY='{SECRET}'\nOLLAMA_HEADERS='{{\"X-A\": "
            '"b"}}\'\n'
        )
        await client.import_env()
        env_file(f'OLLAMA_URL={new.url}\nOLLAMA_HEADERS=\'{{"X-A": "b"}}\'\n')
        moved = await client.import_env(update=True)
        await assert_sent(new, client, {"x-a": "b"})
        assert all("authorization" not in request.headers for request in new.requests)
        assert "are dropped" in (whys(moved, State.NEW)[0] or "")


async def test_a_dry_run_makes_no_key_and_an_import_without_secrets_neither(
    client: Client, database: Path, fake: FakeOllama
) -> None:
    key = database.with_name(f"{database.name}.key")
    env_file(f"OLLAMA_URL={fake.url}\nOLLAMA_API_KEY='{SECRET}'\n")
    planned = await client.import_env(dry_run=True)
    assert states(planned)["auth_config.token"] is State.NEW
    assert (planned.deletable, key.exists()) == ((), False)
    env_file(f"OLLAMA_URL={fake.url}\n")
    await client.import_env()
    assert not key.exists()
    env_file(f"OLLAMA_URL={fake.url}\nOLLAMA_API_KEY='{SECRET}'\n")
    await client.import_env()
    assert key.stat().st_mode & 0o777 == 0o600


async def test_nothing_is_imported_without_a_key_to_store_secrets_under(
    database: Path, fake: FakeOllama
) -> None:
    env_file(f"OLLAMA_URL={fake.url}\nOLLAMA_API_KEY='{SECRET}'\n")
    async with client_of(database, OLLAMA_ADMIN_SECRET_KEY_FILE="missing") as client:
        with pytest.raises(SecretUnavailable) as caught:
            await client.import_env()
        assert await client.servers.list() == []
    assert_secret_is_nowhere_in("".join(traceback.format_exception(caught.value)))


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("OLLAMA_API_KEY='canary-é\n'", "canary-é"),
        ("OLLAMA_API_KEY=' canary'", "canary"),
        ("OLLAMA_API_KEY=canary€", "canary€"),
        ("OLLAMA_USERNAME=u\nOLLAMA_PASSWORD='canary '", "canary"),
        ('OLLAMA_HEADERS=\'{"X-A": "canary€"}\'', "canary€"),
        ("OLLAMA_BASIC_AUTH=dTpjYW5hcnkNCg==", "canary"),
        ("OLLAMA_URL_2=http://u:canary%0D@b", "canary"),
    ],
)
async def test_a_secret_that_no_header_can_carry_stops_the_import_and_stays_hidden(
    client: Client, line: str, secret: str
) -> None:
    env_file(f"OLLAMA_URL=http://a\n{line}\n")
    with pytest.raises(
        InvalidInput, match=rf"^\.env, line {line.count('OLLAMA_') + 1}: OLLAMA_"
    ) as caught:
        await client.import_env()
    assert await client.servers.list() == []
    shown = "".join(traceback.format_exception(caught.value)) + str(caught.value.hint)
    assert_secret_is_nowhere_in(shown, secret)


async def test_what_an_import_gives_back_holds_no_secret(client: Client) -> None:
    env_file(f"OLLAMA_URL=http://gpu\nOLLAMA_API_KEY='{SECRET}'\n")
    imported = await client.import_env()
    told = {entry.field: entry.told for entry in imported.entries}
    assert (told["auth_type"], told["auth_config.token"]) == ("bearer", None)
