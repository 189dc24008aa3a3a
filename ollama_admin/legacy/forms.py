"""The form of a value: a URL, a listen address, a placeholder, JSON, the name of a model."""

import ipaddress
import re

from ollama_admin.domain import names, urls
from ollama_admin.errors import InvalidInput

PLACEHOLDER = "a placeholder"
TRUE = frozenset({"true", "1", "yes", "on"})
SWITCH_WORDS = TRUE | {"false", "0", "no", "off"}

_PLACEHOLDER = re.compile(
    r"<.*>|\{\{.*\}\}|\[[A-Z][A-Z_ -]*\]|(?:https?://)?your[-_ ].*", re.IGNORECASE | re.DOTALL
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
_PLACEHOLDER_KEY = re.compile(
    r"empty|none|null|ollama|dummy|fake|n/?a|x+|\*+|\.+|sk-?|(?:sk-)?(?:x+|\.+|\*+|your.*)|"
    r"(?:(?:dummy|fake)[-_ ]?)?(?:api[-_ ]?)?(?:key|token|password)(?:[-_ ]here)?|"
    r"change[-_ ]?me|placeholder|to-?do|no[-_ ]?key|(?:not|un)[-_ "
    r"]?(?:needed|required|used|necessary)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"bearer(?: +|$)", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+")
_LISTEN = re.compile(r"(?:https?://)?(?:0\.0\.0\.0|\[::\]|::|\*)?(?::[0-9]+)?/?")
IPV6 = re.compile(r"\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]")


def is_placeholder(text: str, *, key: bool = False) -> bool:
    """Whether a value only stands for one that somebody should have filled in."""
    if key:
        text = _BEARER.sub("", text)
        if not text or _PLACEHOLDER_KEY.fullmatch(text):
            return True
    return bool(_PLACEHOLDER.fullmatch(text))


def no_server(text: str) -> str | None:
    """Why a value is no URL of a server, if its form alone says so."""
    if is_json(text) and not is_placeholder(text):
        return None
    reasons = (
        (text.startswith("/"), "a path on the program's own host, not a server"),
        (text and _LISTEN.fullmatch(text), "an address to listen on, not one to connect to"),
        (_NUMBER.fullmatch(text), f"a number: a count, or the port of http://localhost:{text[:5]}"),
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
    host = match["host"].lower()
    return bool(match["scheme"] or match["port"] or "." in host or host == "localhost")


def is_ollama(text: str) -> bool:
    """Whether a URL or a host with a port is Ollama's: by the port 11434 or the host `ollama`."""
    match = _ADDRESS.fullmatch(text[:2000])
    if match is None:
        return False
    host = match["host"].lower()
    named = host.split(".")[0] == "ollama" and host not in ("ollama.com", "ollama.ai")
    has_mark = bool(match["scheme"] or match["port"])
    return match["port"] == str(urls.OLLAMA_PORT) or (named and has_mark)


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
