"""The columns of a server as they are given: checked, and in the form in which they are kept."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ollama_admin.domain import labels, names, urls
from ollama_admin.domain.secret import MASK
from ollama_admin.domain.servers import ApiVersion, AuthType
from ollama_admin.errors import InvalidInput
from ollama_admin.rules import arguments

INT_LIMIT = 2**31 - 1
TRANSPORT = ("ca_file", "client_cert_file", "client_key_file", "proxy")
CLEARABLE = tuple(
    sorted(("auth", "capabilities", "default_model", "headers", "labels") + TRANSPORT)
)


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


def transport(**given: str | None) -> dict[str, Any]:
    """The columns of `TRANSPORT` that are given, checked. Raises TypeError for another one."""
    unknown = given.keys() - set(TRANSPORT)
    if unknown:
        raise TypeError(f"a server has no column {min(unknown)}")
    return {column: _CHECKS[column](value) for column, value in given.items() if value is not None}


def require_fitting(url: str, columns: Mapping[str, Any]) -> None:
    """Raise InvalidInput where a row's certificates could check nothing: for http://, or a key
    without the certificate that it belongs to.
    """
    files = [name for name in TRANSPORT if name.endswith("_file") and columns.get(name)]
    if files and not url.startswith("https://"):
        raise InvalidInput(
            f"{files[0]} is for https:// only, and the URL is {url}",
            "give the https:// URL of the server, or leave the files out",
        )
    if columns.get("client_key_file") and not columns.get("client_cert_file"):
        raise InvalidInput(
            "there is a client key, and no client certificate", "give the certificate, too"
        )


def _pem_file(column: str, value: str) -> str:
    """A path, made absolute: another process may run in another folder."""
    arguments.check_value(column, value, arguments.TEXT)
    if not value or not value.isprintable():
        raise InvalidInput(f"{column} {value[:100]!a} is not a path")
    return str(Path(value).expanduser().absolute())


def _proxy(value: str) -> str:
    """The URL of a proxy without credentials: the column is no place for a secret."""
    arguments.check_value("proxy", value, arguments.TEXT)
    scheme, separator, rest = value.partition("://")
    if "@" in rest:
        raise InvalidInput(
            "the proxy of a server cannot have a password",
            "a proxy with one is for all servers: OLLAMA_ADMIN_PROXY",
        )
    try:
        parts = urlsplit(value)
        is_origin = parts.hostname and parts.port != 0 and parts.path in ("", "/")
    except ValueError:
        is_origin = False
    if scheme not in ("http", "https") or not is_origin or not value.isascii() or " " in value:
        raise InvalidInput("the proxy is not an http:// or https:// URL", "http://host:3128")
    return scheme + separator + rest.rstrip("/")


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
    } | {column: {column: None} for column in TRANSPORT}
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
    "ca_file": partial(_pem_file, "ca_file"),
    "client_cert_file": partial(_pem_file, "client_cert_file"),
    "client_key_file": partial(_pem_file, "client_key_file"),
    "proxy": _proxy,
}
