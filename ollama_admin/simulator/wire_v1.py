"""JSON shapes of Ollama's answers below /v1 that OpenAI's chat and completions have."""

import json
from collections.abc import Sequence

from ollama_admin.simulator.ask import Ask
from ollama_admin.simulator.http import PLAIN_JSON, SSE, encode_json
from ollama_admin.simulator.model import ToolCall
from ollama_admin.simulator.run import Run, Token
from ollama_admin.simulator.wire import (
    Clock,
    Identity,
    JsonObject,
    calls_of,
    join,
    logprobs,
)

_V1_ERROR_TYPES = {400: "invalid_request_error", 404: "not_found_error"}


class V1Shape:
    """Chat; `number` makes the id."""

    stream_type = SSE
    whole_type = PLAIN_JSON
    prefix, whole_kind, stream_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, ask: Ask, identity: Identity, clock: Clock, number: int) -> None:
        self.name = identity.name
        self.number = number
        self.created = int(clock().timestamp())
        self._include_usage = ask.include_usage
        self._tells_logprobs = ask.logprobs
        self._role: JsonObject = {"role": "assistant"}
        self.has_called = False

    def token(self, token: Token) -> bytes:
        self.has_called = self.has_called or token.call is not None
        return event(self._chunk([self._said(token)]))

    def last(self, run: Run) -> list[bytes]:
        if run.done_reason is None:
            return []
        pieces = [event(self._chunk([self._finish(self.reason(run))]))]
        if self._include_usage:
            pieces.append(event(self._chunk([]) | {"usage": _usage(run)}))
        pieces.append(b"data: [DONE]\n\n")
        return pieces

    def whole(self, tokens: Sequence[Token], run: Run) -> bytes:
        self.has_called = bool(calls_of(tokens))
        choice = self._choice(tokens) | {"finish_reason": self.reason(run)}
        record = self._record(self.whole_kind, [choice]) | {"usage": _usage(run)}
        return encode_json(record) + b"\n"

    def killed(self) -> bytes:
        return event(self._chunk([self._said(Token(""))]) | {"model": ""})

    def reason(self, run: Run) -> str | None:
        if self.has_called and run.done_reason == "stop":
            return "tool_calls"
        return run.done_reason

    def _said(self, token: Token) -> JsonObject:
        text: JsonObject = {"content": token.text}
        if token.is_thinking:
            text = {"content": "", "reasoning": token.text}
        if token.call is not None:
            text["tool_calls"] = [_call(token.number, token.call)]
        delta, self._role = self._role | text, {}
        choice: JsonObject = {"index": 0, "delta": delta, "finish_reason": None}
        if self._tells_logprobs:
            choice["logprobs"] = {"content": _top([token])}
        return choice

    def _finish(self, reason: str | None) -> JsonObject:
        return {"index": 0, "delta": {}, "finish_reason": reason}

    def _choice(self, tokens: Sequence[Token]) -> JsonObject:
        text, thinking = join(tokens)
        message: JsonObject = {"role": "assistant", "content": text}
        if thinking:
            message["reasoning"] = thinking
        if calls := calls_of(tokens):
            message["tool_calls"] = [_call(token.number, call) for token, call in calls]
        choice: JsonObject = {"index": 0, "message": message}
        if self._tells_logprobs:
            choice["logprobs"] = {"content": _top(tokens)}
        return choice

    def _chunk(self, choices: list[JsonObject]) -> JsonObject:
        return self._record(self.stream_kind, choices)

    def _record(self, kind: str, choices: list[JsonObject]) -> JsonObject:
        return {
            "id": f"{self.prefix}-{self.number}",
            "object": kind,
            "created": self.created,
            "model": self.name,
            "system_fingerprint": "fp_ollama",
            "choices": choices,
        }


class CompletionShape(V1Shape):
    prefix, whole_kind, stream_kind = "cmpl", "text_completion", "text_completion"

    def _said(self, token: Token) -> JsonObject:
        return {"text": token.text, "index": 0, "finish_reason": None}

    def _finish(self, reason: str | None) -> JsonObject:
        return {"text": "", "index": 0, "finish_reason": reason}

    def _choice(self, tokens: Sequence[Token]) -> JsonObject:
        return {"text": join(tokens)[0], "index": 0}


def v1_error(status: int, message: str) -> bytes:
    kind = _V1_ERROR_TYPES.get(status, "api_error")
    error = {"message": message, "type": kind, "param": None, "code": None}
    return encode_json({"error": error}) + b"\n"


def messages_error(status: int, message: str) -> bytes:
    kind = _V1_ERROR_TYPES.get(status, "api_error")
    error = {"type": kind, "message": message}
    return encode_json({"type": "error", "error": error, "request_id": "req_1"})


def _usage(run: Run) -> JsonObject:
    return {
        "prompt_tokens": run.prompt_tokens,
        "completion_tokens": run.output_tokens,
        "total_tokens": run.prompt_tokens + run.output_tokens,
    }


def event(record: JsonObject) -> bytes:
    return b"data: " + encode_json(record) + b"\n\n"


def _call(number: int, call: ToolCall) -> JsonObject:
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": call.id, "index": number, "type": "function", "function": function}


def _top(tokens: Sequence[Token]) -> list[JsonObject]:
    return [entry | {"top_logprobs": []} for entry in logprobs(tokens)]
