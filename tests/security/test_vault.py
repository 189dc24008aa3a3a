"""Secrets at rest open with their key, for their origin, unchanged; in any other case nothing is
sent.
"""

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.client import Client
from ollama_admin.domain.secret import Reference, Secret
from ollama_admin.errors import AdminError, InvalidInput, SecretUnavailable
from ollama_admin.settings import Settings
from ollama_admin.vault import Keys, Vault, load_keys, new_key, own_key_file, write_key_file
from tests.fake_ollama import FakeOllama
from tests.security.rows import execute, store, stored

GPU = "http://gpu:11434"
KEY = "OLLAMA_ADMIN_SECRET_KEY"
KEY_FILE = "OLLAMA_ADMIN_SECRET_KEY_FILE"
POSTGRES = "postgresql://u@127.0.0.1/db"


def vault(*keys: Secret) -> Vault:
    return Vault(Keys(source="the test", keys=keys))


NEW, OLD = new_key(), new_key()
VAULT = vault(OLD)


# sealing


@given(st.text(st.characters(codec="utf-8")))
def test_what_is_sealed_opens_for_its_origin(plain: str) -> None:
    assert VAULT.open(VAULT.seal(Secret(plain), GPU), GPU) == Secret(plain)


@pytest.mark.parametrize("text", ["env:GPU_TOKEN", "file:/run/secrets/gpu"])
def test_a_sealed_reference_is_a_reference_again(text: str) -> None:
    reference = Reference.parse(text)
    assert VAULT.open(VAULT.seal(reference, GPU), GPU) == reference


def test_a_secret_that_looks_like_a_reference_stays_a_secret() -> None:
    assert VAULT.open(VAULT.seal(Secret("env:PATH"), GPU), GPU) == Secret("env:PATH")


def test_a_sealed_secret_shows_neither_itself_nor_that_it_equals_another() -> None:
    sealed = [VAULT.seal(Secret("hunter2"), GPU) for _ in range(2)]
    assert sealed[0] != sealed[1]
    assert not any("hunter2" in text for text in sealed)


@pytest.mark.parametrize(
    "origin",
    [
        "https://gpu:11434",
        "http://gpu:11435",
        "http://gpu2:11434",
        "http://gpu.evil:11434",
        "",
        GPU + "/",
    ],
)
def test_nothing_opens_for_another_scheme_host_or_port(origin: str) -> None:
    with pytest.raises(SecretUnavailable, match="were given for http://gpu:11434"):
        VAULT.open(VAULT.seal(Secret("hunter2"), GPU), origin)


def test_nothing_opens_with_another_key() -> None:
    with pytest.raises(SecretUnavailable, match="it was stored under another key"):
        vault(NEW).open(VAULT.seal(Secret("hunter2"), GPU), GPU)


def test_nothing_opens_that_was_cut_anywhere() -> None:
    sealed = VAULT.seal(Secret("hunter2"), GPU)
    for length in range(len(sealed)):
        with pytest.raises(SecretUnavailable):
            VAULT.open(sealed[:length], GPU)


def test_nothing_opens_of_which_a_character_was_changed() -> None:
    sealed = VAULT.seal(Secret("hunter2"), GPU)
    body = len(sealed.rstrip("="))
    for place in range(body - 1):  # the last one carries bits that base64 does not use
        changed = sealed[:place] + ("A" if sealed[place] != "A" else "B") + sealed[place + 1 :]
        with pytest.raises(SecretUnavailable):
            VAULT.open(changed, GPU)


@pytest.mark.parametrize(
    "found", [None, "", "hunter2", 1, True, [], {"a": 1}, "\ud800", "é", "env:PATH"], ids=ascii
)
def test_nothing_opens_that_was_never_sealed(found: Any) -> None:
    with pytest.raises(SecretUnavailable):
        VAULT.open(found, GPU)
    assert not VAULT.is_readable(found)
    assert not VAULT.is_stale(found)


def test_a_sealed_reference_to_a_setting_of_ours_is_not_followed() -> None:
    sealed = VAULT.seal(Reference(kind="env", name=KEY), GPU)
    with pytest.raises(SecretUnavailable, match="a setting of ollama-admin itself"):
        VAULT.open(sealed, GPU)


# several keys


