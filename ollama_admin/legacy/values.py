"""The form of a value, and what it says by its role; errors name the place, never the secret."""

import ipaddress
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ollama_admin.domain import names, urls
from ollama_admin.domain.values import Json
from ollama_admin.errors import InvalidInput
from ollama_admin.legacy.envfile import Binding

NUMBER_LIMIT = 2**31 - 1  # what the columns hold
LABEL_LIMIT = 100  # characters of a capability
PLACEHOLDER = "a placeholder"
TRUE = frozenset({"true", "1", "yes", "on"})
SWITCH_WORDS = TRUE | {"false", "0", "no", "off"}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROL_IN_LIST = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_UNFILLED = r"<.*>|\{\{.*\}\}|\[[A-Z][A-Z_ -]*\]|(?:https?://)?your[-_ ].*"
_PLACEHOLDER = re.compile(_UNFILLED, re.IGNORECASE | re.DOTALL)
_PLACEHOLDER_KEY = re.compile(
    rf"(?:bearer(?: +|$))?(?:|{_UNFILLED}|(?:sk-)?(?:x+|\.+|\*+|your.*)|sk-?|n/?a|to-?do|"
    r"empty|none|null|ollama|dummy|fake|placeholder|change[-_ ]?me|no[-_ ]?key|"
    r"(?:(?:dummy|fake)[-_ ]?)?(?:api[-_ ]?)?(?:key|token|password)(?:[-_ ]here)?|"
    r"(?:not|un)[-_ ]?(?:needed|required|used|necessary))",
    re.IGNORECASE | re.DOTALL,
)
# a host that somebody should have filled in
_PLACEHOLDER_HOST = re.compile(
    r"(?:https?://)?(?:[^/@\s]*@)?(?:"
    r"[^/:]*(?:<|\{|\[[^\]/]*[g-z_ -][^\]/]*\])[^/]*|"
    r"(?:[0-9]{1,3}\.){1,3}(?:x{1,3}|\*)[.x*0-9]*|x+(?:\.x+)+|"
    r"(?:(?:server|remote|host|gpu|ollama|local|lan|the)[-_])?ip(?:[-_]?address)?(?:[-_]here)?|"
    r"(?:change|replace)[-_]?(?:me|this)|"
    r"[^/:]*[-_]here|host:port)(?::[^/]*)?(?:/.*)?",
    re.IGNORECASE,
)
# a URL or host:port, as far as it must be known to see whether it is Ollama's
_ADDRESS = re.compile(
    r"(?:(?P<scheme>[a-z]+)://)?(?:[^/@\s]*@)?(?P<host>\[[0-9a-f:.]+\]|[^\s/:,;@\[\]{}\"'=]+)"
    r"(?::(?P<port>[0-9]{1,5}))?(?:/\S*)?",
    re.IGNORECASE,
)
_MENTION = re.compile(r"(?:[a-z\].-][0-9]{0,4}|\]):11434\b|//ollama\b", re.IGNORECASE)
_SHELL = re.compile(r"\$\(|`|\$[A-Za-z_]|%[A-Za-z_]+%")
MODEL_OF_OLLAMA = re.compile(r"ollama(?:_chat)?[:/](?![0-9]{1,5}(?:/|$))", re.IGNORECASE)
_FOREIGN_MODEL = re.compile(
    r"(?:\w+/)?(?:gpt-[0-9]|o[1-9]-|chatgpt|claude|gemini|text-embedding-).*|.*[=\s].*",
    re.IGNORECASE,
)
_LISTEN = re.compile(r"(?:https?://)?(?:0\.0\.0\.0|\[::\]|::|\*)?(?::[0-9]+)?/?")
IPV6 = re.compile(r"\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]")


def is_placeholder(text: str, *, key: bool = False) -> bool:
    """Whether a value only stands for one that somebody should have filled in."""
    pattern = _PLACEHOLDER_KEY if key else _PLACEHOLDER
    return pattern.fullmatch(text) is not None


def no_server(text: str) -> str | None:
    """Why a value is no URL of a server, if its form alone says so."""
    if is_json(text) and not is_placeholder(text):
        return None
    number = f"a number: a count, or the port of http://localhost:{text[:5]}"
    reasons = (
        (text.startswith("/"), "a path on the program's own host, not a server"),
        (text and _LISTEN.fullmatch(text), "an address to listen on, not one to connect to"),
        (re.fullmatch("[0-9]+", text), number),
        (text.lower() in SWITCH_WORDS, "a switch, not a server"),
        (is_placeholder(text) or _PLACEHOLDER_HOST.fullmatch(text[:2000]), PLACEHOLDER),
        (_SHELL.search(text), "only a shell can say what it means"),
    )
    return next((why for holds, why in reasons if holds), None)


def unquoted(text: str) -> str:
    """Without the spaces and quotes that Ollama itself strips from `OLLAMA_HOST`."""
    return text.strip().strip("\"'").strip()


def is_address(text: str) -> bool:
    """Whether it can only be a URL, an address or a dotted name, not some word."""
    match = _ADDRESS.fullmatch(text[:2000])
    if match is None:
        return is_ipv6(text)
    is_host = "." in match["host"] or match["host"].lower() == "localhost"
    return bool(is_host or match["scheme"] or match["port"])


def is_ollama(text: str) -> bool:
    """Whether a URL or a host with a port is Ollama's: by the port 11434 or the host `ollama`."""
    match = _ADDRESS.fullmatch(text[:2000])
    if match is None:
        return False
    host = match["host"].lower()
    is_named = host.split(".")[0] == "ollama" and host not in ("ollama.com", "ollama.ai")
    is_url = bool(match["scheme"] or match["port"])
    return match["port"] == str(urls.OLLAMA_PORT) or (is_named and is_url)


