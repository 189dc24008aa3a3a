"""One answer of a simulated model, decided before its first byte."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, cycle, islice

from ollama_admin.simulator.ask import Ask, Message, RefusedError
from ollama_admin.simulator.http import encode_json
from ollama_admin.simulator.model import SimulatedModel, ToolCall, full_name

# Ollama gives up on a model that says one token this often, without a word about it.
_EQUAL_TOKENS = 31
# How far a model that never stops may run: so many times its context.
_RUNAWAY_CONTEXTS = 10

TRUNCATE_SINCE = (0, 12, 6)
_ENGINE_SINCE = (0, 30, 0)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text, or the call of a tool, which is the `number`-th of its answer."""

    text: str
    is_thinking: bool = False
    call: ToolCall | None = None
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`done_reason` None is the silent end: no final record, no error."""

    tokens: Iterable[Token] = ()
    prompt_tokens: int = 0
    output_tokens: int = 0
    num_ctx: int
    done_reason: str | None


def check_abilities(ask: Ask, model: SimulatedModel, version: tuple[int, ...]) -> None:
    """Refuses what the model cannot do, with the names that Ollama shows in each case."""
    if "completion" not in model.capabilities:
        raise RefusedError(400, f'"{ask.name}" does not support {ask.kind}')
    if ask.has_tools and "tools" not in model.capabilities:
        raise RefusedError(400, f"{full_name(ask.name)} does not support tools")
    if ask.has_suffix and "insert" not in model.capabilities:
        raise RefusedError(400, f"{full_name(ask.name)} does not support insert")
    if ask.think and "thinking" not in model.capabilities:
        shown = f'"{ask.name}"'
        if version < TRUNCATE_SINCE:
            shown = full_name(ask.name)
        raise RefusedError(400, f"{shown} does not support thinking")
    if ask.has_images and "vision" not in model.capabilities:
        text = "Multimodal data provided, but model does not support multimodal requests."
        raise _nested(code=400, message=text, type="invalid_request_error")


def plan_run(ask: Ask, model: SimulatedModel, version: tuple[int, ...], context: int) -> Run:
    """`context` is the server's own; a request may name another, never above the model's."""
    num_ctx = min(ask.num_ctx or model.num_ctx or context, model.context_length)
    if ask.only_loads:
        return Run(num_ctx=num_ctx, done_reason="unload" if ask.unload else "load")
    prompt_tokens = _fit_prompt(ask, num_ctx, version)
    limit = _output_limit(ask, num_ctx, prompt_tokens)
    tokens, output_tokens, done_reason = _speak(
        ask, model, limit=limit, stops_loops=_stops_loops(ask, version)
    )
    return Run(
        tokens=tokens,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        num_ctx=num_ctx,
        done_reason=done_reason,
    )


def _output_limit(ask: Ask, num_ctx: int, prompt_tokens: int) -> int:
    """How many tokens the answer may have; one that shifts its context is stopped far later."""
    room = num_ctx - prompt_tokens
    if ask.shift:
        room = _RUNAWAY_CONTEXTS * num_ctx
    if ask.num_predict and ask.num_predict > 0:
        room = min(ask.num_predict, room)
    return max(0, room)


def _speak(
    ask: Ask, model: SimulatedModel, *, limit: int, stops_loops: bool
) -> tuple[Iterator[Token], int, str | None]:
    thought = _think(ask, model)
    said = _say(ask, model)
    tokens = thought + said
    if model.endless and said:
        endless = chain(tokens, _repeat(model.says))
        loops = stops_loops and len(set(model.says.split())) == 1
        if loops and limit >= len(thought) + _EQUAL_TOKENS:
            limit = len(thought) + _EQUAL_TOKENS
            return islice(endless, limit), limit, None
        return islice(endless, limit), limit, "length"
    if limit <= len(tokens):
        return iter(tokens[:limit]), limit, "length"
    return iter(tokens), len(tokens) + 1, "stop"


def _say(ask: Ask, model: SimulatedModel) -> list[Token]:
    if ask.has_tools and model.calls and ask.messages[-1].role != "tool":
        return [Token("", call=call, number=n) for n, call in enumerate(model.calls)]
    return [Token(text) for text in _split(model.says)]


def _think(ask: Ask, model: SimulatedModel) -> list[Token]:
    if not ask.think or model.thinking is None:
        return []
    words = _split(model.thinking)
    if ask.kind == "generate":
        words.insert(0, "<think>")
        words.append("</think>")
        return [Token(text) for text in words]
    return [Token(text, is_thinking=True) for text in words]


def _split(text: str) -> list[str]:
    """Words that joined are the text again."""
    words = [f" {word}" for word in text.split(" ")]
    words[0] = words[0].removeprefix(" ")
    return [word for word in words if word]


def _repeat(text: str) -> Iterator[Token]:
    return cycle([Token(f" {word}") for word in text.split()])


def _stops_loops(ask: Ask, version: tuple[int, ...]) -> bool:
    return ask.kind == "generate" or version < _ENGINE_SINCE


def _fit_prompt(ask: Ask, num_ctx: int, version: tuple[int, ...]) -> int:
    """How many tokens of the prompt are read."""
    asked = sum(message.tokens for message in ask.messages)
    if version < TRUNCATE_SINCE:
        return min(asked, num_ctx)
    if asked < num_ctx:
        return asked
    if not ask.truncate:
        raise _nested(
            code=400,
            message=f"request ({asked} tokens) exceeds the available context size "
            f"({num_ctx} tokens), try increasing it",
            type="exceed_context_size_error",
            n_prompt_tokens=asked,
            n_ctx=num_ctx,
        )
    return _cut(ask.messages, num_ctx)


def _cut(messages: tuple[Message, ...], num_ctx: int) -> int:
    """Drops the oldest messages; a last one that still does not fit loses about half."""
    kept = list(messages)
    while sum(message.tokens for message in kept) >= num_ctx:
        oldest = next((m for m in kept[:-1] if m.role != "system"), None)
        if oldest is None:
            return min(num_ctx // 2 + 3, num_ctx - 1)
        kept.remove(oldest)
    return sum(message.tokens for message in kept)


def _nested(**inner: str | int) -> RefusedError:
    """An error of the inference process: a JSON document as text."""
    code = int(inner["code"])
    return RefusedError(code, encode_json({"error": inner}).decode())
