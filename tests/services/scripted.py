"""Servers that do as a trial says, at the seam where endpoints are made: no sockets, real
everything above them.
"""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ollama_admin.domain import names
from ollama_admin.domain.answers import StreamEvent
from ollama_admin.domain.models import BuildDetails, ListedModel, Listing
from ollama_admin.domain.requests import Question
from ollama_admin.domain.servers import ApiVersion, Target
from ollama_admin.errors import AdminError, StreamInterrupted
from ollama_admin.ollama.faults import refused, unreachable
from ollama_admin.ollama.response import Answer
from tests.services.rules import (
    BEFORE_THE_STREAM,
    REMOTE_BUILD,
    UNSENT,
    Behaviour,
    Kind,
    Server,
    Tag,
    When,
)
from tests.services.trials import CONSTANT_DIGESTS, LONG_AGO, digest, says

END = datetime(2026, 6, 1, 12, tzinfo=UTC)
DURATION = timedelta(seconds=1)


@dataclass(slots=True, kw_only=True)
class ScriptedServer:
    """`asked` are the names that prompts came for, `spoke` whether any text went out. In `turns`,
    which all servers of a fleet share, each writes its name when a prompt is meant for it.
    """

    told: Server
    asked: list[str] = field(default_factory=list)
    turns: list[str] = field(default_factory=list)
    spoke: bool = False
    tags: tuple[Tag, ...] = ()
    touched: datetime = LONG_AGO

    def move(self, when: When) -> None:
        move = self.told.move
        if move is None or move.when is not when:
            return
        self.tags = tuple(replace(tag, build=move.build) for tag in self.tags) if move.build else ()
        self.touched = END - DURATION * (1.5 if when is When.AT_SENDING else 0.5)

    def build_of(self, name: str) -> str | None:
        found = self.told.found(self.tags, name)
        return found[0].build if found else None


class ScriptedEndpoint:
    """What `Endpoint` offers, for one request."""

    def __init__(self, server: ScriptedServer, target: Target) -> None:
        self._server = server
        self._target = target
        self.any_address = False

    async def version(self) -> str | None:
        self._list_or_fail()
        return "0.33.0" if self._server.told.is_ollama else None

    async def models(self, *, is_ollama: bool) -> list[ListedModel]:
        self._list_or_fail()
        told = self._server.told
        if not is_ollama:
            return [ListedModel(name=tag.name) for tag in self._server.tags]
        if not told.is_ollama:
            raise _failure(self._target, "/api/tags", Behaviour.S404, None)
        return [self._listed(tag) for tag in self._server.tags]

    async def listing(self, before: Listing | None = None) -> Listing:
        return Listing(b"", await self.models(is_ollama=True))

    async def show(self, model: str) -> BuildDetails:
        return BuildDetails(
            capabilities=("completion",), context_length=4096, embedding_length=None
        )

    async def running_context(self, model: str) -> int | None:
        return 4096

    async def generate(
        self, question: Question, model: str, path: str | None = None
    ) -> AsyncGenerator[StreamEvent, None]:
        server, fate = self._server, self._server.told.answering
        server.turns.append(server.told.name)
        if fate not in UNSENT:
            server.asked.append(model)
        server.move(When.AT_SENDING)
        build = server.build_of(model)
        if build is None and fate not in BEFORE_THE_STREAM:
            fate = Behaviour.S404
        if fate in BEFORE_THE_STREAM:
            raise _failure(self._target, "/api/generate", fate, model)
        server.move(When.WHILE_ANSWERING)
        server.spoke = True
        for event in events(
            build or "", model, fate, is_v1=self._target.api_version is ApiVersion.V1
        ):
            yield event
        if fate is Behaviour.BREAKS:
            raise StreamInterrupted(
                f"server {self._target.ref} broke off in the middle of the answer"
            )

    def _list_or_fail(self) -> None:
        told = self._server.told
        fate = told.listing_afterwards if self._server.asked else told.listing
        if fate is not Behaviour.WELL:
            raise _failure(self._target, "/api/tags", fate, None)

    def _listed(self, tag: Tag) -> ListedModel:
        is_remote = tag.build == REMOTE_BUILD
        return ListedModel(
            name=tag.name,
            digest=tag.build and digest(tag.build),
            family=CONSTANT_DIGESTS if self._server.told.kind is Kind.EMULATION else "llama",
            modified_at=self._server.touched,
            remote_host="https://elsewhere.test" if is_remote else None,
            remote_model="big" if is_remote else None,
        )


def events(build: str, model: str, fate: Behaviour, *, is_v1: bool) -> Iterator[StreamEvent]:
    """The records of an answer; what comes after them is the connection's part."""
    if fate is Behaviour.ERROR:
        yield StreamEvent(error="no")
        return
    name: str | None = names.without_cloud(model) if names.is_cloud_name(model) else model
    if fate in (Behaviour.OTHER_NAME, Behaviour.NAMELESS):
        name = "other:latest" if fate is Behaviour.OTHER_NAME else None
    first, _, rest = says(build).partition(" ")
    is_remote = build == REMOTE_BUILD and not is_v1
    record = StreamEvent(model=name, is_remote=is_remote, created_at=None if is_v1 else END)
    yield replace(record, response=first)
    if fate is Behaviour.BREAKS:
        return
    if fate is Behaviour.KILLED:
        yield (
            StreamEvent()
            if is_v1
            else StreamEvent(error="an error was encountered while running the model")
        )
        return
    if fate is Behaviour.OTHER_NAME_LATE:
        record = replace(record, model="other:latest")
    yield replace(record, response=f" {rest}")
    yield from _last(record, is_v1=is_v1, is_whole=fate is not Behaviour.ENDS)


def _last(record: StreamEvent, *, is_v1: bool, is_whole: bool) -> Iterator[StreamEvent]:
    """A v1 stream that is not whole lacks the reason why it finished, a native one its last
    record.
    """
    if is_whole and is_v1:
        yield replace(record, done_reason="stop")
    if is_v1:
        yield StreamEvent(done=True)
    elif is_whole:
        yield replace(
            record,
            done=True,
            done_reason="stop",
            total_duration=int(DURATION.total_seconds() * 1e9),
        )


def _failure(target: Target, path: str, fate: Behaviour, model: str | None) -> AdminError:
    """The error that an endpoint raises."""
    if fate in (Behaviour.REFUSED, Behaviour.CLOSED):
        is_list = model is None
        return unreachable(target, fate, may_pass_on=is_list or fate is Behaviour.REFUSED)
    if fate is Behaviour.SILENT:
        return unreachable(target, fate, may_pass_on=False)
    body = b'{"error": "model not found"}' if fate is Behaviour.S404 else b'{"error": "no"}'
    return refused(target, path, Answer(status=int(fate), location=None, body=body), model)