def shown_address(text: str) -> str:
    """A URL for a message: its host and port, without what could be a secret."""
    match = _ADDRESS.fullmatch(text[:2000])
    if match is None:
        return "a part of it"
    return ":".join(filter(None, match.group("host", "port")))


def mentions_ollama(text: str) -> bool:
    """Whether the URL of an Ollama server stands somewhere in it."""
    return bool(_MENTION.search(text))


def is_model_of_ollama(text: str) -> bool:
    """Whether a name says itself that it is a model of Ollama, as `ollama/llama3`."""
    return bool(MODEL_OF_OLLAMA.match(text)) and not text.lower().startswith("ollama/ollama")


def is_model_name(text: str) -> bool:
    """Whether it can be the name of a model on an Ollama server."""
    try:
        names.model_name(text)
    except InvalidInput:
        return False
    return not (is_model_list(text) or _FOREIGN_MODEL.fullmatch(text))


def is_model_list(text: str) -> bool:
    return bool(re.search(r"[,;\s]", text.strip()))


def is_json(text: str) -> bool:
    text = text.lstrip()
    return text.startswith(("[", "{")) and not IPV6.match(text)


def is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def problem(binding: Binding, text: str, hint: str | None = None) -> InvalidInput:
    """The error for a value that cannot be used; it does not repeat the value."""
    return InvalidInput(f"{binding.place} {text}", hint)


def checked(binding: Binding, text: str, many: bool = False) -> str:
    """The text, or InvalidInput for a control character; a list may hold tabs and line ends."""
    if (_CONTROL_IN_LIST if many else _CONTROL).search(text):
        hint = "remove it: the value is taken as it is"
        raise problem(binding, "holds a control character", hint)
    return text


def complete(binding: Binding, text: str, port: int | None, https: bool | None) -> str:
    """The URL with a scheme and a port that were written apart, where it has none of its own."""
    if is_ipv6(text):
        text = f"[{text}]"
    scheme, mark, authority = text.rstrip("/").rpartition("://")
    secure = scheme.lower() == "https"
    if mark and https is not None and secure is not https:
        what = f"says {scheme}, and another variable the opposite"
        raise problem(binding, what, "make them agree")
    has_port = "/" in authority or re.search(r":[0-9]*$", authority.rpartition("@")[2])
    if not has_port and port is not None:
        if mark and not secure and port == urls.DEFAULT_PORTS["https"]:
            raise problem(binding, f"says {scheme} for port {port}", "write https://, or no scheme")
        text = f"{scheme}{mark}{authority}:{port}"
    if not mark and (https or (https is False and port is not None)):
        text = f"{'https' if https else 'http'}://{text}"
    return text


def server_url(binding: Binding, text: str) -> tuple[urls.ServerURL, urls.Userinfo | None]:
    """A URL as `urls.server_url` reads it, and the user and password that stood in it."""
    bare, userinfo = urls.split_userinfo(text)
    if is_ipv6(bare):
        bare = f"[{bare}]"
    try:
        return urls.server_url(bare), userinfo
    except InvalidInput as exc:
        if "@" in (binding.value or ""):  # a part of a password could be in the message
            hint = "write special characters of a password %-encoded: %2C for a comma, %40 for an @"
            raise problem(binding, "holds no server URL that can be read", hint) from None
        raise InvalidInput(f"{binding.place}: {exc.message}", exc.hint) from exc


def server_name(binding: Binding, text: str) -> str:
    with at(binding):
        return names.server_name(text.strip())


def model_name(binding: Binding, text: str) -> str:
    """The name as Ollama has it, without the `ollama/` of other programs."""
    with at(binding):
        return names.model_name(MODEL_OF_OLLAMA.sub("", text.strip(), count=1))


@contextmanager
def at(binding: Binding) -> Iterator[None]:
    """Say of an error where the value stands."""
    try:
        yield
    except InvalidInput as exc:
        raise InvalidInput(f"{binding.place}: {exc.message}", exc.hint) from exc


def capabilities(binding: Binding, text: str) -> tuple[str, ...]:
    """The words of a list with commas, semicolons or JSON, each once."""
    parts = re.split(r"[,;\r\n]", text)
    if text.lstrip().startswith("["):
        parts = json_texts(binding, text)
    words = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not words or any(len(word) > LABEL_LIMIT or not word.isprintable() for word in words):
        what = "holds no list of capabilities"
        raise problem(binding, what, "write them as in general,reasoning")
    return words


def whole_number(binding: Binding, text: str, least: int, most: int = NUMBER_LIMIT) -> int:
    if re.fullmatch(r"\s*[+-]?[0-9]{1,10}\s*", text) and least <= int(text) <= most:
        return int(text)
    raise problem(binding, f"is not a whole number from {least} to {most}")


def switch(binding: Binding, text: str) -> bool:
    word = text.strip().lower()
    if word in SWITCH_WORDS:
        return word in TRUE
    raise problem(binding, "is neither true nor false")


def https(binding: Binding, text: str) -> bool:
    """What a scheme or a switch that was written apart says."""
    word = text.strip().lower().removesuffix("://")
    if word in ("http", "https"):
        return word == "https"
    return switch(binding, word)


def parsed_json(binding: Binding, text: str) -> Json:
    try:
        document: Json = json.loads(text)
    except (ValueError, RecursionError) as exc:
        line = getattr(exc, "lineno", None)
        where = f" (line {line} of the value)" if line else ""
        raise problem(binding, f"is not valid JSON{where}") from None
    return document


def json_texts(binding: Binding, text: str) -> list[str]:
    document = parsed_json(binding, text)
    if isinstance(document, list) and all(isinstance(entry, str) for entry in document):
        return [str(entry) for entry in document]
    raise problem(binding, "is JSON, but not a list of strings")
