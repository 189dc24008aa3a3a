"""Files that hold secrets, keys or certificates: no FIFO is waited for, and what another user can
change is not trusted.
"""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.files import read_regular_file
from ollama_admin.domain.secret import MASK, Reference, Secret
from ollama_admin.domain.urls import server_url
from ollama_admin.errors import InvalidInput, SecretUnavailable
from ollama_admin.ollama.connecting import Times
from ollama_admin.ollama.http import HTTP
from ollama_admin.services.upstream_auth import Auth, UpstreamAuth
from ollama_admin.settings import Settings
from ollama_admin.store import servers as store
from ollama_admin.vault import Vault, load_keys, new_key, own_key_file, resolve, write_key_file

STRANGER = 4242


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """A file with a token, for its owner alone."""
    path = tmp_path / "token"
    path.write_text("hunter2\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def database(tmp_path: Path) -> Settings:
    """An SQLite file with the key file that it keeps beside it."""
    settings = Settings.read({}, f"sqlite:///{tmp_path / 'one.db'}")
    settings.sqlite_path.touch(0o600)
    write_key_file(own_key_file(settings), [new_key()], replace=True)
    return settings


def resolved(path: Path) -> Secret:
    return resolve(Reference.parse(f"file:{path}"), {})


def give_to_stranger(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file belong to somebody who is neither root nor we."""
    if os.geteuid() == 0:
        os.chown(path, STRANGER, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: STRANGER)


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o646, 0o666, 0o777], ids=oct)
def test_secret_that_others_can_change_is_refused_with_what_to_do(token: Path, mode: int) -> None:
    token.chmod(mode)
    with pytest.raises(SecretUnavailable) as caught:
        resolved(token)
    assert caught.value.message == (
        f"the file {token} (mode {mode:04o}) can be changed by other users"
    )
    assert caught.value.hint == f"run: chmod go-w {token}"


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o444, 0o600, 0o640, 0o644], ids=oct)
def test_secret_that_others_can_only_read_is_used_as_containers_mount_it(
    token: Path, mode: int
) -> None:
    token.chmod(mode)
    assert resolved(token) == Secret("hunter2")


def test_secret_behind_symbolic_links_is_used_as_kubernetes_mounts_it(tmp_path: Path) -> None:
    data = tmp_path / "..2026_11_28"
    data.mkdir()
    (data / "token").write_text("hunter2")
    (data / "token").chmod(0o444)
    (tmp_path / "..data").symlink_to(data.name)
    (tmp_path / "token").symlink_to("..data/token")
    assert resolved(tmp_path / "token") == Secret("hunter2")


def test_secret_that_belongs_to_another_user_is_refused(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_to_stranger(token, monkeypatch)
    owner = token.stat().st_uid
    with pytest.raises(SecretUnavailable) as caught:
        resolved(token)
    assert caught.value.message == (
        f"the file {token} (mode 0600) belongs to user {owner}, who can change it"
    )
    assert caught.value.hint == f"run: chown {os.geteuid()} {token}"


@pytest.mark.skipif(os.geteuid() != 0, reason="the file is to be root's")
def test_secret_that_belongs_to_root_is_used_by_everybody_who_can_read_it(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    assert resolved(token) == Secret("hunter2")


def test_link_to_a_file_that_others_can_change_is_refused(token: Path, tmp_path: Path) -> None:
    token.chmod(0o666)
    link = tmp_path / "link"
    link.symlink_to(token)
    with pytest.raises(SecretUnavailable, match="can be changed by other users"):
        resolved(link)


# the key file beside a database


def test_key_that_another_user_planted_is_refused(
    database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_to_stranger(own_key_file(database), monkeypatch)
    if os.geteuid() == STRANGER:
        pytest.skip("only root can give away one of the two files")
    with pytest.raises(SecretUnavailable, match="belongs to user"):
        load_keys(database, create=True)


def test_key_of_whoever_owns_the_database_is_used(
    database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (database.sqlite_path, own_key_file(database)):
        give_to_stranger(path, monkeypatch)
    assert load_keys(database).keys


@pytest.mark.parametrize(
    ("database_mode", "key_mode", "is_used"),
    [
        (0o600, 0o660, False),
        (0o660, 0o660, True),  # as fsGroup of Kubernetes makes both
        (0o666, 0o666, False),
        (0o666, 0o660, True),
        (0o644, 0o600, True),
    ],
)
def test_group_that_may_write_the_database_may_write_its_key_and_nobody_else(
    database: Settings, database_mode: int, key_mode: int, is_used: bool
) -> None:
    database.sqlite_path.chmod(database_mode)
    own_key_file(database).chmod(key_mode)
    if is_used:
        assert load_keys(database).keys
        return
    with pytest.raises(SecretUnavailable, match="can be changed by other users"):
        load_keys(database)


def test_key_file_that_is_named_may_not_be_written_by_a_group(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_key_file(path, [new_key()], replace=True)
    path.chmod(0o660)
    settings = Settings.read({"OLLAMA_ADMIN_SECRET_KEY_FILE": str(path)})
    with pytest.raises(SecretUnavailable, match="can be changed by other users"):
        load_keys(settings)


# what is no file


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "socket"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mknod(path, stat.S_IFSOCK | 0o600)
    with pytest.raises(InvalidInput, match=r"is not a regular file|cannot be read"):
        read_regular_file(path, 100)


async def test_files_of_secrets_are_read_beside_the_event_loop(token: Path) -> None:
    threads = []

    def watched(value: Secret | Reference, environ: Mapping[str, str]) -> Secret:
        threads.append(threading.current_thread())
        return resolve(value, environ)

    def no_vault(*, create: bool) -> Vault:
        raise AssertionError("nothing is stored here")

    auth = UpstreamAuth(no_vault, watched, {})
    credentials = Auth(headers={"X-Key": Reference.parse(f"file:{token}")})
    target = await auth.dynamic(server_url("http://gpu"), credentials)
    assert target.headers == {"X-Key": Secret("hunter2")}
    assert threading.main_thread() not in threads


async def test_the_key_is_read_beside_the_event_loop_where_rows_are_shown(tmp_path: Path) -> None:
    threads = []
    url = f"sqlite:///{tmp_path / 'one.db'}"
    async with Client(database_url=url, environ={}) as client:
        await client.servers.add(name="gpu", url="http://gpu", headers={"X-Key": "hunter2"})
        row = await client._resources.db.read(store.find, "gpu")

        def open_vault(*, create: bool) -> Vault:
            threads.append(threading.current_thread())
            return client._resources._open_vault(create=create)

        auth = UpstreamAuth(open_vault, resolve, {})
        (shown,) = await auth.masked([row])
    assert shown.headers == {"X-Key": MASK}
    assert len(threads) == 1
    assert threading.main_thread() not in threads


def test_path_with_a_nul_is_no_path() -> None:
    with pytest.raises(InvalidInput, match="is not a path"):
        read_regular_file(Path("a\0b"), 100)


def test_file_is_read_up_to_its_limit(token: Path) -> None:
    assert read_regular_file(token, 8).data == b"hunter2\n"
    with pytest.raises(InvalidInput, match="is longer than"):
        read_regular_file(token, 7)


@pytest.mark.parametrize("mode", [0o644, 0o666], ids=oct)
async def test_ca_file_that_others_can_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes((Path(__file__).parents[1] / "ollama" / "self_signed.pem").read_bytes())
    path.chmod(mode)
    http = HTTP(Times(), ca_file=path)
    if mode == 0o644:
        assert http._certificates.get_ca_certs()
        return
    with pytest.raises(InvalidInput, match=r"the CA file .* \(mode 0666\) can be changed"):
        _ = http._certificates


@pytest.mark.parametrize("option", ["--image", "--format", "--secret-ref"])
def test_no_command_waits_for_a_fifo(tmp_path: Path, option: str) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    database = f"sqlite:///{tmp_path / 'one.db'}"
    words = ["generate", "hi", "--model", "alpha", "--server-url", "127.0.0.1:9", "--no-verify"]
    words += [option, str(fifo)]
    if option == "--secret-ref":
        words[-1] = f"file:{fifo}"
        words += ["--auth", "bearer"]
    ran = subprocess.run(
        [sys.executable, "-m", "ollama_admin", "--database-url", database, *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=50,
    )
    assert ran.returncode in (2, 5), ran.stderr
    assert f"{fifo} is not a regular file" in ran.stderr
