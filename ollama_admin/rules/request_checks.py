"""Checks on what is asked for, before anything is sent."""

import base64
import json
import re
from collections.abc import Mapping, Sequence

from ollama_admin.domain.digests import digest_prefix
from ollama_admin.domain.names import model_name
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.domain.values import Json
from ollama_admin.errors import InvalidInput

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
V1_OPTIONS = frozenset(
    ("temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty", "num_predict")
)
V1_MESSAGE = frozenset(("role", "content", "images"))
_TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list of texts",
}
_DURATION = re.compile(r"-?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")


def check(request: GenerateRequest, *, needs_prompt: bool = True) -> None:
    """Raise InvalidInput for what no server could answer as asked."""
    _check_text("prompt", request.prompt)
    if request.messages is not None:
        _check_messages(request, request.messages)
    # Ollama loads the model and says nothing
    elif needs_prompt and not request.prompt and not request.verbatim:
        raise InvalidInput("the prompt is empty", "write it after the command, or pipe it in")
    if request.system is not None:
        _check_text("system text", request.system)
    if request.model is not None:
        model_name(request.model)
    _check_target(request)
    _check_format(request.format)
    for key, value in request.options.items():
        _check_option(key, value)
    if request.keep_alive is not None:
        check_keep_alive(request.keep_alive)
    if request.timeout is not None and not request.timeout > 0:
        raise InvalidInput("the timeout is not above 0 seconds")
    if not request.wait >= 0:
        raise InvalidInput("the time to wait is not 0 seconds or more")
    if request.digest is not None:
        digest_prefix(request.digest)
    _check_proof(request)


def check_keep_alive(value: float | str) -> None:
    """Seconds, or a duration as Ollama reads it (`5m`, `1h30m`); negative means for ever."""
    if isinstance(value, str) and not _DURATION.fullmatch(value):
        raise InvalidInput(
            f"keep-alive {value!a} is not a duration", "write seconds, or as in 5m, 1h30m, -1, 0"
        )


def v1_obstacle(request: GenerateRequest) -> str | None:
    """The first thing asked for that the OpenAI-compatible API cannot carry."""
    if request.keep_alive is not None:
        return "--keep-alive"
    if request.think is not None:
        return "--think"
    if request.tools:
        return "tools"
    if not (request.prompt or request.messages):
        return "an empty prompt, which only loads the model"
    inexpressible = (
        *(f"--option {key}" for key in request.options if key not in V1_OPTIONS),
        *request.native,
        *(
            f"{key} of a message"
            for message in request.messages or ()
            for key in message
            if key not in V1_MESSAGE
        ),
    )
    return next(iter(inexpressible), None)


def unknown_options(options: Mapping[str, Json]) -> list[str]:
    """Option names that no Ollama known to us reads; it would ignore them."""
    return [key for key in options if key not in OPTION_TYPES]


def _check_messages(request: GenerateRequest, messages: Sequence[Mapping[str, Json]]) -> None:
    if request.prompt or request.system or request.images:
        raise InvalidInput(
            "messages are given beside a prompt, a system text or images",
            "put them into the messages",
        )
    if not messages and not request.verbatim:
        raise InvalidInput("there are no messages")
    for index, message in enumerate(messages):
        _check_message(f"messages[{index}]", message)
    _check_json("the tools", [dict(tool) for tool in request.tools])


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


def _check_target(request: GenerateRequest) -> None:
    if request.server is not None and request.server_url is not None:
        raise InvalidInput(
            "both a server and a server URL are given", "leave one of --server and --server-url out"
        )
    given = (request.auth_type, request.auth_config, request.headers)
    if request.server_url is None and any(part is not None for part in given):
        raise InvalidInput(
            "credentials are given for a server that has its own",
            "they go with --server-url, or with: server update",
        )
    if request.capability is not None and (
        request.server is not None or request.server_url is not None
    ):
        raise InvalidInput(
            "a capability chooses among servers, and one is named already",
            "leave --capability or the server out",
        )


def _check_proof(request: GenerateRequest) -> None:
    given = [
        option
        for option, is_given in (
            ("--digest", request.digest is not None),
            ("--verified", request.verified),
            ("--no-verify", request.no_verify),
        )
        if is_given
    ]
    if len(given) > 1:
        raise InvalidInput(f"{' and '.join(given)} are both given", "leave one of them out")


def _check_format(value: str | Mapping[str, Json] | None) -> None:
    if isinstance(value, Mapping):
        _check_json("the JSON schema", dict(value))
    elif value not in (None, "json"):
        raise InvalidInput(f"format {value!a} is neither json nor a JSON schema")


def _check_option(key: str, value: Json) -> None:
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
        raise InvalidInput(f"option {key} is {_TYPE_NAMES[wanted]}, not {value!a}")


def _check_json(what: str, value: Json) -> None:
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidInput(
            f"{what} cannot be written as JSON", "NaN, infinity and half characters cannot"
        ) from exc


def _check_text(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidInput(f"the {what} is not UTF-8 text (character {exc.start + 1})") from exc