def test_the_newest_key_seals_and_every_key_opens() -> None:
    both, old = vault(NEW, OLD), VAULT.seal(Secret("old"), GPU)
    new = both.seal(Secret("new"), GPU)
    assert (both.open(old, GPU), both.open(new, GPU)) == (Secret("old"), Secret("new"))
    assert (both.is_stale(old), both.is_stale(new)) == (True, False)
    assert vault(NEW).open(new, GPU) == Secret("new")
    with pytest.raises(SecretUnavailable):
        VAULT.open(new, GPU)


def test_what_is_sealed_again_needs_the_newest_key_alone_and_keeps_its_origin() -> None:
    again = vault(NEW, OLD).reseal(VAULT.seal(Secret("hunter2"), GPU))
    assert vault(NEW).open(again, GPU) == Secret("hunter2")
    with pytest.raises(SecretUnavailable, match="were given for"):
        vault(NEW).open(again, "http://elsewhere:11434")


def test_what_does_not_open_is_not_sealed_again() -> None:
    for sealed in ("not sealed", vault(new_key()).seal(Secret("hunter2"), GPU)):
        with pytest.raises(SecretUnavailable, match="a stored secret cannot be read"):
            VAULT.reseal(sealed)


@pytest.mark.parametrize("file", ["its key", "another key", "no key", "missing"])
def test_the_key_file_that_opens_a_secret_is_named_and_no_other(tmp_path: Path, file: str) -> None:
    own = tmp_path / "one.db.key"
    match file:
        case "its key":
            write_key_file(own, [OLD], replace=True)
        case "another key":
            write_key_file(own, [new_key()], replace=True)
        case "no key":
            write_key_file(own, [Secret("hunter2")], replace=True)
    exported = Vault(Keys(source="the test", keys=(NEW,), unused=own))
    with pytest.raises(SecretUnavailable) as caught:
        exported.open(VAULT.seal(Secret("hunter2"), GPU), GPU)
    assert caught.value.hint is not None
    if file == "its key":
        assert caught.value.hint.startswith(f"the key in {own} opens it: unset the test")
    else:
        assert caught.value.hint.startswith("write the key that it was stored under behind")


# where keys come from


def settings(url: str = "sqlite:///one.db", **environ: str) -> Settings:
    return Settings.read(environ, url)


def test_the_variable_holds_keys_newest_first() -> None:
    for separator in (",", " ", ", ", "\n"):
        keys = load_keys(settings(POSTGRES, **{KEY: f"{NEW.reveal()}{separator}{OLD.reveal()}"}))
        assert (keys.source, keys.keys) == (KEY, (NEW, OLD))


def test_the_file_holds_keys_newest_first(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{NEW.reveal()}\n{OLD.reveal()}\n")
    keys = load_keys(settings(POSTGRES, **{KEY_FILE: str(path)}))
    assert (keys.source, keys.keys) == (str(path), (NEW, OLD))


def test_both_variables_are_one_too_many() -> None:
    with pytest.raises(
        InvalidInput, match="both OLLAMA_ADMIN_SECRET_KEY and OLLAMA_ADMIN_SECRET_KEY_FILE are set"
    ):
        load_keys(settings(**{KEY: NEW.reveal(), KEY_FILE: "key"}))


@pytest.mark.parametrize("url", ["sqlite:///one.db", POSTGRES])
@pytest.mark.parametrize("text", ["", " ", ","])
def test_an_empty_variable_is_no_key_and_no_other_one_is_taken(
    url: str, text: str, tmp_path: Path
) -> None:
    write_key_file(tmp_path / "one.db.key", [OLD], replace=True)
    with pytest.raises(
        SecretUnavailable, match="the secret key in OLLAMA_ADMIN_SECRET_KEY is empty"
    ):
        load_keys(settings(url, **{KEY: text}), create=True)


@pytest.mark.parametrize(
    "text",
    ["hunter2", "A" * 45, "ключ" * 11, NEW.reveal()[:-2], NEW.reveal() + ",hunter2"],
    ids=["short", "long", "not ASCII", "cut", "the second"],
)
def test_what_is_no_key_is_refused_unseen(text: str) -> None:
    with pytest.raises(SecretUnavailable) as caught:
        Vault(load_keys(settings(**{KEY: text})))
    assert caught.value.message == "the secret key in OLLAMA_ADMIN_SECRET_KEY is not a key"
    assert "hunter2" not in str(caught.value.hint)


def missing(path: Path) -> None:
    pass


def empty(path: Path) -> None:
    path.write_bytes(b"\n")


def endless(path: Path) -> None:
    path.write_bytes(b"A" * 65537)


def binary(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (missing, "cannot be read: No such file or directory"),
        (Path.mkdir, "is not a regular file"),
        (os.mkfifo, "is not a regular file"),
        (empty, "is empty"),
        (endless, "is longer than 64 KiB"),
        (binary, "is not UTF-8 text"),
    ],
)
def test_a_key_file_without_a_key_is_named_with_what_is_wrong(
    tmp_path: Path, made: Callable[[Path], None], problem: str
) -> None:
    path = tmp_path / "key"
    made(path)
    with pytest.raises(SecretUnavailable) as caught:
        load_keys(settings(**{KEY_FILE: str(path)}), create=True)
    assert str(path) in caught.value.message
    assert problem in caught.value.message
    assert path.exists() == (made is not missing)


