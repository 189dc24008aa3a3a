"""A registry of scale, written by the fastest means of each database into the schema of the
migrations.

Every server holds 100 models: one that all of them hold, and 99 that exactly ten servers hold,
which are far apart. The rest of a row is the same everywhere. Each server has been used before: it
has a slot.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

import psycopg

from ollama_admin.domain.names import model_key
from ollama_admin.settings import Settings
from ollama_admin.simulator.model import derive_digest
from ollama_admin.store.migrations import upgrade

EVERYWHERE = "all:latest"  # the name that all servers hold, as one build
HOLDERS = 10  # servers of any other name
NAMES = 99  # other names on a server
FAMILIES = (
    "qwen3",
    "llama3",
    "gemma3",
    "mistral",
    "phi4",
    "granite",
    "deepseek",
    "olmo",
    "falcon",
    "command",
)

_TIME = "2026-01-01 00:00:00.000000"
_SERVER = {
    "api_version": "native",
    "capabilities": "[]",
    "max_concurrent": "4",
    "auth_config": "{}",
    "headers": "{}",
    "status": "online",
    "version": "0.33.0",
    **dict.fromkeys(("last_seen_at", "last_discovered_at", "created_at", "updated_at"), _TIME),
}
_MODEL = {
    "size": "5225388164",
    "format": "gguf",
    "family": "llama",
    "families": json.dumps(["llama"]),
    "parameter_size": "8.2B",
    "quantization_level": "Q4_K_M",
    "context_length": "40960",
    "embedding_length": "4096",
    "capabilities": json.dumps(["completion", "tools"]),
    **dict.fromkeys(("modified_at", "first_seen_at", "last_seen_at"), _TIME),
}
_SERVER_COLUMNS = ("id", "name", "name_key", "url")
_MODEL_COLUMNS = ("server_id", "name", "name_key", "digest")
_SLOT_COLUMNS = ("server_id", "slot")


@dataclass(frozen=True)
class Registry:
    """Which server holds what. `servers` is a multiple of HOLDERS; ids begin with 1."""

    servers: int

    @property
    def models(self) -> int:
        return self.servers * (1 + NAMES)

    @property
    def groups(self) -> int:
        """Servers whose number leaves the same rest hold the same names."""
        return self.servers // HOLDERS

    @cached_property
    def held(self) -> list[list[tuple[str, str, str]]]:
        """Name, key and digest of what the servers of each group hold."""
        return [
            [_model(EVERYWHERE), *map(_model, self.names(group))] for group in range(self.groups)
        ]

    def names(self, group: int) -> Iterator[str]:
        """The names that ten servers hold: of ten in a row, each is of another family."""
        numbers = range(group * NAMES, (group + 1) * NAMES)
        return (f"{FAMILIES[number % len(FAMILIES)]}-{number}:8b" for number in numbers)

    def server_rows(self) -> Iterator[tuple[int, str, str, str]]:
        for number in range(1, self.servers + 1):
            name = f"server-{number:05}"
            yield number, name, name, f"http://10.0.{number // 256}.{number % 256}:11434"

    def model_rows(self) -> Iterator[tuple[int, str, str, str]]:
        for server in range(self.servers):
            for name, key, digest in self.held[server % self.groups]:
                yield server + 1, name, key, digest

    def slot_rows(self) -> Iterator[tuple[int, int]]:
        return ((number, 1) for number in range(1, self.servers + 1))


def build(registry: Registry, database_url: str) -> None:
    """Fill an empty database."""
    settings = Settings.read({}, database_url)
    upgrade(settings)
    if settings.is_postgresql:
        _build_postgresql(registry, database_url)
    else:
        _build_sqlite(registry, str(settings.sqlite_path))


def _model(name: str) -> tuple[str, str, str]:
    return name, model_key(name), derive_digest(name, "")


def _build_sqlite(registry: Registry, path: str) -> None:
    """Plain indexes are made at the end, which is faster than to keep them up to date."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = "
            "'ollama_models' AND sql > ''"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        _insert(connection, "ollama_servers", _SERVER_COLUMNS, _SERVER, registry.server_rows())
        _insert(connection, "ollama_models", _MODEL_COLUMNS, _MODEL, registry.model_rows())
        _insert(connection, "ollama_slots", _SLOT_COLUMNS, {}, registry.slot_rows())
        for _, statement in indexes:
            connection.execute(statement)
        connection.execute("COMMIT")
        connection.execute("ANALYZE")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _insert(
    connection: sqlite3.Connection,
    table: str,
    columns: tuple[str, ...],
    same: Mapping[str, str],
    rows: Iterable[tuple[object, ...]],
) -> None:
    into = ", ".join((*columns, *same))
    values = ", ".join(("?",) * len(columns) + tuple(f"'{value}'" for value in same.values()))
    connection.executemany(f"INSERT INTO {table} ({into}) VALUES ({values})", rows)


def _build_postgresql(registry: Registry, url: str) -> None:
    """Foreign keys are not checked: the rows are right. At the end all is as autovacuum would leave
    it.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET maintenance_work_mem = '256MB'")
        with connection.transaction():
            indexes = connection.execute(
                "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'ollama_models'"
                " AND indexname NOT IN (SELECT conname FROM pg_constraint)"
            ).fetchall()
            for name, _ in indexes:
                connection.execute(f"DROP INDEX {name}")
            connection.execute("TRUNCATE ollama_models")
            _copy(connection, "ollama_servers", _SERVER_COLUMNS, _SERVER, registry.server_rows())
            _copy(
                connection,
                "ollama_models",
                _MODEL_COLUMNS,
                _MODEL,
                registry.model_rows(),
                "(FREEZE)",
            )
            _copy(connection, "ollama_slots", _SLOT_COLUMNS, {}, registry.slot_rows())
            for _, statement in indexes:
                connection.execute(statement)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _copy(
    connection: psycopg.Connection,
    table: str,
    columns: tuple[str, ...],
    same: Mapping[str, str],
    rows: Iterable[tuple[object, ...]],
    options: str = "",
) -> None:
    into = ", ".join((*columns, *same))
    end = "".join(f"\t{value}" for value in same.values()) + "\n"
    with connection.cursor().copy(f"COPY {table} ({into}) FROM STDIN {options}") as copying:
        for row in rows:
            copying.write("\t".join(map(str, row)) + end)
