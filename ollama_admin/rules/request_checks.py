"""Checks on what is asked for, before anything is sent."""

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence

from ollama_admin.domain.callers import Caller
from ollama_admin.domain.digests import digest_prefix
from ollama_admin.domain.labels import wanted_labels
from ollama_admin.domain.names import ModelName
from ollama_admin.domain.requests import (
    EmbedRequest,
    GenerateRequest,
    Message,
    Question,
    Request,
    Route,
    Terms,
    credentials_without_url,
)
from ollama_admin.domain.servers import ApiVersion
from ollama_admin.domain.values import Json
from ollama_admin.errors import InvalidInput
from ollama_admin.rules import v1
from ollama_admin.rules.request_types import check_types

# Options that Ollama knows, by the type it insists on: it answers 500 to another one, and ignores
# unknown names.
OPTION_TYPES: Mapping[str, type] = {
    **dict.fromkeys(
        (
            "num_keep",
            "seed",
            "num_predict",
            "top_k",
            "repeat_last_n",
            "num_ctx",
            "num_batch",
            "num_gpu",
            "main_gpu",
            "num_thread",
            "draft_num_predict",
        ),
        int,
    ),
    **dict.fromkeys(
        (
            "top_p",
            "min_p",
            "typical_p",
            "temperature",
            "repeat_penalty",
            "presence_penalty",
            "frequency_penalty",
        ),
        float,
    ),
    "use_mmap": bool,
    "stop": list,
}
_TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list of strings",
}
_DURATION = re.compile(r"-?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")


def checked(asked: GenerateRequest, caller: Caller, *, needs_content: bool = True) -> Request:
    """The request, or InvalidInput for what no server could answer as asked.

    Without `needs_content` the caller has named a path of Ollama's API, and what is ignored there
    is its own affair. Else an empty prompt or conversation is refused, too: Ollama would load the
    model and say nothing.
    """
    check_types(asked)
    _check_question(asked, needs_content=needs_content)
    check_terms(asked)
    check_route(asked)
    name = None
    if asked.model is not None:
        name = ModelName.parse(asked.model)
    cannot_carry = {}
    obstacle = v1.obstacle(asked, of_ollama_client=not needs_content)
    if obstacle is not None:
        cannot_carry[ApiVersion.V1] = obstacle
    return Request(
        name=name,
        route=asked.route(),
        terms=asked.terms(),
        caller=caller,
        cannot_carry=cannot_carry,
        needs_vision=needs_content and _has_images(asked),
    )


def checked_embed(asked: EmbedRequest, caller: Caller) -> Request:
    """The request for vectors, or InvalidInput for what no server could answer as asked."""
    check_types(asked)
    if not asked.input or not all(asked.input):
        raise InvalidInput("a text is empty", "write it after the command, or pipe it in")
    for text in asked.input:
        _check_text("text", text)
    if asked.dimensions is not None and asked.dimensions < 1:
        raise InvalidInput("the number of dimensions must be 1 or more")
    for key, value in asked.options.items():
        check_option(key, value)
    if asked.keep_alive is not None:
        check_keep_alive(asked.keep_alive)
    check_terms(asked)
    check_route(asked)
    cannot_carry = {}
    if asked.options:
        cannot_carry[ApiVersion.V1] = f"--option {next(iter(asked.options))}"
    elif asked.keep_alive is not None:
        cannot_carry[ApiVersion.V1] = "--keep-alive"
    return Request(
        name=None if asked.model is None else ModelName.parse(asked.model),
        route=asked.route(),
        terms=asked.terms(),
        caller=caller,
        cannot_carry=cannot_carry,
    )


def _has_images(question: Question) -> bool:
    messages = question.messages or ()
    return bool(question.images) or any(message.get("images") for message in messages)


def check_keep_alive(value: float | str) -> None:
    """Seconds, or a duration as Ollama reads it (`5m`, `1h30m`); negative means for ever."""
    if isinstance(value, str):
        is_duration = _DURATION.fullmatch(value) is not None
    else:
        is_duration = math.isfinite(value)
    if not is_duration:
        raise InvalidInput(
            f"keep-alive {value!a} is not a duration", "write seconds, or as in 5m, 1h30m, -1, 0"
        )


def unknown_options(options: Mapping[str, Json]) -> list[str]:
    """Option names that no Ollama known to us reads; it would ignore them."""
    return [key for key in options if key not in OPTION_TYPES]


def _check_question(question: Question, *, needs_content: bool) -> None:
    _check_text("prompt", question.prompt)
    if question.messages is not None:
        _check_messages(question, question.messages)
    if needs_content and not question.prompt and question.messages is None:
        raise InvalidInput("the prompt is empty", "write it after the command, or pipe it in")
    if needs_content and question.messages is not None and not question.messages:
        raise InvalidInput("there are no messages")
    if question.system is not None:
        _check_text("system text", question.system)
    if needs_content:
        _check_place(question)
    for name in ("suffix", "template"):
        text = getattr(question, name)
        if text is not None:
            _check_text(name, text)
    _check_json("the context", list(question.context or ()))
    _check_format(question.format)
    for key, value in question.options.items():
        check_option(key, value)
    if question.keep_alive is not None:
        check_keep_alive(question.keep_alive)


