"""The catalogue of models as discovery left it."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

from ollama_admin.domain.models import Model, ModelGroup, ModelHolder
from ollama_admin.domain.names import model_key
from ollama_admin.rules.routing import has_capability
from ollama_admin.store import models as store
from ollama_admin.store import pins as store_pins
from ollama_admin.store.database import Database
from ollama_admin.store.servers import find_ref

PAGE = 1000  # rows that are read at once


class Models:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def list(
        self,
        servers: Sequence[int | str] = (),
        *,
        name: str | None = None,
        capability: str | None = None,
        all: bool = False,
    ) -> list[Model]:
        """Available models of the servers (default: the active ones); `all` adds vanished and
        inactive ones.

        `name` is a glob (`qwen*`); without a wildcard it is a name, and its tag may be left out.
        """
        found = self.stream(servers, name=name, capability=capability, all=all)
        return [model async for batch in found for model in batch]

    async def stream(
        self,
        servers: Sequence[int | str] = (),
        *,
        name: str | None = None,
        capability: str | None = None,
        all: bool = False,
    ) -> AsyncGenerator[Sequence[Model], None]:
        """The same, a batch at a time, so that the longest list needs no memory. Close it when
        leaving early.
        """
        ids, pinned = await self._db.read(_servers_and_pins, servers)
        is_named = None if name is None else partial(_matches, pattern=name)
        async with aclosing(
            self._db.stream(store.each, server_ids=ids, everything=all, is_named=is_named)
        ) as batches:
            async for batch in batches:
                yield [
                    _with_pin(model, pinned)
                    for model in batch
                    if _is_wanted(model, name, capability)
                ]

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
        """The same models by id, those after `after`; rows that come and go make none appear twice
        or be left out.
        """
        found: list[Model] = []
        while True:
            rows, pinned = await self._db.read(_page, server, after, everything=all)
            found += [_with_pin(row, pinned) for row in rows if _is_wanted(row, name, capability)]
            if len(found) >= limit or len(rows) < PAGE:
                return found[:limit]
            after = rows[-1].id

    async def by_model(
        self,
        servers: Sequence[int | str] = (),
        *,
        name: str | None = None,
        capability: str | None = None,
        all: bool = False,
    ) -> tuple[ModelGroup, ...]:
        """The same models grouped by name, with the number of distinct builds."""
        found = self.stream_by_model(servers, name=name, capability=capability, all=all)
        return tuple([group async for batch in found for group in batch])

    async def stream_by_model(
        self,
        servers: Sequence[int | str] = (),
        *,
        name: str | None = None,
        capability: str | None = None,
        all: bool = False,
    ) -> AsyncGenerator[Sequence[ModelGroup], None]:
        """The same, a batch at a time; a group is never cut in two."""
        ids, pinned = await self._db.read(_servers_and_pins, servers)
        is_named = None if name is None else partial(_matches, pattern=name)
        found = self._db.stream(
            store.each_entry,
            server_ids=ids,
            everything=all,
            is_named=is_named,
            capabilities=capability is not None,
        )
        whole: list[list[store.ModelEntry]] = []
        begun: list[store.ModelEntry] = []  # rows of one key, of which the next batch may have more
        async with aclosing(found) as batches:
            async for batch in batches:
                if whole:
                    yield _groups(whole, pinned)
                wanted = (place for place in batch if _is_wanted(place, name, capability))
                *whole, begun = [list(limit) for _, limit in groupby((*begun, *wanted), _KEY)] or [
                    begun
                ]
        yield _groups([*whole, begun], pinned)


_KEY = attrgetter("name_key")


def _groups(
    whole: Sequence[Sequence[store.ModelEntry]], pinned: Mapping[str, str]
) -> list[ModelGroup]:
    """Of rows that have a key in common; ids of servers that are not Ollama are opaque, and a group
    of their own.
    """
    groups: dict[tuple[str, str], list[store.ModelEntry]] = defaultdict(list)
    for limit in whole:
        for place in limit:
            groups[place.name_key, "" if place.digest else place.name].append(place)
    return [_group(limit, pinned) for limit in groups.values()]


def _servers_and_pins(
    connection: Any, servers: Sequence[int | str]
) -> tuple[Sequence[int] | None, dict[str, str]]:
    """The ids of the servers that are named, and the pinned digests by key."""
    refs = [find_ref(connection, server) for server in servers]
    ids = [ref.id for ref in refs if ref.id is not None] if servers else None
    return ids, store_pins.digests(connection)


def _page(
    connection: Any, server: int | str | None, after: int, *, everything: bool
) -> tuple[list[Model], dict[str, str]]:
    ids = None if server is None else [find_ref(connection, server).id or 0]
    found = store.page(connection, after, PAGE, server_ids=ids, everything=everything)
    return found, store_pins.digests(connection)


def _with_pin(model: Model, pinned: Mapping[str, str]) -> Model:
    digest = pinned.get(model_key(model.name)) if pinned else None
    return model if digest is None else replace(model, pinned=digest)


def _group(limit: list[store.ModelEntry], pinned: Mapping[str, str]) -> ModelGroup:
    name = limit[0].name
    return ModelGroup(
        name=name,
        builds=len({place.digest for place in limit if place.digest}),
        pinned=pinned.get(model_key(name)),
        servers=tuple(
            ModelHolder(server=p.server, digest=p.digest, is_available=p.is_available)
            for p in limit
        ),
    )


def _is_wanted(model: Model | store.ModelEntry, name: str | None, capability: str | None) -> bool:
    if name is not None and not _matches(model.name, name):
        return False
    return capability is None or has_capability(model.capabilities or (), capability)


def _matches(name: str, pattern: str) -> bool:
    if not any(mark in pattern for mark in "*?["):
        return name == pattern or model_key(name) == model_key(pattern)
    return fnmatchcase(name.casefold(), pattern.casefold())
