"""JSON shapes with named events below /v1: OpenAI's responses, Anthropic's messages."""

import json
from collections.abc import Mapping, Sequence

from ollama_admin.simulator.ask import Ask
from ollama_admin.simulator.http import encode_json
from ollama_admin.simulator.model import ToolCall
from ollama_admin.simulator.run import Run, Token
from ollama_admin.simulator.wire import (
    RUNNER_KILLED,
    Clock,
    Identity,
    JsonObject,
    calls_of,
    join,
)
from ollama_admin.simulator.wire_v1 import V1Shape, event

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_EMPTY: Mapping[str, JsonObject] = {
    "message": {"content": []},
    "reasoning": {"summary": []},
    "function_call": {"arguments": ""},
}


class ResponseShape(V1Shape):
    """One item of output for what is thought, one for what is said, one for each call."""

    def __init__(self, ask: Ask, identity: Identity, clock: Clock, number: int) -> None:
        super().__init__(ask, identity, clock, number)
        self._tokens: list[Token] = []
        self._sent = 0
        self._item: JsonObject = {}

    def token(self, token: Token) -> bytes:
        events = [self._open(token)]
        self._tokens.append(token)
        if token.call is not None:
            return b"".join(events)
        kind = "response.output_text.delta"
        if token.is_thinking:
            kind = "response.reasoning_summary_text.delta"
        events.append(self._part(kind, {"delta": token.text}))
        return b"".join(events)

    def last(self, run: Run) -> list[bytes]:
        if run.done_reason is None:
            return []
        response = self._response(self._tokens, run)
        kind = f"response.{response['status']}"
        return [self._start() + self._close(), self._send(kind, {"response": response})]

    def whole(self, tokens: Sequence[Token], run: Run) -> bytes:
        return encode_json(self._response(tokens, run)) + b"\n"

    def killed(self) -> bytes:
        return self._send("error", {"message": RUNNER_KILLED, "code": "server_error"})

    def _start(self) -> bytes:
        if self._sent:
            return b""
        response = self._about("in_progress", [])
        kinds = ("response.created", "response.in_progress")
        return b"".join(self._send(kind, {"response": response}) for kind in kinds)

    def _open(self, token: Token) -> bytes:
        """What stands before a token: the item that it belongs to, where that begins with it."""
        item = self._begun(token)
        if token.call is None and item["id"] == self._item.get("id"):
            return b""
        data = self._start() + self._close()
        self._item = item
        data += self._send("response.output_item.added", self._place() | {"item": item})
        if item["type"] == "message":
            data += self._part("response.content_part.added", {"part": _output_text("")})
        if token.call is not None:
            arguments = json.dumps(token.call.arguments)
            kind = "response.function_call_arguments"
            data += self._part(f"{kind}.delta", {"delta": arguments})
            data += self._part(f"{kind}.done", {"arguments": arguments})
        return data

    def _close(self) -> bytes:
        if not self._item:
            return b""
        item = self._output(self._tokens)[self._index()]
        data = b""
        if item["type"] == "message":
            text = join(self._tokens)[0]
            data += self._part("response.output_text.done", {"text": text})
            data += self._part("response.content_part.done", {"part": _output_text(text)})
        if item["type"] == "reasoning":
            text = join(self._tokens)[1]
            data += self._part("response.reasoning_summary_text.done", {"text": text})
        data += self._send("response.output_item.done", self._place() | {"item": item})
        self._item = {}
        return data

    def _begun(self, token: Token) -> JsonObject:
        item = self._output([token])[0]
        return item | {"status": "in_progress"} | _EMPTY[str(item["type"])]

    def _index(self) -> int:
        ids = [item["id"] for item in self._output(self._tokens)]
        if self._item["id"] in ids:
            return ids.index(self._item["id"])
        return len(ids)

    def _place(self) -> JsonObject:
        return {"output_index": self._index()}

    def _part(self, kind: str, more: JsonObject) -> bytes:
        index = "content_index"
        if "summary" in kind:
            index = "summary_index"
        return self._send(kind, {"item_id": self._item["id"], index: 0} | self._place() | more)

    def _send(self, kind: str, more: JsonObject) -> bytes:
        record = {"type": kind, "sequence_number": self._sent} | more
        self._sent += 1
        return _named_event(record)

    def _output(self, tokens: Sequence[Token]) -> list[JsonObject]:
        text, thinking = join(tokens)
        items: list[JsonObject] = []
        if thinking:
            summary = [{"type": "summary_text", "text": thinking}]
            items.append({"id": f"rs_{self.number}", "type": "reasoning", "summary": summary})
        if text:
            content = [_output_text(text)]
            items.append(
                {"id": f"msg_{self.number}", "type": "message", "status": "completed"}
                | {"role": "assistant", "content": content}
            )
        return items + [_response_call(token.number, call) for token, call in calls_of(tokens)]

    def _response(self, tokens: Sequence[Token], run: Run) -> JsonObject:
        if run.done_reason != "length":
            return self._about("completed", self._output(tokens)) | {"usage": _input_usage(run)}
        why = {"incomplete_details": {"reason": "max_output_tokens"}, "usage": _input_usage(run)}
        return self._about("incomplete", self._output(tokens)) | why

    def _about(self, status: str, output: list[JsonObject]) -> JsonObject:
        return {
            "id": f"resp_{self.number}",
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": self.name,
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": None,
        }