def _check_place(question: Question) -> None:
    """`/api/chat` reads nothing of a prompt's own fields, and `/api/generate` no tools: they would
    be ignored without a word.
    """
    if question.tools and question.messages is None:
        raise InvalidInput("tools are given without messages", "put the prompt into messages")
    for name in ("raw", "template", "suffix", "context"):
        if not getattr(question, name):
            continue
        if question.messages is not None:
            raise InvalidInput(f"{name} is given beside messages", "it goes with a prompt")
        if question.think is not None:
            raise InvalidInput(
                f"both {name} and think are given", "leave one out: no server reads them together"
            )


def _check_messages(question: Question, messages: Sequence[Message]) -> None:
    if question.prompt or question.system or question.images:
        raise InvalidInput(
            "messages are given beside a prompt, a system text or images",
            "put them into the messages",
        )
    for index, message in enumerate(messages):
        _check_message(f"messages[{index}]", message)
    _check_json("the tools", [dict(tool) for tool in question.tools])


def _check_message(what: str, message: Mapping[str, Json]) -> None:
    role, content, images = message.get("role"), message.get("content"), message.get("images")
    if not isinstance(role, str) or not role:
        raise InvalidInput(f"{what} has no role")
    if content is not None and not isinstance(content, str):
        raise InvalidInput(f"the content of {what} is not text")
    if images is not None:
        for image in images if isinstance(images, list) else [None]:
            decoded_image(f"images of {what}", image)
    _check_json(what, dict(message))


def decoded_image(what: str, text: object) -> bytes:
    """The bytes of an image in base64, in the one spelling that comes out again when they are
    encoded.
    """
    try:
        image = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        image = b""
    if not image or base64.b64encode(image).decode() != text:
        raise InvalidInput(f"{what}: not an image in base64")
    return image


def check_route(route: Route) -> None:
    given = (route.auth_type, route.auth_config, route.headers)
    if route.server_url is None and any(part is not None for part in given):
        raise credentials_without_url()
    choices = {
        "--server": route.server is not None,
        "--server-url": route.server_url is not None,
        "--capability": route.capability is not None,
    }
    hint = "each of them chooses the server: keep one"
    _refuse_several(choices, hint)
    if route.labels:
        wanted_labels(route.labels)
        _refuse_several(choices | {"--capability": False, "--label": True}, hint)


def _refuse_several(options: Mapping[str, bool], hint: str) -> None:
    """Raise InvalidInput where more than one of these options is given."""
    given = [option for option, is_given in options.items() if is_given]
    if len(given) > 1:
        named = f"{', '.join(given[:-1])} and {given[-1]}"
        raise InvalidInput(f"{named} are given together", hint)


def check_terms(terms: Terms) -> None:
    if terms.timeout is not None and not terms.timeout > 0:
        raise InvalidInput("the timeout must be greater than 0 seconds")
    if not terms.wait >= 0:
        raise InvalidInput("the time to wait must be 0 seconds or more")
    if terms.digest is not None:
        digest_prefix(terms.digest)
    looks = {
        "--digest": terms.digest is not None,
        "--verified": terms.verified,
        "--no-verify": terms.no_verify,
    }
    _refuse_several(looks, "keep one of them")


def _check_format(value: str | Mapping[str, Json] | None) -> None:
    if isinstance(value, Mapping):
        _check_json("the JSON schema", dict(value))
    elif value not in (None, "", "json"):
        raise InvalidInput(f"format {value!a} is neither json nor a JSON schema")


def check_option(key: str, value: Json) -> None:
    """Raise InvalidInput for a model option that Ollama would refuse, or nobody can write down."""
    if not key or not key.isprintable():
        raise InvalidInput(f"option name {key!a} is empty or cannot be printed")
    _check_json(f"option {key}", value)
    wanted = OPTION_TYPES.get(key)
    if wanted is None:
        return
    fits = {
        int: type(value) is int,
        float: type(value) in (int, float),
        bool: type(value) is bool,
        list: isinstance(value, list) and all(isinstance(item, str) for item in value),
    }
    if not fits[wanted]:
        raise InvalidInput(f"option {key} must be {_TYPE_NAMES[wanted]}, not {value!a}")


def _check_json(what: str, value: Json) -> None:
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidInput(
            f"{what} cannot be written as JSON", "NaN, infinity and lone surrogates cannot"
        ) from exc


def _check_text(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidInput(f"the {what} is not UTF-8 text (character {exc.start + 1})") from exc
