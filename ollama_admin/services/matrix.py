"""The catalogue as a matrix of names and servers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ollama_admin.domain.callers import Rights
from ollama_admin.domain.matrix import ModelLine, ModelMatrix
from ollama_admin.domain.names import model_key
from ollama_admin.domain.servers import Server
from ollama_admin.store import matrix as store
from ollama_admin.store import pins as store_pins
from ollama_admin.store import servers as store_servers


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixPage:
    """Which part of the matrix: names that have `model` in them, or `name` alone, and servers that
    have `server`, from an offset on, so many of each. Names at these servers alone are shown where
    some are meant.
    """

    model: str = ""
    name: str | None = None
    server: str = ""
    first_name: int = 0
    names: int = 50
    first_server: int = 0
    servers: int = 10


def read(connection: Any, page: MatrixPage, rights: Rights) -> ModelMatrix:
    """A page of the matrix, of what may be asked. An offset behind the end is the last page."""
    columns = _columns(connection, page, rights)
    ids, key = None, None
    if page.server or rights.servers:
        ids = [server.id for server in columns]
    if page.name is not None:
        key = model_key(page.name)
    wanted = page.model.casefold()
    rows = [
        row
        for row in store.names(connection, ids, key)
        if wanted in row[1].casefold() and rights.may_ask_model(row[1])
    ]
    return ModelMatrix(
        servers=_part(columns, page.first_server, page.servers),
        lines=_lines(connection, _part(rows, page.first_name, page.names)),
        names=len(rows),
        servers_in_all=len(columns),
    )


def _columns(connection: Any, page: MatrixPage, rights: Rights) -> list[Server]:
    wanted = page.server.casefold()
    return [
        server
        for server in store_servers.all_servers(connection, inactive=False)
        if wanted in server.name.casefold() and rights.may_ask_server(server)
    ]


def _lines(connection: Any, rows: Sequence[tuple[str, str]]) -> list[ModelLine]:
    digests = store.digests(connection, [key for key, _ in rows])
    pinned = store_pins.digests(connection)
    return [_line(name, digests.get(key, {}), pinned.get(key)) for key, name in rows]


def _line(name: str, digests: Mapping[int, str | None], pinned: str | None) -> ModelLine:
    counts = Counter(digest for digest in digests.values() if digest)
    builds = sorted(counts, key=lambda digest: (-counts[digest], digest))
    return ModelLine(name=name, digests=digests, builds=builds, pinned=pinned)


def _part(items: Sequence[Any], first: int, count: int) -> Sequence[Any]:
    """So many items from an offset on, which is a multiple of their number."""
    last = max(0, (len(items) - 1) // count * count)
    first = min(first, last)
    return items[first : first + count]
