"""Pure translation between what servers send and the domain.

Reads tolerantly: unknown fields appear every few weeks.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ollama_admin.domain import strict_json
from ollama_admin.domain.answers import StreamEvent
from ollama_admin.domain.models import BuildDetails, ListedModel
from ollama_admin.domain.values import Json

MODELS_LIMIT = 10_000  # models of one server
NAME_LIMIT = 500
# of one document, counted by what opens or parts them: `{},` takes 3 bytes to send, 70 to hold
VALUES_LIMIT = 300_000


_DIGEST = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")


class BadAnswer(Exception):
    """What was sent is not what an Ollama server sends; `Endpoint` names the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What an error body says; the two numbers are tokens of a prompt that does not fit."""

    text: str
    prompt_tokens: int | None = None
    context_tokens: int | None = None

    @property
    def prompt_too_long(self) -> bool:
        return self.context_tokens is not None or "longer than the context length" in self.text


def loads(data: bytes) -> Any:
    """JSON in UTF-8, read strictly; BadAnswer for anything else."""
    if len(data) > VALUES_LIMIT and sum(map(data.count, (b",", b"[", b"{"))) > VALUES_LIMIT:
        raise BadAnswer(f"the answer holds more than {VALUES_LIMIT} values")
    try:
        return strict_json.loads(data)
    except RecursionError as exc:
        raise BadAnswer("the answer is not JSON that can be read: nested too deep") from exc
    except ValueError as exc:
        raise BadAnswer("the answer is not JSON that can be read") from exc


def version(document: Any) -> str | None:
    """The version that `/api/version` tells, None when this is not that answer."""
    found = document.get("version") if isinstance(document, dict) else None
    return found if isinstance(found, str) and 0 < len(found) <= 100 and "\0" not in found else None


def listed_models(document: Any) -> list[ListedModel]:
    """The models of `/api/tags`; null stands for none."""
    entries = _list(_object(document, "the answer"), "models")
    if len(entries) > MODELS_LIMIT:
        raise BadAnswer(f"the server lists {len(entries)} models, more than {MODELS_LIMIT}")
    return _distinct(
        [_listed_model(entry, f"models[{index}]") for index, entry in enumerate(entries)]
    )


def v1_models(document: Any) -> list[ListedModel]:
    """The models of `/v1/models`: names and nothing else that could be relied on."""
    entries = _list(_object(document, "the answer"), "data")
    if len(entries) > MODELS_LIMIT:
        raise BadAnswer(f"the server lists {len(entries)} models, more than {MODELS_LIMIT}")
    models = [_object(entry, f"data[{index}]") for index, entry in enumerate(entries)]
    return _distinct(
        [
            ListedModel(name=_name(model, "id", f"data[{index}].id"))
            for index, model in enumerate(models)
        ]
    )


def build_details(document: Any) -> BuildDetails:
    """What `/api/show` tells of a build. `modelfile` holds paths of the server and is left
    alone.
    """
    show = _object(document, "the answer")
    capabilities = _list(show, "capabilities", required=False)
    info = show.get("model_info")
    info = info if isinstance(info, dict) else {}
    architecture = info.get("general.architecture")
    return BuildDetails(
        capabilities=tuple(sorted({item for item in _texts(capabilities) if len(item) <= 100})),
        context_length=_count(info.get(f"{architecture}.context_length")),
        embedding_length=_count(info.get(f"{architecture}.embedding_length")),
    )


def running_context(document: Any, name: str) -> int | None:
    """The context that `/api/ps` shows for a loaded model (servers since 0.10)."""
    for entry in _list(_object(document, "the answer"), "models"):
        if isinstance(entry, dict) and entry.get("name") == name:
            return _count(entry.get("context_length"))
    return None


def native_event(line: bytes) -> StreamEvent:
    """A line of `/api/generate` or `/api/chat`."""
    record = _object(loads(line), "a line of the answer")
    if "error" in record:
        return StreamEvent(error=refusal(record).text)
    message = record.get("message")
    said = message if isinstance(message, dict) else record
    done = record.get("done") is True
    return StreamEvent(
        model=_optional_text(record, "model"),
        response=_optional_text(said, "content" if said is message else "response") or "",
        thinking=_optional_text(said, "thinking") or "",
        done=done,
        done_reason=_optional_text(record, "done_reason"),
        is_remote=bool(record.get("remote_host") or record.get("remote_model")),
        tool_calls=_tool_calls(said),
        record=record,
        **(_numbers(record) if done else {}),
    )


def _numbers(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the last record tells of the whole answer."""
    return {
        "created_at": _time(record.get("created_at")),
        "total_duration": _count(record.get("total_duration")),
        "load_duration": _count(record.get("load_duration")),
        "eval_duration": _count(record.get("eval_duration")),
        "prompt_tokens": _count(record.get("prompt_eval_count")),
        "output_tokens": _count(record.get("eval_count")),
    }


