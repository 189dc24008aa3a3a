"""JSON shapes of Ollama's answers, with the fields in the order the server writes them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from ollama_admin.simulator.ask import Ask
from ollama_admin.simulator.http import JSON, NDJSON, encode_json
from ollama_admin.simulator.model import SimulatedModel, ToolCall
from ollama_admin.simulator.run import Run, Token

JsonObject = dict[str, object]
Clock = Callable[[], datetime]

RUNNER_KILLED = "an error was encountered while running the model: unexpected EOF"
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

    def __init__(self, ask: Ask, identity: Identity, clock: Clock) -> None:
        self._tells_logprobs = ask.logprobs
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
        fields = {"model": who.name} | remote | {"created_at": format_time(at)}
        fields |= self._text(tokens) | {"done": done}
        if self._tells_logprobs and tokens:
            fields["logprobs"] = logprobs(tokens)
        return fields

    def _text(self, tokens: Sequence[Token]) -> JsonObject:
        text, thinking = join(tokens)
        fields: JsonObject = {"response": text}
        if thinking:
            fields["thinking"] = thinking
        return fields

    def _context(self) -> JsonObject:
        return {"context": _CONTEXT}


class ChatShape(GenerateShape):
    def _text(self, tokens: Sequence[Token]) -> JsonObject:
        text, thinking = join(tokens)
        message: JsonObject = {"role": "assistant", "content": text}
        if thinking:
            message["thinking"] = thinking
        if calls := calls_of(tokens):
            message["tool_calls"] = [_call(token.number, call) for token, call in calls]
        return {"message": message}

    def _context(self) -> JsonObject:
        return {}


def native_error(message: str) -> bytes:
    return encode_json({"error": message})


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
        "size_vram": round(model.size * 4 * model.gpu_share),
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


def _call(number: int, call: ToolCall) -> JsonObject:
    function = {"index": number, "name": call.name, "arguments": dict(call.arguments)}
    return {"id": call.id, "function": function}


def join(tokens: Sequence[Token]) -> tuple[str, str]:
    """What is said, and what is thought."""
    text = "".join(token.text for token in tokens if not token.is_thinking)
    return text, "".join(token.text for token in tokens if token.is_thinking)


def calls_of(tokens: Sequence[Token]) -> list[tuple[Token, ToolCall]]:
    return [(token, token.call) for token in tokens if token.call is not None]


def logprobs(tokens: Sequence[Token]) -> list[JsonObject]:
    return [
        {"token": token.text, "logprob": -0.25, "bytes": list(token.text.encode())}
        for token in tokens
        if token.text
    ]


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
