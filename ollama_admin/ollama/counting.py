"""The numbers that an answer tells, in the dialects of Ollama, OpenAI and Anthropic."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ollama_admin.domain.answers import StreamEvent
from ollama_admin.ollama import wire

NOTHING_COUNTED = StreamEvent()


def with_counts(numbers: StreamEvent, record: Any) -> StreamEvent:
    """The numbers with those that a record tells in any of the dialects."""
    if not isinstance(record, dict):
        return numbers
    if record.get("done") is True:
        return _only_numbers(wire.native_event(record))
    usage = _usage(record)
    prompt = _first(usage, "prompt_tokens", "input_tokens")
    output = _first(usage, "completion_tokens", "output_tokens")
    return StreamEvent(
        prompt_tokens=numbers.prompt_tokens if prompt is None else prompt,
        output_tokens=numbers.output_tokens if output is None else output,
    )


def _only_numbers(event: StreamEvent) -> StreamEvent:
    """Without what was said: numbers are kept until the build is proven, behind the answer."""
    return replace(event, response="", thinking="", tool_calls=(), record=None)


def _usage(record: Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(record.get("prompt_eval_count"), int):  # of /api/embed
        return {"prompt_tokens": record["prompt_eval_count"]}
    for part in (record, record.get("response"), record.get("message")):
        usage = part.get("usage") if isinstance(part, dict) else None
        if isinstance(usage, dict):
            return usage
    return {}


def _first(usage: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = usage.get(name)
        if type(value) is int and 0 <= value < 2**63:
            return value
    return None
