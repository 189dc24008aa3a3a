"""Pure translation between what servers send and the domain.

Reads tolerantly: unknown fields appear every few weeks.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ollama_admin.domain.answers import StreamEvent
from ollama_admin.domain.models import BuildDetails, ListedModel, ShownContext
from ollama_admin.domain.names import model_key
from ollama_admin.domain.values import Json
from ollama_admin.ollama.response import BadAnswer, read_json

MODELS_LIMIT = 10_000  # models of one server
NAME_LIMIT = 500

_NUM_CTX = re.compile(r"^num_ctx\s+(\d{1,9})\s*$", re.MULTILINE)
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What an error body says; the two numbers are tokens of a prompt that does not fit."""

    text: str
    prompt_tokens: int | None = None
    context_tokens: int | None = None

    @property
    def prompt_too_long(self) -> bool:
        return self.context_tokens is not None or "context length" in self.text


def version(document: Any) -> str | None:
    """The version that `/api/version` tells, None when this is not that answer."""
    if not isinstance(document, dict):
        return None
    text = document.get("version")
    if not isinstance(text, str) or not 0 < len(text) <= 100 or "\0" in text:
        return None
    return text


def listed_models(document: Any) -> list[ListedModel]:
    """The models of `/api/tags`; null stands for none."""
    entries = _entries(document, "models")
    return _distinct(
        [_listed_model(entry, f"models[{index}]") for index, entry in enumerate(entries)]
    )


def v1_models(document: Any) -> list[ListedModel]:
    """The models of `/v1/models`: names and nothing else that could be relied on."""
    entries = _entries(document, "data")
    return _distinct([_v1_model(entry, f"data[{index}]") for index, entry in enumerate(entries)])


def build_details(document: Any) -> BuildDetails:
    """What `/api/show` tells of a build. `modelfile` holds paths of the server and is left
    alone.
    """
    show = object_of(document, "the answer")
    capabilities = _texts(list_of(show, "capabilities", required=False))
    info = object_or_empty(show, "model_info")
    architecture = info.get("general.architecture")
    return BuildDetails(
        capabilities=tuple(sorted({name for name in capabilities if len(name) <= 100})),
        context_length=count_of(info.get(f"{architecture}.context_length")),
        embedding_length=count_of(info.get(f"{architecture}.embedding_length")),
    )


def shown_context(document: Any) -> ShownContext:
    """The context that `/api/show` tells of a model, of servers of any age."""
    longest = build_details(document).context_length
    found = _NUM_CTX.search(str(document.get("parameters")))
    return ShownContext(chosen=int(found[1]) if found else None, longest=longest)


def running(document: Any) -> list[Mapping[str, Any]]:
    """The entries of `/api/ps` as they are."""
    entries = _entries(document, "models")
    return [object_of(entry, f"models[{index}]") for index, entry in enumerate(entries)]


def running_context(document: Any, name: str) -> int | None:
    """The context that `/api/ps` shows for a loaded model (servers since 0.10)."""
    for entry in list_of(object_of(document, "the answer"), "models"):
        if isinstance(entry, dict) and entry.get("name") == name:
            return count_of(entry.get("context_length"))
    return None


def loaded(document: Any) -> frozenset[str]:
    """What `/api/ps` shows: the keys of the names that loaded the models, and their digests."""
    found: set[str] = set()
    for entry in list_of(object_of(document, "the answer"), "models"):
        if not isinstance(entry, dict):
            continue
        name, digest = entry.get("name"), entry.get("digest")
        if isinstance(name, str) and name:
            found.add(model_key(name))
        if isinstance(digest, str) and digest:
            found.add(digest)
    return frozenset(found)


