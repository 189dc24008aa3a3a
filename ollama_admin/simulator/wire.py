"""JSON shapes of Ollama's answers, with the fields in the order the server writes them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from ollama_admin.simulator.http import JSON, NDJSON, PLAIN_JSON, SSE, encode_json
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.run import Run, Token

JsonObject = dict[str, object]
Clock = Callable[[], datetime]

RUNNER_KILLED = "an error was encountered while running the model: unexpected EOF"
_V1_ERROR_TYPES = {400: "invalid_request_error", 404: "not_found_error"}
# Real servers show token ids here; two of them stand for all.
_CONTEXT = [229, 153]


class Shape(Protocol):
    """How one endpoint writes a run. Pieces of a stream are sent as they are returned."""

    stream_type: str
    whole_type: str

    def token(self, token: Token) -> bytes: ...
    def last(self, run: Run) -> list[bytes]: ...
    def whole(self, tokens: Sequence[Token], run: Run) -> bytes: ...
    def killed(self) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a reply says it comes from."""

    name: str
    remote_model: str | None = None
    remote_host: str | None = None


class GenerateShape:
    """The request's time is measured from here to the final record."""

    stream_type = NDJSON
    whole_type = JSON

    def __init__(self, identity: Identity, clock: Clock) -> None:
        self._identity = identity
        self._clock = clock
        self._started = clock()

    def token(self, token: Token) -> bytes:
        record = self._record(self._clock(), [token], done=False)
        return encode_json(record) + b"\n"

    def last(self, run: Run) -> list[bytes]:
        if not run.done_reason:
            return []
        return [self.whole((), run) + b"\n"]

    def whole(self, tokens: Sequence[Token], run: Run) -> bytes:
        at = self._clock()
        if run.done_reason is None:
            return encode_json(self._record(at, tokens, done=False))
        final: JsonObject = {"done_reason": run.done_reason}
        if run.done_reason not in ("load", "unload"):
            final |= self._context() | _metrics(run, at - self._started)
        return encode_json(self._record(at, tokens, done=True) | final)

    def killed(self) -> bytes:
        return native_error(RUNNER_KILLED) + b"\n"

    def _record(self, at: datetime, tokens: Sequence[Token], *, done: bool) -> JsonObject:
        who = self._identity
        remote: JsonObject = {}
        if who.remote_host:
            remote = {"remote_model": who.remote_model, "remote_host": who.remote_host}
        text, thinking = _join(tokens)
        fields = {"model": who.name} | remote | {"created_at": format_time(at)}
        return fields | self._text(text, thinking) | {"done": done}

    def _text(self, text: str, thinking: str) -> JsonObject:
        fields: JsonObject = {"response": text}
        if thinking:
            fields["thinking"] = thinking
        return fields

    def _context(self) -> JsonObject:
        return {"context": _CONTEXT}


class ChatShape(GenerateShape):
    def _text(self, text: str, thinking: str) -> JsonObject:
        message = {"role": "assistant", "content": text}
        if thinking:
            message["thinking"] = thinking
        return {"message": message}

    def _context(self) -> JsonObject:
        return {}


class V1Shape:
    stream_type = SSE
    whole_type = PLAIN_JSON

    def __init__(self, name: str, number: int, clock: Clock, *, include_usage: bool) -> None:
        self._name = name
        self._id = f"chatcmpl-{number}"
        self._created = int(clock().timestamp())
        self._include_usage = include_usage
        self._role: JsonObject = {"role": "assistant"}

    def token(self, token: Token) -> bytes:
        text: JsonObject = {"content": token.text}
        if token.is_thinking:
            text = {"content": "", "reasoning": token.text}
        delta, self._role = self._role | text, {}
        return _event(self._chunk([_choice(delta, None)]))

    def last(self, run: Run) -> list[bytes]:
        if run.done_reason is None:
            return []
        pieces = [_event(self._chunk([_choice({}, run.done_reason)]))]
        if self._include_usage:
            pieces.append(_event(self._chunk([]) | {"usage": _usage(run)}))
        pieces.append(b"data: [DONE]\n\n")
        return pieces

    def whole(self, tokens: Sequence[Token], run: Run) -> bytes:
        text, thinking = _join(tokens)
        message: JsonObject = {"role": "assistant", "content": text}
        if thinking:
            message["reasoning"] = thinking
        choice: JsonObject = {"index": 0, "message": message, "finish_reason": run.done_reason}
        record = self._record("chat.completion", [choice]) | {"usage": _usage(run)}
        return encode_json(record) + b"\n"

    def killed(self) -> bytes:
        return _event(self._chunk([_choice({"content": ""}, None)]) | {"model": ""})

    def _chunk(self, choices: list[JsonObject]) -> JsonObject:
        return self._record("chat.completion.chunk", choices)

    def _record(self, kind: str, choices: list[JsonObject]) -> JsonObject:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._name,
            "system_fingerprint": "fp_ollama",
            "choices": choices,
        }