def test_postgresql_has_no_key_of_its_own() -> None:
    with pytest.raises(SecretUnavailable, match="no secret key is set") as caught:
        load_keys(settings(POSTGRES), create=True)
    assert "secrets generate-key" in str(caught.value.hint)


# the key file of an SQLite database


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


async def test_a_key_file_is_made_only_when_something_is_sealed(
    fake: FakeOllama, tmp_path: Path
) -> None:
    async with Client(database_url=f"sqlite:///{tmp_path / 'one.db'}", environ={}) as client:
        await client.servers.add(name="open", url=fake.url)
        await client.discover()
        await client.servers.list()
        await client.secrets.status()
        await client.doctor()
        await client.generate(prompt="hi", server="open", model="alpha")
        await client.generate(prompt="hi", server_url="127.0.0.1:" + str(fake.port), model="alpha")
        assert not (tmp_path / "one.db.key").exists()
        await client.servers.add(
            name="closed", url=GPU, auth_type="bearer", auth_config={"token": "t"}
        )
        assert (tmp_path / "one.db.key").exists()


@pytest.mark.usefixtures("open_umask")
async def test_key_and_database_are_for_their_owner_alone_whatever_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "new"))
    async with Client(environ={}) as client:
        await client.servers.add(
            name="gpu", url=GPU, auth_type="bearer", auth_config={"token": "t"}
        )
    modes = {
        found.name: stat.S_IMODE(found.stat().st_mode) for found in (tmp_path / "new").rglob("*")
    }
    files = {"ollama-admin.db": 0o600, "ollama-admin.db.key": 0o600}
    assert modes == {"ollama-admin": 0o700, **files}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.mark.usefixtures("open_umask")
def test_a_key_file_is_never_open_to_others_on_its_way(tmp_path: Path) -> None:
    path, modes = tmp_path / "new" / "one.db.key", list[int]()
    watched = [True]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watched and event in ("os.rename", "os.link", "os.remove"):
            modes.extend(stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir())

    sys.addaudithook(watch)  # never goes away, but rests
    write_key_file(path, [OLD], replace=False)
    write_key_file(path, [NEW, OLD], replace=True)
    watched.clear()
    assert set(modes) == {0o600}
    assert [found.name for found in path.parent.iterdir()] == ["one.db.key"]


def test_a_key_file_that_is_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "one.db.key"
    write_key_file(path, [OLD], replace=False)
    write_key_file(path, [NEW], replace=False)
    assert load_keys(settings(), create=True).keys == (OLD,)


def test_a_key_file_is_written_in_its_own_folder_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written elsewhere cannot always be moved there in one step."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    write_key_file(tmp_path / "one.db.key", [NEW], replace=False)
    assert load_keys(settings()).keys == (NEW,)


def test_somebody_elses_file_or_link_is_not_written_through(tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "one.db.key"
    for name in (f"one.db.key.{os.getpid()}", "one.db.key"):
        (tmp_path / name).symlink_to(trap)
    write_key_file(path, [NEW], replace=True)
    assert not trap.exists()
    assert not path.is_symlink()


def test_many_who_seal_first_at_once_have_the_same_key(tmp_path: Path) -> None:
    together = Barrier(8)

    def load(_: int) -> tuple[Secret, ...]:
        together.wait()
        return load_keys(settings(), create=True).keys

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(load, range(8)))) == 1
    assert [path.name for path in tmp_path.glob("*.key*")] == ["one.db.key"]
    assert own_key_file(settings()) == tmp_path / "one.db.key"


def test_a_folder_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SecretUnavailable, match="cannot be written"):
        write_key_file(tmp_path / "file" / "key", [NEW], replace=False)


# a row whose secret does not open