def native_event(document: Any) -> StreamEvent:
    """A record of `/api/generate` or `/api/chat`, as its line was read."""
    record = object_of(document, "a line of the answer")
    if "error" in record:
        return StreamEvent(error=refusal(record).text)
    message, text_key = record.get("message"), "content"
    if not isinstance(message, dict):  # `/api/generate` has none
        message, text_key = record, "response"
    event = StreamEvent(
        model=optional_text(record, "model"),
        response=optional_text(message, text_key) or "",
        thinking=optional_text(message, "thinking") or "",
        done_reason=optional_text(record, "done_reason"),
        is_remote=bool(record.get("remote_host") or record.get("remote_model")),
        tool_calls=_tool_calls(message),
        record=record,
    )
    if record.get("done") is True:
        return _last_event(event, record)
    return event


def v1_event(line: bytes) -> StreamEvent | None:
    """A line of an SSE stream of `/v1/chat/completions`; None for comments and fields that carry
    nothing.
    """
    field, _, value = line.partition(b":")
    value = value.strip()
    if field == b"error":  # llama.cpp's spelling of an error in mid-stream
        return StreamEvent(error=refusal({"error": read_json(value)}).text)
    if field != b"data" or not value:
        return None
    if value == b"[DONE]":
        return StreamEvent(done=True)
    return _v1_record(object_of(read_json(value), "a line of the answer"), "delta")


def v1_answer(document: Any) -> list[StreamEvent]:
    """The events of an answer that came as one document: some servers ignore `stream`."""
    event = _v1_record(object_of(document, "the answer"), "message")
    return [event] if event.error is not None else [event, StreamEvent(done=True)]


def _v1_record(record: Mapping[str, Any], key: str) -> StreamEvent:
    if record.get("error"):
        return StreamEvent(error=refusal(record).text)
    choice = _first_choice(record)
    delta = object_or_empty(choice, key)
    usage = object_or_empty(record, "usage")
    return StreamEvent(
        model=optional_text(record, "model"),
        response=optional_text(delta, "content") or "",
        thinking=optional_text(delta, "reasoning")
        or optional_text(delta, "reasoning_content")
        or "",
        done_reason=optional_text(choice, "finish_reason"),
        tool_calls=_tool_calls(delta),
        prompt_tokens=count_of(usage.get("prompt_tokens")),
        output_tokens=count_of(usage.get("completion_tokens")),
    )


def refusal(document: Any) -> Refusal:
    """The text of an error body in any of its shapes; the inference process's own comes as JSON
    inside a string.
    """
    error = _error(document)
    message = error.get("message")
    if not isinstance(message, str):
        message = ""
    nested = _nested(message)
    if nested is not None:
        return refusal(nested)
    return Refusal(
        text=_storable(message),
        prompt_tokens=count_of(error.get("n_prompt_tokens")),
        context_tokens=count_of(error.get("n_ctx")),
    )


def _error(document: Any) -> dict[str, Any]:
    """The error of a body as an object with a message, empty where there is none."""
    if not isinstance(document, dict):
        return {}
    error = document.get("error")
    if isinstance(error, dict):
        return error
    return {"message": error}


def _storable(text: str) -> str:
    """The text without NUL, which PostgreSQL cannot store."""
    return text.replace("\0", "\\x00")


