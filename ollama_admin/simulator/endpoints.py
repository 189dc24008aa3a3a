"""The endpoints that answer with text: how each reads a request and writes its answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ollama_admin.simulator.ask import Ask, read_chat, read_generate
from ollama_admin.simulator.ask_v1 import (
    read_messages,
    read_response,
    read_v1_chat,
    read_v1_completion,
)
from ollama_admin.simulator.wire import ChatShape, Clock, GenerateShape, Identity, Shape
from ollama_admin.simulator.wire_events import MessageShape, ResponseShape
from ollama_admin.simulator.wire_v1 import CompletionShape, V1Shape


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`struct` is the Go type that error texts name; `since` the version of Ollama that has it."""

    struct: str
    read: Callable[[Mapping[str, object]], Ask]
    shape: Callable[[Ask, Identity, Clock, int], Shape]
    when_empty: str = "EOF"
    since: tuple[int, ...] = ()


def _generate(ask: Ask, identity: Identity, clock: Clock, _number: int) -> Shape:
    return GenerateShape(ask, identity, clock)


def _chat(ask: Ask, identity: Identity, clock: Clock, _number: int) -> Shape:
    return ChatShape(ask, identity, clock)


NATIVE: Mapping[str, Endpoint] = {
    "/api/generate": Endpoint("GenerateRequest", read_generate, _generate, "missing request body"),
    "/api/chat": Endpoint("ChatRequest", read_chat, _chat, "missing request body"),
}
V1: Mapping[str, Endpoint] = {
    "/v1/chat/completions": Endpoint("ChatCompletionRequest", read_v1_chat, V1Shape),
    "/v1/completions": Endpoint("CompletionRequest", read_v1_completion, CompletionShape),
    "/v1/responses": Endpoint("ResponsesRequest", read_response, ResponseShape, since=(0, 13, 3)),
    "/v1/messages": Endpoint("MessagesRequest", read_messages, MessageShape, since=(0, 14, 0)),
}
TEXT_ENDPOINTS: Mapping[str, Endpoint] = dict(NATIVE) | dict(V1)