async def nothing_is_sent(client: Client, fake: FakeOllama) -> AdminError:
    """Every way to ask the server `gpu` fails with the same error, which is given back, and nothing
    arrives.
    """
    ((check,), (found,)) = (await client.servers.check(["gpu"]), await client.discover(["gpu"]))
    for ask in ({"server": "gpu"}, {"server_url": fake.url}):
        with pytest.raises(SecretUnavailable) as caught:
            await client.generate(prompt="hi", model="alpha", **ask)
        assert check.error is not None
        assert found.error is not None
        assert str(caught.value) == str(check.error) == str(found.error)
    assert isinstance(check.error, SecretUnavailable)
    assert isinstance(found.error, SecretUnavailable)
    assert check.error.message.startswith("server gpu: ")
    assert fake.requests == []
    return check.error


@pytest.fixture
async def gpu(client: Client, fake: FakeOllama) -> Client:
    """A registry that holds a token, and a key in a header, for one server."""
    auth = {
        "auth_type": "bearer",
        "auth_config": {"token": "hunter2"},
        "headers": {"X-Other": "hunter3"},
    }
    await client.servers.add(name="gpu", url=fake.url, **auth)
    return client


@pytest.mark.usefixtures("gpu")
async def test_with_another_key_nothing_is_sent(
    database_url: str, environ: dict[str, str], fake: FakeOllama
) -> None:
    environ[KEY] = new_key().reveal()
    async with Client(database_url=database_url, environ=environ) as client:
        assert "it was stored under another key" in (await nothing_is_sent(client, fake)).message


@pytest.mark.usefixtures("gpu")
async def test_without_a_key_nothing_is_sent(
    database_url: str, environ: dict[str, str], fake: FakeOllama
) -> None:
    del environ[KEY]
    async with Client(database_url=database_url, environ=environ) as client:
        error = await nothing_is_sent(client, fake)
    assert error.exit_code == 5
    assert KEY in str(error.hint)


@pytest.mark.usefixtures("gpu")
async def test_with_an_older_and_a_newer_key_the_secret_is_sent(
    database_url: str, environ: dict[str, str], fake: FakeOllama
) -> None:
    environ[KEY] = f"{new_key().reveal()},{environ[KEY]}"
    async with Client(database_url=database_url, environ=environ) as client:
        await client.servers.check(["gpu"])
    assert fake.requests[0].headers["authorization"] == "Bearer hunter2"


@pytest.mark.parametrize(
    "change", [lambda sealed: sealed[:-8], lambda sealed: sealed[:40] + "AAAA" + sealed[44:]]
)
async def test_a_changed_secret_is_not_sent(
    gpu: Client, database_url: str, fake: FakeOllama, change: Callable[[str], str]
) -> None:
    config, _ = stored(database_url, "gpu")
    store(database_url, "gpu", {"token": change(config["token"])})
    assert "or was changed" in (await nothing_is_sent(gpu, fake)).message


@pytest.mark.parametrize("config", [{}, {"token": None}, {"token": "hunter2"}, {"password": "x"}])
async def test_a_secret_that_is_not_sealed_is_not_sent(
    gpu: Client, database_url: str, fake: FakeOllama, config: dict[str, Any]
) -> None:
    store(database_url, "gpu", config)
    await nothing_is_sent(gpu, fake)


async def test_a_secret_moved_to_another_servers_row_is_not_sent(
    gpu: Client, database_url: str, other: FakeOllama, fake: FakeOllama
) -> None:
    await gpu.servers.add(
        name="evil", url=other.url, auth_type="bearer", auth_config={"token": "mine"}
    )
    store(database_url, "evil", stored(database_url, "gpu")[0])
    ((check,), (found,)) = (await gpu.servers.check(["evil"]), await gpu.discover(["evil"]))
    assert isinstance(check.error, SecretUnavailable)
    assert isinstance(found.error, SecretUnavailable)
    assert f"were given for {fake.url}" in check.error.message
    assert other.requests == []


async def test_a_url_edited_in_the_database_gets_no_secret(
    gpu: Client, database_url: str, other: FakeOllama, fake: FakeOllama
) -> None:
    execute(database_url, "UPDATE ollama_servers SET url = :url", url=other.url)
    error = await nothing_is_sent(gpu, other)
    assert f"stored for {other.url} were given for {fake.url}" in error.message
    assert "server update" in str(error.hint)


async def test_a_header_that_does_not_open_keeps_everything_back(
    gpu: Client, database_url: str, fake: FakeOllama
) -> None:
    store(database_url, "gpu", {"X-Other": "hunter3"}, column="headers")
    await nothing_is_sent(gpu, fake)
