"""Values that must not be seen, and references to where they are kept."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from ollama_admin.errors import InvalidInput

MASK = "********"
OWN_VARIABLES = "OLLAMA_ADMIN_"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_RESERVED = frozenset(
    (
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


class Secret:
    """Shows itself as asterisks everywhere; only `reveal` tells the value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return MASK

    def __format__(self, _: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        import hmac  # noqa: PLC0415 (loads OpenSSL, which no other part of a short command needs)

        return isinstance(other, Secret) and hmac.compare_digest(
            self._value.encode(), other._value.encode()
        )

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, _: Any) -> "Secret":
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where a secret is kept outside the database: an environment variable or a file, read at each
    use.
    """

    kind: Literal["env", "file"]
    name: str

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read `env:VAR` or `file:PATH` (made absolute); InvalidInput for a variable of our own."""
        kind, _, name = text.partition(":")
        if kind == "env" and _VARIABLE.fullmatch(name):
            if name.upper().startswith(OWN_VARIABLES):
                raise InvalidInput(
                    f"a reference cannot name {name}: that is a setting of ollama-admin itself"
                )
            return cls(kind="env", name=name)
        if kind == "file" and name and "\0" not in name:
            return cls(kind="file", name=_absolute(name))
        # the text is not repeated: somebody may have put the secret itself here
        raise InvalidInput(
            "a reference names neither a variable nor a file", "write env:VARIABLE or file:PATH"
        )

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


def _absolute(path: str) -> str:
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError as exc:
        raise InvalidInput(
            f"the home folder in {path!a} is not known", "write the whole path"
        ) from exc


def header_name(text: str) -> str:
    """A header's name as given, or InvalidInput; those that HTTP itself needs are refused."""
    if not _TOKEN.fullmatch(text):
        raise InvalidInput(f"{text!a} is not a header name", "letters, digits and - are usual")
    if text.casefold() in _RESERVED:
        raise InvalidInput(f"header {text} cannot be set: HTTP itself uses it")
    return text


def check_header_value(what: str, value: str) -> None:
    """Raise InvalidInput for what cannot stand in a header; the value is never repeated."""
    if not value:
        raise InvalidInput(f"the {what} is empty")
    if any(character in value for character in "\r\n\0"):
        raise InvalidInput(
            f"the {what} has a line break or a NUL in it", "did you mean the whole file?"
        )
    if value != value.strip():
        raise InvalidInput(f"the {what} begins or ends with a space")
    if not value.isprintable() or not _is_latin1(value):
        raise InvalidInput(f"the {what} has characters that a header cannot carry")


def _is_latin1(value: str) -> bool:
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True