def native_error(message: str) -> bytes:
    return encode_json({"error": message})


def v1_error(status: int, message: str) -> bytes:
    kind = _V1_ERROR_TYPES.get(status, "api_error")
    error = {"message": message, "type": kind, "param": None, "code": None}
    return encode_json({"error": error}) + b"\n"


def tags_entry(name: str, model: SimulatedModel, *, with_lengths: bool) -> JsonObject:
    """The list tells less than /api/show: no thinking, no tools, embedding models as others."""
    details = _details(model)
    entry: JsonObject = {
        "name": name,
        "model": name,
        "modified_at": format_time(model.modified_at),
        "size": model.size,
        "digest": model.digest,
        "details": details,
    }
    if model.remote_host:
        entry |= {"remote_model": model.remote_model, "remote_host": model.remote_host}
    if with_lengths:
        details["context_length"] = model.context_length
        details["embedding_length"] = model.embedding_length
        capabilities = ["completion"]
        capabilities += [c for c in model.capabilities if c in ("insert", "vision", "audio")]
        entry["capabilities"] = capabilities
    return entry


def ps_entry(name: str, model: SimulatedModel, *, expires_at: datetime) -> JsonObject:
    return {
        "name": name,
        "model": name,
        "size": model.size * 4,
        "digest": model.digest,
        "details": _details(model),
        "expires_at": format_time(expires_at),
        "size_vram": 0,
    }


def show_record(name: str, model: SimulatedModel) -> JsonObject:
    blob = f"/usr/share/ollama/.ollama/models/blobs/sha256-{model.digest}"
    record: JsonObject = {
        "modelfile": f"# Modelfile\n# FROM {name}\n\nFROM {blob}\nTEMPLATE {{{{ .Prompt }}}}\n",
        "template": "{{ .Prompt }}",
        "details": _details(model),
    }
    if model.remote_host:
        record |= {"remote_model": model.remote_model, "remote_host": model.remote_host}
    if model.num_ctx:
        record["parameters"] = f"num_ctx                        {model.num_ctx}"
    tensor = {"name": "output.weight", "type": "F32", "shape": [model.embedding_length, 262]}
    return record | {
        "model_info": _model_info(model),
        "tensors": [tensor],
        "capabilities": list(model.capabilities),
        "modified_at": format_time(model.modified_at),
    }


def v1_models_entry(name: str, model: SimulatedModel) -> JsonObject:
    return {
        "id": name,
        "object": "model",
        "created": int(model.modified_at.timestamp()),
        "owned_by": name.rpartition("/")[0] or "library",
    }


def format_time(at: datetime) -> str:
    """RFC 3339 as Go writes it: no trailing zeros in the fraction."""
    text = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"{text.rstrip('0').rstrip('.')}Z"


def _details(model: SimulatedModel) -> JsonObject:
    return {
        "parent_model": "",
        "format": model.format,
        "family": model.family,
        "families": [model.family],
        "parameter_size": model.parameter_size,
        "quantization_level": model.quantization_level,
    }


def _model_info(model: SimulatedModel) -> JsonObject:
    family = model.family
    info: JsonObject = {
        "general.architecture": family,
        "general.file_type": 0,
        "general.parameter_count": 538848,
        f"{family}.block_count": 1,
        f"{family}.context_length": model.context_length,
        f"{family}.embedding_length": model.embedding_length,
    }
    if "embedding" in model.capabilities:
        info[f"{family}.pooling_type"] = 1
    return info | {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": None}


def _join(tokens: Sequence[Token]) -> tuple[str, str]:
    text = "".join(token.text for token in tokens if not token.is_thinking)
    return text, "".join(token.text for token in tokens if token.is_thinking)


def _metrics(run: Run, duration: timedelta) -> JsonObject:
    """Durations in nanoseconds. Zeros are left out, as Go does: the whole is at least 1000."""
    took = max(1000, duration // timedelta(microseconds=1) * 1000)
    metrics: Mapping[str, int] = {
        "total_duration": took,
        "load_duration": took // 4,
        "prompt_eval_count": run.prompt_tokens,
        "prompt_eval_duration": took // 4,
        "eval_count": run.output_tokens,
        "eval_duration": took // 4,
    }
    return {name: value for name, value in metrics.items() if value}


def _usage(run: Run) -> JsonObject:
    return {
        "prompt_tokens": run.prompt_tokens,
        "completion_tokens": run.output_tokens,
        "total_tokens": run.prompt_tokens + run.output_tokens,
    }


def _event(record: JsonObject) -> bytes:
    return b"data: " + encode_json(record) + b"\n\n"


def _choice(delta: JsonObject, finish_reason: str | None) -> JsonObject:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}
