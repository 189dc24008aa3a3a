"""Questions to servers through a client, with all that a person would see of the answers."""

from dataclasses import dataclass, field
from typing import Any

from ollama_admin.client import Client
from ollama_admin.domain.answers import Reply
from ollama_admin.errors import AdminError
from tests.fake_ollama import FakeOllama

GENERATE, CHAT, V1_CHAT, TAGS = "/api/generate", "/api/chat", "/v1/chat/completions", "/api/tags"


@dataclass(slots=True)
class Outcome:
    """What a person saw, and how it ended: a reply or an error."""

    pieces: list[str] = field(default_factory=list)
    reply: Reply | None = None
    error: AdminError | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def accepted(self) -> Reply:
        """The reply of an answer that was accepted."""
        assert self.error is None, f"{self.error!r}"
        assert self.reply is not None
        return self.reply


async def ask(client: Client, **asked: Any) -> Outcome:
    outcome = Outcome()
    try:
        async with client.stream(**{"prompt": "hi", "model": "alpha", **asked}) as stream:
            async for piece in stream:
                outcome.pieces.append(piece.response)
            outcome.reply = stream.reply
    except AdminError as error:
        outcome.error = error
    return outcome


async def register(client: Client, *fakes: FakeOllama, **columns: Any) -> None:
    """Add the servers as one, two, three ... in this order, and read what they hold."""
    names = ("one", "two", "three", "four")
    for name, fake in zip(names, fakes, strict=False):
        await client.servers.add(name=name, url=fake.url, **columns)
    assert [result.error for result in await client.discover()] == [None] * len(fakes)


def prompts(fake: FakeOllama) -> int:
    """How many prompts a server was sent."""
    return sum(len(fake.requests_to(path)) for path in (GENERATE, CHAT, V1_CHAT))
