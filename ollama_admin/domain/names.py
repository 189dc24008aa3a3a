"""Rules for the names of servers and models."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol, Self, TypeVar

from ollama_admin.errors import InvalidInput

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
SERVER_NAME_LIMIT = 100
MODEL_NAME_LIMIT = 500
_REGISTRY_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class HasName(Protocol):
    @property
    def name(self) -> str: ...


Named = TypeVar("Named", bound=HasName)


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model's name as somebody spelt it, taken apart once. Equal keys are one name to Ollama, in
    whatever spelling.
    """

    text: str
    key: str
    is_cloud: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take a name apart; InvalidInput for a text that cannot be one."""
        path, tag = _split_tag(model_name(text))
        return cls(text, _key(path, tag), _is_cloud_tag(tag))

    def among(self, models: Iterable[Named]) -> list[Named]:
        """Those that have this name, to Ollama: in whatever spelling."""
        return [
            model
            for model in models
            if model.name == self.text or model_key(model.name) == self.key
        ]

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryName:
    """Where a registry keeps what a model's name means: its host, with the port where one is named,
    and the path there, in the spelling of the name.
    """

    host: str
    repository: str
    tag: str

    @classmethod
    def parse(cls, name: str) -> Self:
        """Fill in Ollama's defaults; InvalidInput for a name that no registry can have."""
        path, tag = _split_tag(name)
        host, namespace, model = _parts(path)
        words = (namespace, model, tag)
        if "/" in host or not all(_REGISTRY_WORD.fullmatch(word) for word in words):
            raise InvalidInput(f"no registry can have a model named {name!a}")
        return cls(host=host.lower(), repository=f"{namespace}/{model}", tag=tag)


def server_name(text: str) -> str:
    """The name in NFC, or InvalidInput with the rule that it breaks."""
    name = unicodedata.normalize("NFC", text)
    problem = _server_name_problem(name)
    if problem:
        raise InvalidInput(
            f"server name {text[:SERVER_NAME_LIMIT]!a} {problem}",
            f"a name has 1-{SERVER_NAME_LIMIT} printable characters, no space at its ends, no "
            "leading '-', "
            "and is not all digits (digits are ids)",
        )
    return name


def server_key(name: str) -> str:
    """What two spellings of one server name have in common: NFC and case folded."""
    folded = unicodedata.normalize("NFC", name).casefold()
    return unicodedata.normalize("NFC", folded)


def model_key(name: str) -> str:
    """A model name with Ollama's defaults filled in and case folded: equal keys are the same name
    to Ollama.
    """
    path, tag = _split_tag(name)
    return _key(path, tag)


def short_model_name(key: str) -> str:
    """A key as people write it: without the default host and namespace, always with its tag."""
    path = key.removeprefix(f"{DEFAULT_HOST}/")
    if path == key:
        return key
    return path.removeprefix(f"{DEFAULT_NAMESPACE}/")


def is_cloud_name(name: str) -> bool:
    """Whether Ollama itself would send this name's prompt to ollama.com (tag `cloud`, or one ending
    in `-cloud`).
    """
    return _is_cloud_tag(_split_tag(name)[1])


def without_cloud(name: str) -> str:
    """The name under which ollama.com answers for a cloud name: `gpt-oss:120b-cloud` is
    `gpt-oss:120b` there.
    """
    for suffix in ("-cloud", ":cloud"):
        if name.casefold().endswith(suffix):
            return name[: -len(suffix)]
    return name


def model_name(text: str) -> str:
    """The name as given, or InvalidInput: a name is never changed before it is sent."""
    if not text.strip():
        raise InvalidInput(
            "the model name is empty", "write it as models shows it, such as llama3.2:3b"
        )
    if len(text) > MODEL_NAME_LIMIT:
        raise InvalidInput(
            f"a model name has at most {MODEL_NAME_LIMIT} characters, this one has {len(text)}"
        )
    if text != text.strip() or not text.isprintable():
        raise InvalidInput(
            f"model name {text!a} has a space at its ends or a character that cannot be printed"
        )
    return text


def is_glob(pattern: str) -> bool:
    return any(mark in pattern for mark in "*?[")


def matches_model(name: str, pattern: str) -> bool:
    """Whether a glob, or a name without a wildcard, means a model, whatever its spelling: with the
    defaults filled in, and the tag `latest` said or not.
    """
    key = model_key(name)
    if not is_glob(pattern):
        return key == model_key(pattern)
    shortest = short_model_name(key)
    spellings = {key, shortest, shortest.removesuffix(f":{DEFAULT_TAG}")}
    return any(fnmatchcase(spelling, pattern.casefold()) for spelling in spellings)


def matches_server(name: str, pattern: str) -> bool:
    return fnmatchcase(server_key(name), server_key(pattern))


def _key(path: str, tag: str) -> str:
    host, namespace, model = _parts(path)
    return f"{host}/{namespace}/{model}:{tag}".casefold()


def _parts(path: str) -> tuple[str, str, str]:
    """Host, namespace and model of a name without its tag, with Ollama's defaults filled in."""
    parts = path.split("/")
    model = parts.pop()
    namespace = DEFAULT_NAMESPACE
    if parts:
        namespace = parts.pop()
    return "/".join(parts) or DEFAULT_HOST, namespace, model


def _is_cloud_tag(tag: str) -> bool:
    folded = tag.casefold()
    return folded == "cloud" or folded.endswith("-cloud")


def _split_tag(name: str) -> tuple[str, str]:
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, DEFAULT_TAG
    return head, tag or DEFAULT_TAG


def _server_name_problem(name: str) -> str | None:
    rules = (
        (not name, "is empty"),
        (len(name) > SERVER_NAME_LIMIT, f"is longer than {SERVER_NAME_LIMIT} characters"),
        (name != name.strip(), "begins or ends with a space"),
        (name.startswith("-"), "begins with '-'"),
        (not name.isprintable(), "has a control, bidi or other character that cannot be printed"),
        (name.isdecimal(), "is all digits"),
    )
    return next((problem for broken, problem in rules if broken), None)
