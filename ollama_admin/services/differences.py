"""What two servers hold, beside one another, as discovery left it."""

import asyncio
from collections.abc import Sequence
from typing import Any

from ollama_admin.domain.builds import BuildPair, ServerDifference
from ollama_admin.domain.models import Model
from ollama_admin.domain.names import model_key
from ollama_admin.domain.servers import Server, ServerRef
from ollama_admin.errors import Conflict, InvalidInput
from ollama_admin.rules import arguments
from ollama_admin.services.models import Models
from ollama_admin.store.database import Database
from ollama_admin.store.servers import find


class Differences:
    def __init__(self, db: Database, models: Models) -> None:
        self._db = db
        self._models = models

    async def between(self, left: int | str, right: int | str) -> ServerDifference:
        """What two servers hold, inactive ones too. Raises ServerNotFound, and InvalidInput for one
        server given twice, and Conflict for one that was never discovered.
        """
        arguments.need(left=left, right=right)
        refs = await self._db.read(_refs, left, right)
        held = [await self._models.list([ref.id]) for ref in refs if ref.id is not None]
        # there may be ten thousand: not on the loop
        return await asyncio.to_thread(_difference, refs, held[0], held[1])


def _refs(connection: Any, left: int | str, right: int | str) -> tuple[ServerRef, ServerRef]:
    first, second = find(connection, left), find(connection, right)
    if first.id == second.id:
        raise InvalidInput(f"{left!a} and {right!a} are one server", "name two servers")
    return _discovered(first), _discovered(second)


def _discovered(row: Server) -> ServerRef:
    if row.last_discovered_at is None:
        raise Conflict(
            f"server {row.name} was never discovered: what it holds is not known",
            f"read it with: ollama-admin discover {row.ref.word}",
        )
    return row.ref


def _difference(
    refs: tuple[ServerRef, ServerRef], left: Sequence[Model], right: Sequence[Model]
) -> ServerDifference:
    names = _Names(right)
    only_left, different, unknown, same = [], [], [], 0
    for model in left:
        other = names.take(model)
        if other is None:
            only_left.append(model.name)
            continue
        pair = BuildPair(name=model.name, left=model.digest, right=other.digest)
        if not model.digest or not other.digest:
            unknown.append(pair)
        elif model.digest != other.digest:
            different.append(pair)
        else:
            same += 1
    return ServerDifference(
        left=refs[0],
        right=refs[1],
        only_left=tuple(only_left),
        only_right=tuple(model.name for model in names.left_over()),
        different=tuple(different),
        unknown=tuple(unknown),
        same=same,
    )


class _Names:
    """Models of a server by their names: to Ollama in whatever spelling, to others as they are."""

    def __init__(self, models: Sequence[Model]) -> None:
        self._by_name = {model.name: model for model in models}
        self._by_key = {model_key(model.name): model.name for model in models if model.digest}

    def take(self, model: Model) -> Model | None:
        """The model of that name, which is then no longer there."""
        other = self._by_name.pop(model.name, None)
        if other is None and model.digest:
            name = self._by_key.get(model_key(model.name), "")
            other = self._by_name.pop(name, None)
        return other

    def left_over(self) -> Sequence[Model]:
        return list(self._by_name.values())
