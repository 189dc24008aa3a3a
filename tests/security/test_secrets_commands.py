"""`ollama-admin secrets ...`: the state of the key is told, and changing it loses nothing, however
it ends.
"""

import asyncio
import re
import shutil
import stat
from pathlib import Path

import psycopg
import pytest
from cryptography.fernet import Fernet

from ollama_admin.client import Client
from ollama_admin.domain.secret import Secret
from ollama_admin.errors import SecretUnavailable
from ollama_admin.vault import Keys, Vault, new_key
from tests.cli.conftest import Serve, Spawn
from tests.cli.running import Cli, Process
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread
from tests.security.dying import Rotations
from tests.security.rows import execute, store, stored

GPU = "http://127.0.0.2:11434"  # nobody is asked there
KEY = "OLLAMA_ADMIN_SECRET_KEY"
WAITING = """SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"""
KEYS = {"key_source", "keys", "secrets", "stale", "unreadable", "problem"}


def add(cli: Cli, name: str = "gpu", url: str = GPU) -> None:
    """A server with two secrets: a token and a header."""
    options = ["--auth", "bearer", "--secret-stdin", "--header", "X-A=hunter3", "--no-check"]
    assert cli("server", "add", name, url, *options, stdin="hunter2").exit_code == 0


def sends_its_secrets(cli: Cli, fake: FakeOllamaThread) -> bool:
    ran = cli("server", "check", "gpu")
    sent = fake.requests()[-1].headers if ran.exit_code == 0 else {}
    return (sent.get("authorization"), sent.get("x-a")) == ("Bearer hunter2", "hunter3")


def own_keys() -> list[str]:
    return Path("one.db.key").read_text().split()


# status


@pytest.mark.usefixtures("key")
def test_status_tells_how_many_secrets_the_key_opens(cli: Cli) -> None:
    told = cli.json("secrets", "status").data
    assert told.keys() == KEYS
    assert told == {
        "key_source": KEY,
        "keys": 1,
        "secrets": 0,
        "stale": 0,
        "unreadable": [],
        "problem": None,
    }
    add(cli)
    assert cli.json("secrets", "status").data == told | {"secrets": 2}


@pytest.mark.usefixtures("key")
def test_status_is_one_fact_a_line(cli: Cli) -> None:
    add(cli)
    ran = cli("secrets", "status")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert [line.split(maxsplit=1)[0] for line in ran.stdout.splitlines()] == [
        *("key", "keys", "secrets", "stale", "unreadable", "problem")
    ]
    assert "hunter" not in ran.stdout


def test_status_names_the_key_file_of_an_sqlite_database(sqlite_cli: Cli, tmp_path: Path) -> None:
    assert sqlite_cli("secrets", "status").exit_code == 0  # nothing is stored, so no key is missed
    add(sqlite_cli)
    assert sqlite_cli.json("secrets", "status").data["key_source"] == str(tmp_path / "one.db.key")