def v1_event(line: bytes) -> StreamEvent | None:
    """A line of an SSE stream of `/v1/chat/completions`; None for comments and fields that carry
    nothing.
    """
    field, _, value = line.partition(b":")
    value = value.strip()
    if field == b"error":  # llama.cpp's spelling of an error in mid-stream
        return StreamEvent(error=refusal({"error": loads(value)}).text)
    if field != b"data" or not value:
        return None
    if value == b"[DONE]":
        return StreamEvent(done=True)
    record = _object(loads(value), "a line of the answer")
    if record.get("error"):
        return StreamEvent(error=refusal(record).text)
    choices = _list(record, "choices", required=False)
    choice = _object(choices[0], "choices[0]") if choices else {}
    delta = choice.get("delta")
    delta = delta if isinstance(delta, dict) else {}
    usage = record.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return StreamEvent(
        model=_optional_text(record, "model"),
        response=_optional_text(delta, "content") or "",
        thinking=_optional_text(delta, "reasoning")
        or _optional_text(delta, "reasoning_content")
        or "",
        done_reason=_optional_text(choice, "finish_reason"),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
    )


def refusal(document: Any) -> Refusal:
    """The text of an error body in any of its shapes; the inference process's own comes as JSON
    inside a string.
    """
    error = document.get("error") if isinstance(document, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    if not isinstance(message, str):
        message = ""
    nested = _nested(message)
    if nested is not None:
        return refusal(nested)
    if isinstance(error, dict):
        return Refusal(
            text=_excerpt(message),
            prompt_tokens=_count(error.get("n_prompt_tokens")),
            context_tokens=_count(error.get("n_ctx")),
        )
    return Refusal(text=_excerpt(message))


def _excerpt(text: str) -> str:
    """An error's text as it can be kept: PostgreSQL stores no NUL."""
    return text.replace("\0", "\\x00")


def _nested(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        inner = loads(text.encode())
    except (BadAnswer, UnicodeEncodeError):
        return None
    return inner if isinstance(inner, dict) and "error" in inner else None


def _listed_model(entry: Any, path: str) -> ListedModel:
    model = _object(entry, path)
    details = model.get("details")
    details = details if isinstance(details, dict) else {}
    inside = f"{path}.details"
    families = details.get("families")
    return ListedModel(
        name=_name(model, "name", f"{path}.name"),
        digest=_digest(model.get("digest"), path),
        size=_count(model.get("size")),
        format=_stored_text(details, "format", inside),
        family=_stored_text(details, "family", inside),
        families=tuple(_texts(families)) if isinstance(families, list) else None,
        parameter_size=_stored_text(details, "parameter_size", inside),
        quantization_level=_stored_text(details, "quantization_level", inside),
        modified_at=_time(model.get("modified_at")),
        remote_host=_stored_text(model, "remote_host", path),
        remote_model=_stored_text(model, "remote_model", path),
    )


def _tool_calls(said: Mapping[str, Any]) -> tuple[Mapping[str, Json], ...]:
    return tuple(
        call for call in _list(said, "tool_calls", required=False) if isinstance(call, dict)
    )


def _distinct(models: list[ListedModel]) -> list[ListedModel]:
    return list({model.name: model for model in models}.values())


def _object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadAnswer(
            f"the answer is not what Ollama sends: {path} is {_kind(value)}, not an object"
        )
    return value


def _list(parent: Mapping[str, Any], key: str, *, required: bool = True) -> list[Any]:
    value = parent.get(key)
    if value is None and (key in parent or not required):  # Go writes an empty list as null
        return []
    if not isinstance(value, list):
        raise BadAnswer(f"the answer is not what Ollama sends: {key} is {_kind(value)}, not a list")
    return value


def _name(parent: Mapping[str, Any], key: str, path: str) -> str:
    value = parent.get(key)
    if not isinstance(value, str) or not value:
        raise BadAnswer(f"the answer is not what Ollama sends: {path} is not a name")
    if len(value) > NAME_LIMIT:
        raise BadAnswer(f"{path} has {len(value)} characters, more than {NAME_LIMIT}")
    if "\0" in value:
        raise BadAnswer(f"{path} has a character that cannot be stored")
    return value


def _texts(values: list[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str) and "\0" not in value]


def _digest(value: Any, path: str) -> str | None:
    if value is None or value == "":
        return None
    found = _DIGEST.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise BadAnswer(
            f"the answer is not what Ollama sends: {path}.digest is not a sha256 digest"
        )
    return found[1].lower()


def _optional_text(parent: Mapping[str, Any], key: str, path: str = "") -> str | None:
    value = parent.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        place = f"{path}.{key}" if path else key
        raise BadAnswer(f"the answer is not what Ollama sends: {place} is {_kind(value)}, not text")
    return value


def _stored_text(parent: Mapping[str, Any], key: str, path: str) -> str | None:
    value = _optional_text(parent, key, path)
    if value is not None and "\0" in value:  # the place is put together only then
        raise BadAnswer(f"{path}.{key} has a character that cannot be stored")
    return value


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        return found.astimezone(UTC) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _kind(value: Any) -> str:
    kinds = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "a truth value",
        type(None): "null",
    }
    return kinds.get(type(value), "a number")
