"""What the simulated server can pull: layers come in pieces, and what came of one is kept."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass

from ollama_admin.simulator.model import SimulatedModel, find_listed, with_tag

JsonObject = dict[str, object]

_PIECES = 4  # of the largest layer
_TEMPLATE = 100  # one byte of so many is in the second layer


class PullFailedError(Exception):
    """Raised by `before_piece`: the pull ends with this text, as for a disk that is full."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob of a build; `size` is bytes."""

    digest: str
    size: int

    @property
    def status(self) -> str:
        return f"pulling {self.digest.removeprefix('sha256:')[:12]}"

    def record(self, completed: int) -> JsonObject:
        """As Ollama writes it: a field that is zero is left out."""
        record: JsonObject = {"status": self.status, "digest": self.digest, "total": self.size}
        if completed:
            record["completed"] = completed
        return record


class Registry:
    """The registry that a server pulls from, and the blobs that the server has of it.

    `models` may be changed any time. `received` is how many bytes all pulls brought. `before_piece`
    is awaited with the layer and the bytes of it that are there, `piece_delay` (seconds) follows.
    """

    def __init__(
        self,
        models: Iterable[SimulatedModel] = (),
        *,
        pieces: int = _PIECES,
        piece_delay: float = 0,
        before_piece: Callable[[Layer, int], Awaitable[None]] | None = None,
    ) -> None:
        self.models = {with_tag(model.name): model for model in models}
        self.pieces = pieces
        self.piece_delay = piece_delay
        self.before_piece = before_piece
        self.received = 0
        self._completed: dict[str, int] = {}

    def offer(self, model: SimulatedModel) -> None:
        """Make the model's name stand for this build from now on."""
        self.models[with_tag(model.name)] = model

    async def pull(
        self, name: str, write: Callable[[str, SimulatedModel], None]
    ) -> AsyncGenerator[JsonObject, None]:
        """The records of a pull; `write` is called with what it brought. Pulls of one layer at the
        same time share its bytes, and a pull goes on where one before it ended.
        """
        yield {"status": "pulling manifest"}
        listed = find_listed(self.models, name)
        if listed is None:
            yield {"error": "pull model manifest: file does not exist"}
            return
        model = self.models[listed]
        try:
            for layer in layers_of(model):
                async for record in self._download(layer):
                    yield record
        except PullFailedError as exc:
            yield {"error": str(exc)}
            return
        yield {"status": "verifying sha256 digest"}
        yield {"status": "writing manifest"}
        write(name, model)
        yield {"status": "success"}

    async def _download(self, layer: Layer) -> AsyncGenerator[JsonObject, None]:
        completed = self._completed.setdefault(layer.digest, 0)
        yield layer.record(completed)
        while completed < layer.size:
            if self.before_piece is not None:
                await self.before_piece(layer, completed)
            if self.piece_delay:
                await asyncio.sleep(self.piece_delay)
            # another pull may have brought some of it meanwhile
            completed = self._completed[layer.digest]
            piece = min(-(-layer.size // self.pieces), layer.size - completed)
            completed += piece
            self.received += piece
            self._completed[layer.digest] = completed
            yield layer.record(completed)


def layers_of(model: SimulatedModel) -> Iterator[Layer]:
    """The weights, and the little else that a build has."""
    rest = model.size // _TEMPLATE
    for what, size in (("weights", model.size - rest), ("template", rest)):
        if size:
            digest = hashlib.sha256(f"{model.digest} {what}".encode()).hexdigest()
            yield Layer(f"sha256:{digest}", size)