@pytest.mark.usefixtures("key")
def test_status_counts_what_is_under_an_older_key(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    add(cli)
    monkeypatch.setenv(KEY, f"{new_key().reveal()},{key}")
    told = cli.json("secrets", "status").data
    assert (told["keys"], told["stale"], told["unreadable"]) == (2, 2, [])


@pytest.mark.parametrize(
    "change", ["another key", "no key", "an empty one", "no key at all", "both"]
)
def test_status_is_5_and_names_the_servers_when_secrets_cannot_be_read(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, key: str, change: str
) -> None:
    add(cli)
    cli("server", "add", "open", "http://127.0.0.3", "--no-check")
    values = {"another key": new_key().reveal(), "an empty one": "", "no key at all": "hunter2"}
    if change == "both":
        monkeypatch.setenv("OLLAMA_ADMIN_SECRET_KEY_FILE", "key")
    elif change in values:
        monkeypatch.setenv(KEY, values[change])
    else:
        monkeypatch.delenv(KEY)
    ran = cli("-o", "json", "secrets", "status")
    assert ran.exit_code == 5
    assert '"unreadable": [\n    "gpu"\n  ]' in ran.stdout
    assert ran.stderr == ""
    assert cli("secrets", "status").exit_code == 5
    assert "hunter2" not in ran.stdout


@pytest.mark.usefixtures("key")
def test_status_finds_a_secret_that_was_moved_or_changed(cli: Cli, database_url: str) -> None:
    add(cli)
    add(cli, "two", "http://127.0.0.3:11434")
    config, _ = stored(database_url, "gpu")
    store(database_url, "two", config)
    assert '"unreadable": [\n    "two"\n  ]' in cli("-o", "json", "secrets", "status").stdout
    store(
        database_url,
        "two",
        {"token": "\ud800"} if database_url.startswith("sqlite") else {"token": "x"},
    )
    assert cli("secrets", "status").exit_code == 5


# generate-key


def test_a_generated_key_is_printed_and_stored_nowhere(sqlite_cli: Cli, tmp_path: Path) -> None:
    keys = [
        sqlite_cli("secrets", "generate-key").stdout,
        sqlite_cli.json("secrets", "generate-key").data["key"],
    ]
    assert keys[0].endswith("\n")
    assert len({key.strip() for key in keys}) == 2
    for key in keys:
        Fernet(key.strip())
    assert not list(tmp_path.glob("*.key"))


def test_a_key_is_generated_without_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", "postgresql://u@127.0.0.1:9/none")
    assert re.fullmatch(r"[\w-]{43}=\n", Cli()("secrets", "generate-key").stdout)


# rotate, with keys in the environment


def test_after_a_rotation_the_older_key_can_go(
    cli: Cli, serve: Serve, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    fake, newest = serve("alpha"), new_key().reveal()
    add(cli, url=fake.url)
    monkeypatch.setenv(KEY, f"{newest},{key}")
    assert sends_its_secrets(cli, fake)
    told = cli.json("secrets", "rotate").data
    assert told == {
        "key_source": KEY,
        "keys": 2,
        "secrets": 2,
        "stale": 0,
        "unreadable": [],
        "problem": None,
    }
    monkeypatch.setenv(KEY, newest)
    assert sends_its_secrets(cli, fake)
    monkeypatch.setenv(KEY, key)
    assert cli.json("server", "check", "gpu").failure == (5, "secret_unavailable")


def sealed_values(database_url: str) -> list[str]:
    config, headers = stored(database_url, "gpu")
    return [*config.values(), *headers.values()]


def content(database_url: str) -> str:
    """The bytes of an SQLite database with its log, or the rows of PostgreSQL."""
    if database_url.startswith("sqlite"):
        path = Path(database_url.removeprefix("sqlite:///"))
        return "".join(
            file.read_bytes().decode("latin-1") for file in path.parent.glob(f"{path.name}*")
        )
    return str(execute(database_url, "SELECT * FROM ollama_servers"))


@pytest.mark.parametrize("change", ["rotation", "update", "removal"])
def test_nothing_that_an_older_key_opens_stays_in_the_database(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, key: str, database_url: str, change: str
) -> None:
    add(cli)
    before = sealed_values(database_url)
    assert [value for value in before if value in content(database_url)] == before
    monkeypatch.setenv(KEY, f"{new_key().reveal()},{key}")
    words = {
        "rotation": ["secrets", "rotate"],
        "update": ["server", "update", "gpu", "--secret-stdin", "--header", "X-A=other"],
        "removal": ["server", "remove", "gpu", "--yes"],
    }
    assert cli(*words[change], stdin="another").exit_code == 0
    assert [value for value in before if value in content(database_url)] == []


def test_rotation_keeps_user_names_references_and_where_secrets_belong(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, key: str, database_url: str
) -> None:
    options = [
        "--auth",
        "basic",
        "--username",
        "u",
        "--secret-ref",
        "env:GPU_TOKEN",
        "--header",
        "X-A=1",
    ]
    before = cli.json("server", "add", "gpu", GPU, "--no-check", *options).data
    sealed = stored(database_url, "gpu")
    monkeypatch.setenv(KEY, f"{new_key().reveal()},{key}")
    assert cli("secrets", "rotate").exit_code == 0
    after = cli.json("server", "show", "gpu").data
    assert {name for name in before if before[name] != after[name]} <= {"updated_at"}
    again = stored(database_url, "gpu")
    assert again[0]["username"] == "u"
    assert again[0]["password"] != sealed[0]["password"]
    assert again[1]["X-A"] != sealed[1]["X-A"]


def test_rotation_that_meets_a_secret_it_cannot_read_changes_nothing(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, key: str, database_url: str
) -> None:
    add(cli)
    add(cli, "two", "http://127.0.0.3:11434")
    store(database_url, "two", {"token": "broken"})
    before = stored(database_url, "gpu")
    monkeypatch.setenv(KEY, f"{new_key().reveal()},{key}")
    ran = cli.json("secrets", "rotate")
    assert ran.failure == (5, "secret_unavailable")
    assert ran.error["message"].startswith("server two: ")
    assert "server update S --secret-stdin" in ran.error["hint"]
    assert stored(database_url, "gpu") == before


def test_rotation_without_a_key_is_5(cli: Cli, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    add(cli)
    monkeypatch.delenv(KEY)
    assert cli.json("secrets", "rotate").failure == (5, "secret_unavailable")


def test_rotation_killed_at_any_step_loses_nothing(
    cli: Cli, serve: Serve, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    fake = serve("alpha")
    add(cli, url=fake.url)
    monkeypatch.setenv(KEY, f"{new_key().reveal()},{key}")
    killed = killed_at_every_step(cli, fake)
    assert killed > 3
    assert cli.json("secrets", "status").data["stale"] == 0


async def test_rotation_keeps_a_secret_that_is_changed_meanwhile(
    migrated_postgres_url: str, fake: FakeOllama
) -> None:
    old, new = new_key(), new_key()
    environ = {KEY: f"{new.reveal()},{old.reveal()}"}
    seal = Vault(Keys(source="the test", keys=(old,))).seal
    async with Client(database_url=migrated_postgres_url, environ=environ) as client:
        await client.servers.add(
            name="gpu", url=fake.url, auth_type="bearer", auth_config={"token": "old"}
        )
        with (
            psycopg.connect(migrated_postgres_url) as writer,
            psycopg.connect(migrated_postgres_url) as watcher,
        ):
            changed = seal(Secret("changed"), fake.url)
            writer.execute(
                "UPDATE ollama_servers SET auth_config = jsonb_build_object('token', %s::text)",
                [changed],
            )
            rotation = asyncio.create_task(client.secrets.rotate())
            while not rotation.done() and watcher.execute(WAITING).fetchone() == (0,):
                watcher.rollback()
                await asyncio.sleep(0)
            writer.commit()
            await rotation
        await client.servers.check(["gpu"])
    assert fake.requests[0].headers["authorization"] == "Bearer changed"


# rotate, with the key file of an SQLite database


def test_rotation_of_the_own_key_file_makes_a_new_key_and_forgets_the_old_one(
    sqlite_cli: Cli, serve: Serve
) -> None:
    fake = serve("alpha")
    add(sqlite_cli, url=fake.url)
    before = own_keys()
    told = sqlite_cli.json("secrets", "rotate").data
    assert (told["keys"], told["secrets"], told["stale"], told["unreadable"]) == (1, 2, 0, [])
    assert len(own_keys()) == 1
    assert own_keys() != before
    assert stat.S_IMODE(Path("one.db.key").stat().st_mode) == 0o600
    assert sends_its_secrets(sqlite_cli, fake)
    Path("one.db.key").write_text(before[0])
    assert sqlite_cli.json("server", "check", "gpu").failure == (5, "secret_unavailable")


def test_rotation_of_the_own_key_file_that_fails_leaves_the_file_as_it_was(sqlite_cli: Cli) -> None:
    add(sqlite_cli)
    before = own_keys()
    store(f"sqlite:///{Path('one.db').absolute()}", "gpu", {"token": "broken"})
    assert sqlite_cli.json("secrets", "rotate").failure == (5, "secret_unavailable")
    assert own_keys() == before


def test_rotation_of_the_own_key_file_killed_at_any_step_loses_nothing(
    sqlite_cli: Cli, serve: Serve
) -> None:
    fake = serve("alpha")
    add(sqlite_cli, url=fake.url)
    assert killed_at_every_step(sqlite_cli, fake) > 8
    assert len(own_keys()) == 1


def test_rotations_at_once_lose_nothing(sqlite_cli: Cli, serve: Serve, spawn: Spawn) -> None:
    fake = serve("alpha")
    add(sqlite_cli, url=fake.url)
    rotations = [spawn("secrets", "rotate") for _ in range(3)]
    assert {process.ended().exit_code for process in rotations} == {0}
    assert len(own_keys()) == 1
    assert sends_its_secrets(sqlite_cli, fake)


def test_secrets_that_are_stored_during_a_rotation_can_be_read(
    sqlite_cli: Cli, spawn: Spawn
) -> None:
    add(sqlite_cli)

    def stored_by(number: int) -> Process:
        options = ["--auth", "bearer", "--secret-stdin", "--no-check"]
        return spawn(
            "server", "add", f"s{number}", f"http://127.0.1.{number}", *options, stdin=b"hunter2"
        )

    processes = [
        process
        for number in range(2)
        for process in (spawn("secrets", "rotate"), stored_by(number))
    ]
    assert {process.ended().exit_code for process in processes} == {0}
    told = sqlite_cli.json("secrets", "status").data
    assert (told["secrets"], told["stale"], told["unreadable"]) == (4, 0, [])


async def test_a_client_that_is_open_sees_the_key_of_a_rotation_elsewhere(
    migrated_sqlite_file: Path, tmp_path: Path, fake: FakeOllama
) -> None:
    url = f"sqlite:///{shutil.copy(migrated_sqlite_file, tmp_path / 'one.db')}"
    async with (
        Client(database_url=url, environ={}) as here,
        Client(database_url=url, environ={}) as elsewhere,
    ):
        await here.servers.add(
            name="gpu", url=fake.url, auth_type="bearer", auth_config={"token": "hunter2"}
        )
        await elsewhere.secrets.rotate()
        await here.servers.check(["gpu"])
        await here.servers.add(
            name="two", url=GPU, auth_type="bearer", auth_config={"token": "hunter2"}
        )
        assert (await elsewhere.secrets.status()).unreadable == ()
        Path("one.db.key").unlink()
        with pytest.raises(SecretUnavailable):
            await here.generate(prompt="hi", server="gpu", model="alpha")
    assert [request.headers["authorization"] for request in fake.requests] == ["Bearer hunter2"]


def killed_at_every_step(cli: Cli, fake: FakeOllamaThread) -> int:
    """Kill rotations at their first step, their second and so on; all secrets are there after each.
    How many died.
    """
    with Rotations() as rotations:
        step = 0
        while (ended := rotations.dying_at(step)) == -9:
            assert cli.json("secrets", "status").data["unreadable"] == [], step
            assert sends_its_secrets(cli, fake), step
            step += 1
        assert ended == 0
    assert sends_its_secrets(cli, fake)
    return step
