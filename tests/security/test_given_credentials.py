"""Credentials that cannot be used change no row, and those of a legacy URL leave it, on both
databases.
"""

import base64
from pathlib import Path
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.errors import InvalidInput
from tests.fake_ollama import FakeOllama
from tests.security.rows import execute, stored

GOOD: dict[str, Any] = {
    "auth_type": "basic",
    "auth_config": {"username": "u", "password": "hunter2"},
}
BAD: dict[str, dict[str, Any]] = {
    "no token": {"auth_type": "bearer"},
    "a colon in the user": {
        "auth_type": "basic",
        "auth_config": {"username": "a:b", "password": "p"},
    },
    "an unknown key": {"auth_type": "bearer", "auth_config": {"token": "t", "scope": "all"}},
    "an unknown kind": {"auth_type": "digest", "auth_config": {"token": "t"}},
    "a line break": {"auth_type": "bearer", "auth_config": {"token": "t\r\nX-Evil: 1"}},
    "NUL": {"headers": {"X-A": "t\0"}},
    "no latin-1": {"auth_type": "api_key", "auth_config": {"key": "ключ"}},
    "a space before": {"auth_type": "bearer", "auth_config": {"token": " t"}},
    "a header of HTTP itself": {"headers": {"Transfer-Encoding": "chunked"}},
}


@pytest.mark.parametrize("given", BAD.values(), ids=BAD)
async def test_credentials_that_cannot_be_used_change_no_row(
    client: Client, database_url: str, given: dict[str, Any]
) -> None:
    await client.servers.add(name="gpu", url="http://127.0.0.2:9", **GOOD)
    before = stored(database_url, "gpu")
    with pytest.raises(InvalidInput):
        await client.servers.update("gpu", priority=9, **given)
    with pytest.raises(InvalidInput):
        await client.servers.add(name="new", url="http://127.0.0.3:9", **given)
    assert stored(database_url, "gpu") == before
    assert execute(database_url, "SELECT name, priority FROM ollama_servers") == [("gpu", 0)]


async def test_user_and_password_of_an_imported_url_are_stored_apart_and_sealed(
    client: Client, database_url: str, fake: FakeOllama, tmp_path: Path
) -> None:
    env = tmp_path / "old.env"
    env.write_text(f"OLLAMA_HOST={fake.url.replace('://', '://me:hunter%202@')}\n")
    result = await client.import_env([env])
    assert ("auth_config.password", "new") in [
        (entry.field, entry.state) for entry in result.entries
    ]
    assert execute(database_url, "SELECT url, auth_type FROM ollama_servers") == [
        (fake.url, "basic")
    ]
    config, _ = stored(database_url, "ollama")
    assert config["username"] == "me"
    assert "hunter" not in str(execute(database_url, "SELECT * FROM ollama_servers"))
    await client.servers.check()
    assert (
        fake.requests[0].headers["authorization"]
        == "Basic " + base64.b64encode(b"me:hunter 2").decode()
    )


async def test_variables_that_are_not_understood_are_listed_and_every_one_is_counted(
    client: Client, tmp_path: Path
) -> None:
    env = tmp_path / "old.env"
    env.write_text(
        "OLLAMA_HOST=http://a\nOLLAMA_ODD=1\nMY_OLLAMA_THING=2\nOLLAMA_KEEP_ALIVE=5m\nPATH=x\nHOME=y\n"
    )
    first = (await client.import_env([env])).counts
    assert (first.seen, first.imported, first.unknown, first.unrelated) == (6, 1, 2, 2)
    for _ in range(2):
        result = await client.import_env([env])
        counts = result.counts
        parts = (
            counts.imported,
            counts.conflicts,
            counts.skipped,
            counts.unknown,
            counts.unrelated,
        )
        assert sum(parts) == counts.seen == 6
        assert {"OLLAMA_ODD", "MY_OLLAMA_THING"} <= {entry.variable for entry in result.entries}
