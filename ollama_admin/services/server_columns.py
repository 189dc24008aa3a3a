"""The columns of a server as they are given: checked, and in the form in which they are kept."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ollama_admin.domain import labels, names, urls
from ollama_admin.domain.secret import MASK
from ollama_admin.domain.servers import ApiVersion, AuthType
from ollama_admin.errors import InvalidInput
from ollama_admin.rules import arguments

INT_LIMIT = 2**31 - 1
CLEARABLE = ("auth", "capabilities", "default_model", "headers", "labels")


def api_of(url: urls.ServerURL) -> ApiVersion:
    """The API that a URL as it was given speaks for: v1 where it ended in /v1."""
    return ApiVersion.V1 if url.v1 else ApiVersion.NATIVE


def api_version(value: ApiVersion | str | None) -> ApiVersion | None:
    if value is None:
        return None
    try:
        return ApiVersion(value)
    except ValueError as exc:
        raise InvalidInput(f"api_version {value!a} is neither native nor v1") from exc


def default_model(name: str | None) -> str | None:
    return None if name is None else names.model_name(name)


def capabilities(values: Sequence[str]) -> tuple[str, ...]:
    for value in values:
        is_trimmed = value == value.strip()
        if not value or not is_trimmed or len(value) > 100 or not value.isprintable():
            raise InvalidInput(
                f"capability {value[:100]!a} is not a word of 1-100 printable characters"
            )
    return tuple(dict.fromkeys(values))


def new_labels(given: Mapping[str, str]) -> dict[str, str]:
    """The labels of a new row."""
    return labels.changed({}, label_changes(given))


def label_changes(given: Mapping[str, str | None]) -> dict[str, str | None]:
    """Labels to set, and with None those to take away."""
    arguments.check_value("labels", given, arguments.OBJECT)
    for key, value in given.items():
        arguments.check_value("a key of labels", key, arguments.TEXT)
        if value is not None:
            arguments.check_value(f"labels.{key[: labels.KEY_LIMIT]}", value, arguments.TEXT)
    return dict(given)


def require_plain_secret(field: str, value: str) -> None:
    """Raise InvalidInput for a credential that came over HTTP and is a reference or a mask."""
    if value.startswith(("env:", "file:")):
        raise InvalidInput(
            f"{field[:100]!a} is a reference, and references cannot be set through the API",
            "set it on the server's own machine: ollama-admin server update --secret-ref",
        )
    if value == MASK:
        raise InvalidInput(
            f"{field[:100]!a} is the asterisks that stand for a secret", "leave it out to keep it"
        )


def within(value: int, column: str, least: int) -> int:
    if type(value) is not int or not least <= value <= INT_LIMIT:
        raise InvalidInput(
            f"{column} must be a whole number from {least} to {INT_LIMIT}, not {value!a}"
        )
    return value


def new_values(clear: Sequence[str], url: urls.ServerURL | None, **given: Any) -> dict[str, Any]:
    """The columns that are given, checked, and those that are to be emptied. Raises TypeError for
    one that there is not.
    """
    unknown = given.keys() - _CHECKS.keys()
    if unknown:
        raise TypeError(f"a server has no column {min(unknown)}")
    arguments.need(clear=clear)
    for column in ("is_default", "is_active", "capabilities", "default_model"):
        arguments.check(**{column: given.get(column)})
    values = {
        column: _CHECKS[column](value) for column, value in given.items() if value is not None
    }
    if url is not None:
        values["url"] = url.url
        if url.v1 or url.api:
            values.setdefault("api_version", api_of(url))
    return values | _cleared(clear, values)


def _cleared(clear: Sequence[str], given: dict[str, Any]) -> dict[str, Any]:
    for column in clear:
        if column not in CLEARABLE:
            raise InvalidInput(
                f"{column!a} cannot be cleared", f"choose from: {', '.join(CLEARABLE)}"
            )
        if given.get(column) is not None:
            raise InvalidInput(f"{column} is both given and cleared", "leave one of them out")
    empty: dict[str, Any] = {
        "auth": {"auth_type": AuthType.NONE, "auth_config": {}},
        "capabilities": {"capabilities": []},
        "default_model": {"default_model": None},
        "headers": {"headers": {}},
        "labels": {"labels": {}},
    }
    return {column: value for name in clear for column, value in empty[name].items()}


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "name": names.server_name,
    "api_version": api_version,
    "capabilities": lambda values: list(capabilities(values)),
    "max_concurrent": lambda value: within(value, "max_concurrent", 1),
    "priority": lambda value: within(value, "priority", -INT_LIMIT),
    "is_default": bool,
    "is_active": bool,
    "default_model": names.model_name,
    "labels": label_changes,
}
