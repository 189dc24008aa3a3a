"""Labels of servers: words that people put on them, as `key=value`, to mean several at once."""

import re
from collections.abc import Iterable, Mapping

from ollama_admin.errors import InvalidInput

KEY_LIMIT = 63  # characters
RIGHT = "label:"  # begins a word that means servers by a label, where names and globs may stand
VALUE_LIMIT = 100  # characters
MOST = 50  # labels of one server

_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")


def label(text: str) -> tuple[str, str]:
    """The key and the value of a label as it is typed, `gpu=a100`; raises InvalidInput."""
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(
            f"label {text[:KEY_LIMIT]!a} has no value", "write it as key=value, such as gpu=a100"
        )
    return label_key(key), _value(key, value)


def labels(pairs: Mapping[str, str]) -> dict[str, str]:
    """The labels, checked and sorted by key; InvalidInput for one that cannot be, or too many."""
    if len(pairs) > MOST:
        raise InvalidInput(f"a server has at most {MOST} labels, these are {len(pairs)}")
    return {label_key(key): _value(key, pairs[key]) for key in sorted(pairs)}


def changed(own: Mapping[str, str], change: Mapping[str, str | None]) -> dict[str, str]:
    """The labels of a server after a change: None takes a key away, another value sets it."""
    left = {key: value for key, value in own.items() if key not in change}
    given = {key: value for key, value in change.items() if value is not None}
    for key in change:
        label_key(key)
    return labels(left | given)


def label_key(key: str) -> str:
    """The key as given, or InvalidInput with the rule that it breaks."""
    if not _KEY.fullmatch(key):
        raise InvalidInput(
            f"{key[:KEY_LIMIT]!a} is no key of a label",
            f"a key has 1-{KEY_LIMIT} letters, digits and . _ / -, and begins and ends with a "
            "letter or digit",
        )
    return key


def carries(own: Mapping[str, str], wanted: Iterable[str]) -> bool:
    """Whether a server with these labels has each wanted one: `gpu=a100`, or `gpu` with any
    value.
    """
    return missing(own, wanted) is None


def missing(own: Mapping[str, str], wanted: Iterable[str]) -> str | None:
    """The first of the wanted labels that a server with these labels lacks; None where it has each
    of them: `gpu=a100`, or `gpu` with any value.
    """
    for text in wanted:
        if not _carries(own, text):
            return text
    return None


def wanted_labels(texts: Iterable[str]) -> tuple[str, ...]:
    """What labels are looked for, checked: each is `gpu=a100`, or `gpu` for any value."""
    wanted = tuple(texts)
    for text in wanted:
        if "=" in text:
            label(text)
        else:
            label_key(text)
    return wanted


def label_of_right(word: str) -> str | None:
    """The label in a word such as `label:gpu=a100`; None for a name or a glob."""
    if not word.startswith(RIGHT):
        return None
    return word.removeprefix(RIGHT)


def spelt(own: Mapping[str, str]) -> list[str]:
    """The labels of a server as they are typed."""
    return [f"{key}={value}" for key, value in own.items()]


def _carries(own: Mapping[str, str], text: str) -> bool:
    key, equals, value = text.partition("=")
    return own.get(key) == value if equals else key in own


def _value(key: str, value: str) -> str:
    is_trimmed = value == value.strip()
    if not value or not is_trimmed or len(value) > VALUE_LIMIT or not value.isprintable():
        raise InvalidInput(
            f"{value[:VALUE_LIMIT]!a} is no value of label {key}",
            f"a value has 1-{VALUE_LIMIT} printable characters and no space at its ends",
        )
    return value