def _nested(text: str) -> dict[str, Any] | None:
    """The error body that stands as JSON in a text, None when it is none."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        inner = read_json(text.encode())
    except (BadAnswer, UnicodeEncodeError):
        return None
    if not isinstance(inner, dict) or "error" not in inner:
        return None
    return inner


def _last_event(event: StreamEvent, record: Mapping[str, Any]) -> StreamEvent:
    """The event with what only the last record tells: numbers of the whole answer."""
    return replace(
        event,
        done=True,
        created_at=time_of(record.get("created_at")),
        total_duration=count_of(record.get("total_duration")),
        load_duration=count_of(record.get("load_duration")),
        eval_duration=count_of(record.get("eval_duration")),
        prompt_tokens=count_of(record.get("prompt_eval_count")),
        output_tokens=count_of(record.get("eval_count")),
    )


def _first_choice(record: Mapping[str, Any]) -> dict[str, Any]:
    choices = list_of(record, "choices", required=False)
    if not choices:
        return {}
    return object_of(choices[0], "choices[0]")


def _entries(document: Any, key: str) -> list[Any]:
    """The list of models under `key`; BadAnswer for more than one server may have."""
    entries = list_of(object_of(document, "the answer"), key)
    if len(entries) > MODELS_LIMIT:
        raise BadAnswer(f"the server lists {len(entries)} models, more than {MODELS_LIMIT}")
    return entries


def _listed_model(entry: Any, path: str) -> ListedModel:
    model = object_of(entry, path)
    details, details_path = object_or_empty(model, "details"), f"{path}.details"
    return ListedModel(
        name=_name(model, "name", f"{path}.name"),
        digest=_digest(model.get("digest"), path),
        size=count_of(model.get("size")),
        format=_stored_text(details, "format", details_path),
        family=_stored_text(details, "family", details_path),
        families=_families(details),
        parameter_size=_stored_text(details, "parameter_size", details_path),
        quantization_level=_stored_text(details, "quantization_level", details_path),
        modified_at=time_of(model.get("modified_at")),
        remote_host=_stored_text(model, "remote_host", path),
        remote_model=_stored_text(model, "remote_model", path),
    )


def _v1_model(entry: Any, path: str) -> ListedModel:
    return ListedModel(name=_name(object_of(entry, path), "id", f"{path}.id"))


def _families(details: Mapping[str, Any]) -> tuple[str, ...] | None:
    families = details.get("families")
    if not isinstance(families, list):
        return None
    return tuple(_texts(families))


def _tool_calls(message: Mapping[str, Any]) -> tuple[Mapping[str, Json], ...]:
    calls = list_of(message, "tool_calls", required=False)
    return tuple(call for call in calls if isinstance(call, dict))


def _distinct(models: list[ListedModel]) -> list[ListedModel]:
    """One model of each name: the last, in the place of the first. BadAnswer where one name stands
    for two builds, or for a model here and one elsewhere: such a list proves nothing.
    """
    distinct: dict[str, ListedModel] = {}
    for model in models:
        before = distinct.get(model.name, model)
        if _build(before) != _build(model):
            raise BadAnswer(f"the server lists {model.name!a} twice, as two builds")
        distinct[model.name] = model
    return list(distinct.values())


def _build(model: ListedModel) -> tuple[str | None, ...]:
    return (model.digest, model.remote_host, model.remote_model)


def object_of(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadAnswer(
            f"the answer is not what Ollama sends: {path} is {_kind(value)}, not an object"
        )
    return value


def object_or_empty(parent: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object under a key, an empty one where there is none."""
    value = parent.get(key)
    if isinstance(value, dict):
        return value
    return {}


def list_of(parent: Mapping[str, Any], key: str, *, required: bool = True) -> list[Any]:
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
    match = None
    if isinstance(value, str):
        match = _DIGEST.fullmatch(value)
    if match is None:
        raise BadAnswer(
            f"the answer is not what Ollama sends: {path}.digest is not a sha256 digest"
        )
    return match[1].lower()


def optional_text(parent: Mapping[str, Any], key: str, path: str = "") -> str | None:
    """The text under a key, None where there is none; `path` leads to the parent, for the error."""
    value = parent.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        if path:
            key = f"{path}.{key}"
        raise BadAnswer(f"the answer is not what Ollama sends: {key} is {_kind(value)}, not text")
    return value


def _stored_text(parent: Mapping[str, Any], key: str, path: str) -> str | None:
    value = optional_text(parent, key, path)
    if value is not None and "\0" in value:
        raise BadAnswer(f"{path}.{key} has a character that cannot be stored")
    return value


def count_of(value: Any) -> int | None:
    """A number that a column can hold, None for anything else."""
    if type(value) is int and 0 <= value < 2**63:
        return value
    return None


def time_of(value: Any) -> datetime | None:
    """A time in UTC; None for what is no time, or does not say its zone."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is None or time.year == 1:  # so Go writes a time that nobody set
            return None
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _kind(value: Any) -> str:
    kinds = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "a boolean",
        type(None): "null",
    }
    return kinds.get(type(value), "a number")
