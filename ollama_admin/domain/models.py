"""Models as servers list them and as rows keep them, and what discovery found. Times are aware UTC,
sizes bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ollama_admin.domain import names
from ollama_admin.domain.servers import ServerRef
from ollama_admin.domain.values import fields_of
from ollama_admin.errors import AdminError

# the family of a program that emulates Ollama and shows one digest, whatever it runs
CONSTANT_DIGESTS = "koboldcpp"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildDetails:
    """What only `/api/show` tells of a build; they belong to the digest, not to the server."""

    capabilities: tuple[str, ...]
    context_length: int | None
    embedding_length: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownContext:
    """Tokens of context as `/api/show` tells them: what the model's file chooses, and the most that
    the model can read. None is not told.
    """

    chosen: int | None = None
    longest: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A model as a server lists it. Servers that are not Ollama tell the name only; None is
    unknown.
    """

    name: str
    digest: str | None = None
    size: int | None = None
    format: str | None = None
    family: str | None = None
    families: tuple[str, ...] | None = None
    parameter_size: str | None = None
    quantization_level: str | None = None
    modified_at: datetime | None = None
    remote_host: str | None = None
    remote_model: str | None = None

    @property
    def is_remote(self) -> bool:
        """Whether a prompt to it leaves the fleet."""
        return bool(self.remote_host or self.remote_model) or names.is_cloud_name(self.name)


class Listing:
    """The models that a server lists, as the bytes of `body` said it."""

    def __init__(self, body: bytes, models: Sequence[ListedModel]) -> None:
        self.body = body
        self.models = models
        self._by_key: dict[str, Sequence[ListedModel]] = {}

    def named(self, name: names.ModelName) -> Sequence[ListedModel]:
        """Those that have this name, to Ollama: in whatever spelling."""
        found = self._by_key.get(name.key)
        if found is None:
            found = self._by_key[name.key] = name.among(self.models)
        return found

    def only(self, name: names.ModelName) -> ListedModel | None:
        """The one that has this name; None for nothing, or for several."""
        models = self.named(name)
        return models[0] if len(models) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model(ListedModel):
    """A row of `ollama_models`: this server holds this model. `pinned` is the digest that its name
    is pinned to.
    """

    id: int
    server_id: int
    server: str
    context_length: int | None
    embedding_length: int | None
    capabilities: tuple[str, ...] | None
    is_available: bool
    first_seen_at: datetime
    last_seen_at: datetime
    digest_changed_at: datetime | None
    pinned: str | None = None

    def document(self) -> dict[str, Any]:
        return {"id": self.id, "server": self.server} | fields_of(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestChange:
    """A name that now stands for another build; `before` is None where no digest was known."""

    name: str
    before: str | None
    after: str | None

    def document(self) -> dict[str, Any]:
        return {"name": self.name, "from": self.before, "to": self.after}


@dataclass(frozen=True, slots=True, kw_only=True)
class OffPin:
    """A listed build that is not the one its name is pinned to."""

    name: str
    digest: str
    pinned: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverResult:
    """What discovery found on one server; `error` says why it found nothing, and the rows are then
    untouched.
    """

    server: ServerRef
    added: tuple[str, ...] = ()
    changed: tuple[DigestChange, ...] = ()
    unchanged: int = 0
    vanished: tuple[str, ...] = ()
    pruned: int = 0
    off_pin: tuple[OffPin, ...] = ()
    error: AdminError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHolder:
    """One server of a name in the by-model view."""

    server: str
    digest: str | None
    is_available: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelGroup:
    """One name over the fleet; `builds` counts the distinct known digests, `pinned` is the digest
    it is pinned to.
    """

    name: str
    builds: int
    pinned: str | None = None
    servers: tuple[ModelHolder, ...]
