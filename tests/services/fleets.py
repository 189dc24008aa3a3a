"""Fleets for the tests of fleet files: written to a database at random, or of a size."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, select, update

from ollama_admin.client import Client
from ollama_admin.domain.keys import Right
from ollama_admin.domain.names import model_key, server_key
from ollama_admin.domain.secret import Reference
from ollama_admin.store import pins as store_pins
from ollama_admin.store.tables import keys, models, pins, servers

NOW = datetime(2026, 11, 1, 12, 30, 5, 123456, tzinfo=UTC)
OWNERS = st.sampled_from([None, "team", "other"])
# what YAML readers have stumbled over, and names of every script
ODD = [
    "no",
    "on",
    "NULL",
    "~",
    "1e12",
    "12:30:00",
    "0x1f",
    "a: b",
    "# c",
    "é",
    "日本",
    "😀",
    "'",
    '"',
]
WORDS = st.sampled_from(ODD) | st.text(min_size=1, max_size=12).filter(
    lambda text: text.isprintable() and text.strip() == text and not text.startswith("-")
)
NAMES = WORDS.filter(lambda text: not text.isdecimal()).map(server_key)
LABELS = st.dictionaries(st.sampled_from(["gpu", "no", "1e3", "a/b"]), WORDS, max_size=2)
DIGESTS = st.sampled_from(["1e" + "0" * 62, "ab" * 32, "123456789012" + "f" * 52])
SECRETS = st.sampled_from(
    [Reference(kind="env", name="TOKEN"), Reference(kind="file", name="/run/a: b"), "stored secret"]
)
AUTH = st.none() | st.one_of(
    SECRETS.map(lambda secret: ("bearer", {"token": secret})),
    SECRETS.map(lambda secret: ("basic", {"username": "no", "password": secret})),
    SECRETS.map(lambda secret: ("api_key", {"header_name": "X-Key", "key": secret})),
)
SERVERS = st.fixed_dictionaries(
    {
        "columns": st.fixed_dictionaries(
            {
                "api_version": st.sampled_from(["native", "v1"]),
                "capabilities": st.lists(WORDS, max_size=2, unique=True),
                "max_concurrent": st.integers(1, 2**31 - 1),
                "priority": st.integers(-5, 5),
                "is_active": st.booleans(),
                "default_model": st.none() | WORDS,
                "labels": LABELS,
                "ca_file": st.sampled_from([None, "/etc/ssl/a: b.pem"]),
                "proxy": st.sampled_from([None, "http://proxy:3128"]),
            }
        ),
        "auth": AUTH,
        "headers": st.dictionaries(st.sampled_from(["X-A", "X-B"]), SECRETS, max_size=2),
        "owner": OWNERS,
        "models": st.dictionaries(WORDS, st.none() | DIGESTS, max_size=3),
    }
)
KEYS = st.fixed_dictionaries(
    {
        "columns": st.fixed_dictionaries(
            {
                "can": st.lists(st.sampled_from(list(Right)), min_size=1, max_size=2),
                "models": st.lists(WORDS, max_size=2),
                "networks": st.sampled_from([[], ["10.0.0.0/8", "::1/128"]]),
                "allow_remote": st.booleans(),
                "weight": st.integers(1, 9),
                "tokens_per_day": st.none() | st.integers(1, 2**63 - 1),
                "expires_at": st.none() | st.just(NOW),
                "note": st.none() | WORDS,
            }
        ),
        "owner": OWNERS,
        "is_active": st.booleans(),
    }
)
FLEETS = st.fixed_dictionaries(
    {
        "servers": st.dictionaries(NAMES, SERVERS, max_size=4),
        "default": st.booleans(),
        "pins": st.dictionaries(WORDS, st.tuples(DIGESTS, OWNERS), max_size=2),
        "keys": st.dictionaries(NAMES, KEYS, max_size=2),
    }
)


def wipe(connection: Connection) -> None:
    """Leave no row of a fleet."""
    for table in (models, servers, pins, keys):
        connection.execute(delete(table))


async def write(client: Client, fleet: dict[str, Any]) -> None:
    """Write a fleet over the one that is there."""
    db = client._resources.db
    await db.write(wipe)
    for number, (name, server) in enumerate(fleet["servers"].items()):
        kind, config = server["auth"] or (None, None)
        await client.servers.add(
            name=name,
            url=f"https://host{number}",
            auth_type=kind,
            auth_config=config,
            headers=server["headers"],
            is_default=fleet["default"] and number == 0,
            **server["columns"],
        )
    for name, key in fleet["keys"].items():
        await client.keys.add(name=name, **key["columns"])
    await db.write(_write_the_rest, fleet)


def _write_the_rest(connection: Connection, fleet: dict[str, Any]) -> None:
    for name, server in fleet["servers"].items():
        its = servers.c.name_key == server_key(name)
        connection.execute(update(servers).where(its).values(managed_by=server["owner"]))
        server_id = connection.scalar(select(servers.c.id).where(its))
        hold(connection, server_id, server["models"].items())
    for name, key in fleet["keys"].items():
        values = {"managed_by": key["owner"], "is_active": key["is_active"]}
        its = keys.c.name_key == server_key(name)
        connection.execute(update(keys).where(its).values(values))
    for name, (digest, owner) in fleet["pins"].items():
        store_pins.put(connection, name, digest, owner)


def hold(
    connection: Connection, server_id: int | None, held: Iterable[tuple[str, str | None]]
) -> None:
    """Have a server list models, as discovery would have found them."""
    rows = [
        {
            "server_id": server_id,
            "name": name,
            "name_key": model_key(name),
            "digest": digest,
            "is_available": True,
            "first_seen_at": NOW,
            "last_seen_at": NOW,
        }
        for name, digest in held
    ]
    if rows:
        connection.execute(insert(models), rows)


def large_file(server_count: int, model_count: int) -> str:
    """A file that wants each of the models on each of the servers."""
    names = [f"gpu-{number}" for number in range(server_count)]
    lines = ["version: 1", "owner: team", "servers:"]
    for number, name in enumerate(names):
        lines += [
            f"  - name: {name}",
            f"    url: http://10.0.{number // 250}.{number % 250 + 1}",
            f"    labels: {{room: r{number % 7}}}",
        ]
    lines.append("models:")
    for model in range(model_count):
        lines += [f"  - name: model-{model}", "    servers:"]
        lines += [f"      - {name}" for name in names]
    return "\n".join(lines) + "\n"


def hold_everywhere(connection: Connection, model_count: int) -> None:
    """Have each server list what `large_file` wants of it."""
    held = [(f"model-{model}:latest", "ab" * 32) for model in range(model_count)]
    for server_id in connection.scalars(select(servers.c.id)).all():
        hold(connection, server_id, held)
