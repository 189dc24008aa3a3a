"""The types of arguments from Python, where nothing else has checked them.

A text where a list is wanted would be read letter by letter, and what is no text fails somewhere
below with an error that names no argument.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from os import PathLike
from typing import Any

from ollama_admin.errors import InvalidInput

Kind = tuple[str, tuple[type, ...]]  # in words, and the types

TEXT: Kind = ("text", (str,))
FLAG: Kind = ("true or false", (bool,))
NUMBER: Kind = ("a number", (int, float))
WHOLE: Kind = ("a whole number", (int,))
OBJECT: Kind = ("an object", (Mapping,))
SERVER: Kind = ("a name or a number", (str, int))
TIME: Kind = ("a datetime", (datetime,))
PATH: Kind = ("a path", (str, PathLike))

_VALUES: Mapping[str, Kind] = {
    "name": TEXT,
    "url": TEXT,
    "database_url": TEXT,
    "environ": OBJECT,
    "server": SERVER,
    "model": TEXT,
    "capability": TEXT,
    "default_model": TEXT,
    "digest": TEXT,
    "is_default": FLAG,
    "is_active": FLAG,
    "auth_config": OBJECT,
    "headers": OBJECT,
    "timeout": NUMBER,
    "concurrency": WHOLE,
    "parallel": WHOLE,
    "keep_alive": ("seconds or a duration", (int, float, str)),
    "source": TEXT,
    "destination": TEXT,
    "since": TIME,
    "key": SERVER,
    "before": TIME,
    "receipt": SERVER,
    "by": TEXT,
    "who": TEXT,
    "action": TEXT,
    "allow_remote": FLAG,
    "allow_truncate": FLAG,
    "anonymous": FLAG,
    "max_concurrent": WHOLE,
    "weight": WHOLE,
    "requests_per_minute": WHOLE,
    "tokens_per_day": WHOLE,
    "expires_at": TIME,
    "note": TEXT,
    "registry": TEXT,
    "request_id": TEXT,
    "left": SERVER,
    "right": SERVER,
}
_LISTS: Mapping[str, Kind] = {
    "servers": SERVER,
    "capabilities": TEXT,
    "clear": TEXT,
    "files": PATH,
    "messages": OBJECT,
    "tools": OBJECT,
    "can": TEXT,
    "models": TEXT,
    "networks": TEXT,
    "labels": TEXT,
}


def check(**arguments: Any) -> None:
    """Raise InvalidInput for an argument of another type than its name has; values are not shown.

    None is as if it were not given.
    """
    for name, value in arguments.items():
        if value is None:
            continue
        if name in _LISTS:
            check_list(name, value, _LISTS[name])
        else:
            check_value(name, value, _VALUES[name])


def need(**arguments: Any) -> None:
    """Raise InvalidInput for None, and for an argument of another type than its name has."""
    for name, value in arguments.items():
        if value is None:
            raise InvalidInput(f"{name} is not given")
    check(**arguments)


def check_value(name: str, value: object, kind: Kind) -> None:
    """Raise InvalidInput for a value that is of none of the types."""
    what, types = kind
    if not _fits(value, types):
        raise InvalidInput(f"{name} is {described(value)}, not {what}")


def check_list(name: str, values: object, kind: Kind) -> None:
    """Raise InvalidInput for what is no list, and for an item that is of none of the types."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise InvalidInput(f"{name} is {described(values)}, not a list")
    for index, value in enumerate(values):
        check_value(f"{name}[{index}]", value, kind)


def described(value: object) -> str:
    """The type of a value, for an error that does not show the value."""
    return f"of type {type(value).__name__}"


def _fits(value: object, types: tuple[type, ...]) -> bool:
    """Whether it is of one of the types; true and false are no numbers here."""
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types)