class MessageShape(V1Shape):
    """Blocks of thinking, of text and of calls, each begun and ended by an event of its own."""

    def __init__(self, ask: Ask, identity: Identity, clock: Clock, number: int) -> None:
        super().__init__(ask, identity, clock, number)
        self._open: str | None = None
        self._index = -1

    def token(self, token: Token) -> bytes:
        self.has_called = self.has_called or token.call is not None
        block, delta = _block(token), _delta(token)
        data = self._start()
        kind = str(block["type"])
        if kind != self._open or token.call is not None:
            data += self._close()
            self._open, self._index = kind, self._index + 1
            data += self._send("content_block_start", {"content_block": block})
        return data + self._send("content_block_delta", {"delta": delta})

    def last(self, run: Run) -> list[bytes]:
        if run.done_reason is None:
            return []
        delta = {"stop_reason": _STOP_REASONS[str(self.reason(run))], "stop_sequence": None}
        record: JsonObject = {"type": "message_delta", "delta": delta, "usage": _message_usage(run)}
        before = self._start() + self._close()
        return [before + _named_event(record), _named_event({"type": "message_stop"})]

    def whole(self, tokens: Sequence[Token], run: Run) -> bytes:
        self.has_called = bool(calls_of(tokens))
        text, thinking = join(tokens)
        said = [Token(thinking, is_thinking=True), Token(text)]
        content = [_filled(token) for token in said if token.text]
        content += [_filled(token) for token, _ in calls_of(tokens)]
        ended = {"stop_reason": _STOP_REASONS[str(self.reason(run))], "usage": _message_usage(run)}
        return encode_json(self._about() | {"content": content} | ended)

    def killed(self) -> bytes:
        error = {"type": "api_error", "message": RUNNER_KILLED}
        return _named_event({"type": "error", "error": error})

    def _start(self) -> bytes:
        if self._index >= 0:
            return b""
        return _named_event({"type": "message_start", "message": self._about()})

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        return self._send("content_block_stop", {})

    def _send(self, kind: str, more: JsonObject) -> bytes:
        return _named_event({"type": kind, "index": self._index} | more)

    def _about(self) -> JsonObject:
        return {
            "id": f"msg_{self.number}",
            "type": "message",
            "role": "assistant",
            "model": self.name,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }


def _message_usage(run: Run) -> JsonObject:
    return {"input_tokens": run.prompt_tokens, "output_tokens": run.output_tokens}


def _input_usage(run: Run) -> JsonObject:
    return _message_usage(run) | {
        "total_tokens": run.prompt_tokens + run.output_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }


def _named_event(record: JsonObject) -> bytes:
    return f"event: {record['type']}\n".encode() + event(record)


def _response_call(number: int, call: ToolCall) -> JsonObject:
    return {
        "id": f"fc_{number}",
        "type": "function_call",
        "status": "completed",
        "call_id": call.id,
        "name": call.name,
        "arguments": json.dumps(call.arguments),
    }


def _output_text(text: str) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _block(token: Token) -> JsonObject:
    """A block of messages as it begins."""
    if token.call is not None:
        return {"type": "tool_use", "id": token.call.id, "name": token.call.name, "input": {}}
    if token.is_thinking:
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def _delta(token: Token) -> JsonObject:
    if token.call is not None:
        return {"type": "input_json_delta", "partial_json": json.dumps(token.call.arguments)}
    if token.is_thinking:
        return {"type": "thinking_delta", "thinking": token.text}
    return {"type": "text_delta", "text": token.text}


def _filled(token: Token) -> JsonObject:
    """A block of messages as it ends."""
    block = _block(token)
    if token.call is not None:
        return block | {"input": dict(token.call.arguments)}
    return block | {str(block["type"]): token.text}
