"""The catalogue of models as discovery left it."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

from ollama_admin.domain.callers import Rights
from ollama_admin.domain.matrix import ModelMatrix
from ollama_admin.domain.models import Model, ModelGroup, ModelHolder
from ollama_admin.domain.names import ModelName, is_glob, model_key
from ollama_admin.domain.servers import has_capability
from ollama_admin.errors import InvalidInput
from ollama_admin.rules import arguments
from ollama_admin.rules.likeness import nearest
from ollama_admin.services.matrix import MatrixPage
from ollama_admin.services.matrix import read as read_matrix
from ollama_admin.services.targets import Targets
from ollama_admin.store import models as store
from ollama_admin.store import pins as store_pins
from ollama_admin.store.database import Database
from ollama_admin.store.servers import find_ref

PAGE = 1000  # rows that are read at once

Run = list[store.ModelEntry]  # rows that have a key in common


class Models:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def list(
        self,
        servers: Sequence[int | str] = (),
        *,
        labels: Sequence[str] = (),
        name: str | None = None,
        capability: str | None = None,
        all: bool = False,
    ) -> list[Model]:
        """Available models of the servers (default: the active ones), or of those with each of the
        `labels`; `all` adds vanished models and inactive servers.

        `name` is a glob (`qwen*`); without a wildcard it is a name, and its tag may be left out.
        """
        batches = self.stream(servers, labels=labels, name=name, capability=capability, all=all)
        return [model async for batch in batches for model in batch]

    async def names(self, beginning: str = "") -> Sequence[str]:
        """The names that begin so, of available models."""
        return await self._db.read(store.names, beginning)

    async def capabilities(self) -> Sequence[str]:
        """What models and servers are good for, each word once."""
        return sorted(await self._db.read(store.capabilities))

    async def knows(self, name: str) -> bool:
        """Whether some server lists a model that this name means; a glob is no name."""
        rows, _ = await self._db.read(store.named, ModelName.parse(name))
        return bool(rows)

    async def near(self, name: str) -> Sequence[str]:
        """Names of models that look like this one, the nearest first."""
        known = await self._db.read(store.similar_names, name)
        return await asyncio.to_thread(nearest, name, known)

    async def matrix(self, page: MatrixPage, rights: Rights) -> ModelMatrix:
        """Names beside active servers, a page at a time."""
        return await self._db.read(read_matrix, page, rights)

    async def stream(
        self,
        servers: Sequence[int | str] = (),
        *,
        labels: Sequence[str] = (),
        name: str | None = None,
        capability: str | None = None,
        all: bool = False,
    ) -> AsyncGenerator[Sequence[Model], None]:
        """The models of `list`, a batch at a time, so that the longest list needs no memory.

        Close it when leaving early: it keeps a transaction open.
        """
        arguments.check(servers=servers, name=name, capability=capability)
        ids, pinned = await self._db.read(_servers_and_pins, servers, labels, everyone=all)
        rows = self._db.stream(
            store.each, server_ids=ids, everything=all, is_named=_name_filter(name)
        )
        async with aclosing(rows) as batches:
            async for batch in batches:
                wanted = [row for row in batch if _is_wanted(row, name, capability)]
                yield [_with_pin(row, pinned) for row in wanted]

    async def page(
        self,
        server: int | str | None = None,
        *,
        after: int = 0,
        limit: int = 100,
        name: str | None = None,
        capability: str | None = None,
        all: bool = False,
    ) -> Sequence[Model]:
        """At most `limit` models of the server (default: of all active ones) by id, from the first
        one after the id `after`; the filters are those of `list`.

        Rows that come and go between two pages make no other appear twice or be left out.
        """
        models: list[Model] = []
        while True:
            rows, pinned = await self._db.read(_page, server, after, everything=all)
            wanted = [row for row in rows if _is_wanted(row, name, capability)]
            models.extend(_with_pin(row, pinned) for row in wanted)
            if len(models) >= limit or len(rows) < PAGE:
                return models[:limit]
            after = rows[-1].id

    async def by_model(
        self,
        servers: Sequence[int | str] = (),
        *,
        labels: Sequence[str] = (),
        name: str | None = None,
        capability: str | None = None,
        all: bool = False,
    ) -> tuple[ModelGroup, ...]:
        """The models of `list` grouped by name, with the number of distinct builds."""
        batches = self.stream_by_model(
            servers, labels=labels, name=name, capability=capability, all=all
        )
        return tuple([group async for batch in batches for group in batch])

    async def stream_by_model(
        self,
        servers: Sequence[int | str] = (),
        *,
        labels: Sequence[str] = (),
        name: str | None = None,
        capability: str | None = None,
        all: bool = False,
    ) -> AsyncGenerator[Sequence[ModelGroup], None]:
        """The groups of `by_model`, a batch at a time; a group is never cut in two.

        Close it when leaving early: it keeps a transaction open.
        """
        arguments.check(servers=servers, name=name, capability=capability)
        ids, pinned = await self._db.read(_servers_and_pins, servers, labels, everyone=all)
        entries = self._db.stream(
            store.each_entry,
            server_ids=ids,
            everything=all,
            is_named=_name_filter(name),
            capabilities=capability is not None,
        )
        complete: list[Run] = []
        last: Run = []
        async with aclosing(entries) as batches:
            async for batch in batches:
                if complete:
                    yield _groups(complete, pinned)
                wanted = [entry for entry in batch if _is_wanted(entry, name, capability)]
                complete, last = _runs(last + wanted)
        complete.append(last)
        yield _groups(complete, pinned)


_KEY = attrgetter("name_key")


def _runs(entries: Sequence[store.ModelEntry]) -> tuple[list[Run], Run]:
    """Entries, which are in the order of their keys, by key; the last key's apart, as the next
    batch may have more of it.
    """
    runs = [list(run) for _, run in groupby(entries, _KEY)]
    if not runs:
        return [], []
    last = runs.pop()
    return runs, last


def _groups(runs: Sequence[Run], pinned: Mapping[str, str]) -> list[ModelGroup]:
    """Group the entries of each key by name.

    Names of servers that are not Ollama are opaque: each exact spelling is a group of its own.
    """
    groups: dict[tuple[str, str], Run] = defaultdict(list)
    for run in runs:
        for entry in run:
            key = (entry.name_key, "")
            if not entry.digest:
                key = (entry.name_key, entry.name)
            groups[key].append(entry)
    return [_group(entries, pinned) for entries in groups.values()]


def _name_filter(pattern: str | None) -> Callable[[str], bool] | None:
    if pattern is None:
        return None
    return partial(_matches, pattern=pattern)


def _servers_and_pins(
    connection: Any,
    servers: Sequence[int | str],
    labels: Sequence[str] = (),
    *,
    everyone: bool = False,
) -> tuple[Sequence[int] | None, dict[str, str]]:
    """The ids of the servers that are named or have the labels (None where nothing says which), and
    the pinned digests by key.
    """
    ids: list[int] | None = None
    if labels and servers:
        raise InvalidInput("servers and --label are both given", "leave one of them out")
    if labels:
        targets = Targets(all=everyone, labels=labels)
        ids = [row.id for row in targets.servers(connection)]
    elif servers:
        refs = [find_ref(connection, server) for server in servers]
        ids = [ref.id for ref in refs if ref.id is not None]
    return ids, store_pins.digests(connection)


def _page(
    connection: Any, server: int | str | None, after: int, *, everything: bool
) -> tuple[list[Model], dict[str, str]]:
    servers = [] if server is None else [server]
    ids, pinned = _servers_and_pins(connection, servers)
    rows = store.page(connection, after, PAGE, server_ids=ids, everything=everything)
    return rows, pinned


def _with_pin(model: Model, pinned: Mapping[str, str]) -> Model:
    if not pinned:
        return model
    digest = pinned.get(model_key(model.name))
    if digest is None:
        return model
    return replace(model, pinned=digest)


def _group(entries: Run, pinned: Mapping[str, str]) -> ModelGroup:
    name = entries[0].name
    return ModelGroup(
        name=name,
        builds=len({entry.digest for entry in entries if entry.digest}),
        pinned=pinned.get(model_key(name)),
        servers=tuple(
            ModelHolder(server=entry.server, digest=entry.digest, is_available=entry.is_available)
            for entry in entries
        ),
    )


def _is_wanted(model: Model | store.ModelEntry, name: str | None, capability: str | None) -> bool:
    if name is not None and not _matches(model.name, name):
        return False
    return capability is None or has_capability(model.capabilities or (), capability)


def _matches(name: str, pattern: str) -> bool:
    if not is_glob(pattern):
        return name == pattern or model_key(name) == model_key(pattern)
    return fnmatchcase(name.casefold(), pattern.casefold())
