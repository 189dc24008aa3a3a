"""The fleet as a file: what it wants, what is to be done for that, and what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from ollama_admin.domain.keys import IssuedKey
from ollama_admin.domain.pulls import PullReport
from ollama_admin.domain.values import fields_of

VERSION = "1"
STORED = "stored"  # in the place of a reference: the secret that the row has stays


class Noun(StrEnum):
    SERVER = "server"
    PIN = "pin"
    KEY = "key"
    SETTING = "setting"
    MODEL = "model"


class Action(StrEnum):
    """`adopt` is a change of a row that a person made, and that belongs to the file from then on.
    `keep` is not done: it would be a removal, which only `prune` does.
    """

    ADD = "add"
    CHANGE = "change"
    ADOPT = "adopt"
    REMOVE = "remove"
    KEEP = "keep"
    PULL = "pull"


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the text of a file, both from 1 on."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with a file, and where."""

    position: Position
    message: str

    def __str__(self) -> str:
        return f"line {self.position.line}, column {self.position.column}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One server, pin or key, as a file wants it or as its row is. `key` is what two spellings of
    one name have in common; `values` has every field, with its default where it was left out.
    """

    noun: Noun
    name: str
    key: str
    values: Mapping[str, Any]
    position: Position = Position(1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Entry):
    """An entry as the database has it. `state` is another text after each change of it by people;
    `owner` is whose file made it, None for people.
    """

    id: int
    state: str
    owner: str | None
    is_active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedModel:
    """A model that a server is to have. `digest` is the build, or the beginning of it; None takes
    any.
    """

    server: str
    model: str
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFile:
    """A document that was read, or one to be written. `default_server` is None where the file says
    nothing of it.
    """

    owner: str
    servers: Sequence[Entry] = ()
    models: Sequence[WantedModel] = ()
    pins: Sequence[Entry] = ()
    keys: Sequence[Entry] = ()
    default_server: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What the database says of the fleet: rows by the keys of their names. `builds` are the
    digests that a server lists for a model, by both keys; None is one that tells no digest.
    """

    servers: Mapping[str, Row]
    pins: Mapping[str, Row]
    keys: Mapping[str, Row]
    default_server: str | None
    builds: Mapping[tuple[str, str], Sequence[str | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How far a plan may go: `prune` removes what the owner's file made and no longer names,
    `adopt` takes over rows that people made.
    """

    prune: bool = False
    adopt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field of a row, before and after; None where there was or will be nothing."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do. `id` is the row's, None for a new one; `server` is where a model is
    pulled.
    """

    action: Action
    noun: Noun
    name: str
    id: int | None = None
    changes: Sequence[FieldChange] = ()
    server: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether `apply` does it."""
        return self.action is not Action.KEEP

    @property
    def wanted(self) -> WantedModel:
        """The model that is to be pulled."""
        digest = self.changed["digest"]
        return WantedModel(server=self.server or "", model=self.name, digest=digest)

    @property
    def changed(self) -> Mapping[str, Any]:
        """The fields that are to change, with what they are to be."""
        return {change.field: change.after for change in self.changes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done so that the fleet is as the file says. `fingerprint` is another one where
    the steps are others, or a row that the file names was changed since.
    """

    owner: str
    steps: Sequence[Step]
    unchanged: int
    fingerprint: str

    @property
    def pending(self) -> Sequence[Step]:
        return [step for step in self.steps if step.is_done]

    @property
    def rows(self) -> Sequence[Step]:
        """The steps that change the database."""
        return [step for step in self.pending if step.noun is not Noun.MODEL]

    @property
    def pulls(self) -> Sequence[Step]:
        return [step for step in self.pending if step.noun is Noun.MODEL]

    def document(self) -> dict[str, Any]:
        return fields_of(self) | {"pending": len(self.pending)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of a plan. `issued` are the new keys with their texts, which are known only now;
    `pulls` is None where no model was pulled.
    """

    plan: Plan
    issued: Sequence[IssuedKey] = ()
    pulls: PullReport | None = None

    def without_keys(self) -> "Applied":
        """The same, once the texts of its keys were told."""
        return replace(self, issued=())

    @property
    def failed(self) -> int:
        if self.pulls is None:
            return 0
        return self.pulls.failed

    def document(self) -> dict[str, Any]:
        return {
            "event": "applied",
            "plan": self.plan,
            "keys": self.issued,
            "pulls": self.pulls,
            "failed": self.failed,
        }
