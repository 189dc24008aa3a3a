"""The columns of a key as they are given: checked, and in the form in which they are kept."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ollama_admin.domain import keys, labels
from ollama_admin.domain.keys import Key, Right
from ollama_admin.domain.names import MODEL_NAME_LIMIT, server_name
from ollama_admin.errors import InvalidInput
from ollama_admin.rules import arguments
from ollama_admin.services.server_columns import within

BIG_LIMIT = 2**63 - 1
WORDS = 100  # globs or networks of one key
NOTE_LIMIT = 500
CLEARABLE: Mapping[str, Any] = {
    "models": [],
    "servers": [],
    "networks": [],
    "max_concurrent": None,
    "requests_per_minute": None,
    "tokens_per_day": None,
    "expires_at": None,
    "note": None,
}
DEFAULTS: Mapping[str, Any] = {
    "can": [Right.ASK],
    "models": [],
    "servers": [],
    "networks": [],
    "allow_remote": False,
    "allow_truncate": False,
    "anonymous": False,
    "weight": 1,
}
_FOR_STRANGERS = (Right.ASK, Right.READ)  # what those without a key may be allowed


def new_values(clear: Sequence[str] = (), **given: Any) -> dict[str, Any]:
    """The columns that are given, checked, and those that are to be emptied."""
    arguments.check(clear=clear, **given)
    values = {
        column: _CHECKS[column](value) for column, value in given.items() if value is not None
    }
    for column in clear:
        if column not in CLEARABLE:
            raise InvalidInput(
                f"{column[:100]!a} cannot be cleared", f"these can: {', '.join(CLEARABLE)}"
            )
        if column in values:
            raise InvalidInput(f"{column} is both given and cleared", "leave one of the two out")
        values[column] = CLEARABLE[column]
    return values


def check_together(key: Key) -> None:
    """Raise InvalidInput for a key of which one column forbids what another one says."""
    columns = {"anonymous": key.anonymous, "networks": key.networks, "can": key.can}
    check_columns(key.name, columns)


def check_columns(name: str, columns: Mapping[str, Any]) -> None:
    """Raise InvalidInput where one column of a key forbids what another one says."""
    if not columns["anonymous"]:
        return
    if not columns["networks"]:
        raise InvalidInput(
            f"key {name} is for requests without a key, and names no network",
            "say whose they may be: --network 10.0.0.0/8",
        )
    if any(right not in _FOR_STRANGERS for right in columns["can"]):
        raise InvalidInput(
            f"key {name} is for requests without a key, which may only ask and read",
            "give it no other right, or leave --anonymous out",
        )


def key_name(text: str) -> str:
    """A name by the rules for servers."""
    try:
        return server_name(text)
    except InvalidInput as exc:
        message = exc.message.replace("server name", "key name", 1)
        raise InvalidInput(message, exc.hint) from exc


def _can(values: Sequence[str]) -> list[str]:
    try:
        rights = keys.rights(values)
    except ValueError as exc:
        raise InvalidInput(
            f"a right in {', '.join(values)[:200]!a} is not known", f"there are: {', '.join(Right)}"
        ) from exc
    if not rights:
        raise InvalidInput("a key has one right at least", f"there are: {', '.join(Right)}")
    return list(rights)


def _globs(values: Sequence[str]) -> list[str]:
    for value in values:
        if not value.strip() or len(value) > MODEL_NAME_LIMIT or not value.isprintable():
            raise InvalidInput(
                f"{value[:100]!a} is no name and no glob", "write it as llama3.2:3b or qwen*"
            )
    return _few(values)


def _servers(values: Sequence[str]) -> list[str]:
    for value in values:
        label = labels.label_of_right(value)
        if label is not None:
            labels.wanted_labels((label,))
    return _globs(values)


def _networks(values: Sequence[str]) -> list[str]:
    return _few([_network(value) for value in values])


def _network(text: str) -> str:
    try:
        return str(keys.network(text))
    except ValueError as exc:
        hint = "write it as 10.0.0.0/8, with no bit set behind the prefix, or as one address"
        raise InvalidInput(f"{text[:100]!a} is not a network", hint) from exc


def _few(values: Sequence[str]) -> list[str]:
    unique = list(dict.fromkeys(values))
    if len(unique) > WORDS:
        raise InvalidInput(f"a key has at most {WORDS} of them, not {len(unique)}")
    return unique


def _tokens(value: int) -> int:
    if type(value) is not int or not 1 <= value <= BIG_LIMIT:
        raise InvalidInput(f"tokens_per_day must be a whole number from 1 on, not {value!a}")
    return value


def _expires_at(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise InvalidInput(f"the time {value} has no time zone", "give it one: tzinfo=UTC")
    return value


def _note(text: str) -> str:
    if len(text) > NOTE_LIMIT or not text.isprintable():
        raise InvalidInput(f"a note has at most {NOTE_LIMIT} characters that can be printed")
    return text


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "name": key_name,
    "can": _can,
    "models": _globs,
    "servers": _servers,
    "networks": _networks,
    "allow_remote": bool,
    "allow_truncate": bool,
    "anonymous": bool,
    "max_concurrent": lambda value: within(value, "max_concurrent", 1),
    "weight": lambda value: within(value, "weight", 1),
    "requests_per_minute": lambda value: within(value, "requests_per_minute", 1),
    "tokens_per_day": _tokens,
    "expires_at": _expires_at,
    "note": _note,
}
