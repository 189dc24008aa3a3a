"""A fleet file, read: every mistake in it is told at once, with its line and column."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ollama_admin.domain import names, urls
from ollama_admin.domain.digests import digest_prefix
from ollama_admin.domain.fleet_file import (
    STORED,
    Entry,
    FleetFile,
    Mistake,
    Noun,
    Position,
    WantedModel,
)
from ollama_admin.domain.labels import carries, wanted_labels
from ollama_admin.domain.secret import Reference, Secret, header_name
from ollama_admin.domain.servers import DEFAULT_API_KEY_HEADER, SECRET_FIELDS, AuthType
from ollama_admin.domain.values import Given
from ollama_admin.errors import InvalidFile, InvalidInput
from ollama_admin.rules import yaml_nodes
from ollama_admin.rules.fleet_schema import RawEntry, RawFile, Shape
from ollama_admin.services import key_columns, server_columns
from ollama_admin.services.upstream_auth import read_auth

T = TypeVar("T")

MOST_TOLD = 100  # mistakes of one file
_UNSEEN = Secret("x")  # in the place of a secret that nobody reads here
KEY_FIELDS: Mapping[str, Any] = dict(key_columns.DEFAULTS) | dict(key_columns.CLEARABLE)
SERVER_FIELDS: Mapping[str, Any] = {
    "api_version": "native",
    "capabilities": [],
    "max_concurrent": 1,
    "priority": 0,
    "is_active": True,
    "default_model": None,
    "labels": {},
    "auth": {},
    "headers": {},
    "ca_file": None,
    "client_cert_file": None,
    "client_key_file": None,
    "proxy": None,
}


# what a file leaves out
DEFAULTS: Mapping[str, Mapping[str, Any]] = {"servers": SERVER_FIELDS, "keys": KEY_FIELDS}


def read_file(data: str | bytes) -> FleetFile:
    """The document of a YAML or JSON text. Raises InvalidFile with all that is wrong."""
    if isinstance(data, bytes):
        try:
            data = data.decode()
        except UnicodeDecodeError as exc:
            raise InvalidFile.of_lines(["the file is not UTF-8"]) from exc
    reading = yaml_nodes.read(data)
    mistakes = reading.mistakes
    file = FleetFile(owner="")
    if reading.root is not None:
        raw = Shape(mistakes).file(reading.root)
        file = _Meanings(mistakes).file(raw)
    if mistakes:
        raise _invalid(mistakes)
    return file


def model_name(text: str) -> str:
    """The name of one model that a server can be told to pull; InvalidInput for another text."""
    names.model_name(text)
    if names.is_glob(text) or "@" in text:
        raise InvalidInput(f"{text[:100]!a} does not name one model", "write it as llama3.2:3b")
    return text


def _invalid(mistakes: list[Mistake]) -> InvalidFile:
    ordered = sorted(mistakes, key=lambda each: (each.position.line, each.position.column))
    lines = list(dict.fromkeys(str(mistake) for mistake in ordered))
    told = lines[:MOST_TOLD]
    if len(lines) > MOST_TOLD:
        told.append(f"and {len(lines) - MOST_TOLD} more")
    return InvalidFile.of_lines(told)


class _Meanings:
    """Checks what the fields of a document say, and keeps what is wrong."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        self._mistakes = mistakes

    def file(self, raw: RawFile) -> FleetFile:
        owner = self._checked(raw.owner, "owner", _owner) or ""
        servers = self._all(raw.servers, self._server, "the server")
        self._refuse_same_urls(servers)
        default = self._default_server(raw.settings, servers)
        return FleetFile(
            owner=owner,
            servers=servers,
            models=self._models(raw.models, servers),
            pins=self._all(raw.pins, self._pin, "the pin"),
            keys=self._all(raw.keys, self._key, "the key"),
            default_server=default,
        )

    def _add(self, position: Position, message: str) -> None:
        self._mistakes.append(Mistake(position, message))

    def _try(self, position: Position, check: Callable[[], T]) -> T | None:
        """What a check gives back; None where it refuses, which is a mistake of the file."""
        try:
            return check()
        except InvalidInput as exc:
            hint = ""
            if exc.hint and "--" not in exc.hint and "ollama-admin" not in exc.hint:
                hint = f"; {exc.hint}"
            self._add(position, f"{exc.message}{hint}")
            return None

    def _checked(self, raw: RawEntry, name: str, check: Callable[[Any], T]) -> T | None:
        """A field that is given, checked."""
        if name not in raw.values:
            return None
        return self._try(raw.at(name), lambda: check(raw.values[name]))

    def _all(
        self, raws: Iterable[RawEntry], read: Callable[[RawEntry], Entry | None], what: str
    ) -> list[Entry]:
        entries: dict[str, Entry] = {}
        for raw in raws:
            entry = read(raw)
            if entry is None:
                continue
            if entry.key in entries:
                first = entries[entry.key].position.line
                self._add(raw.at("name"), f"{what} {entry.name!r} stands in line {first}, too")
            else:
                entries[entry.key] = entry
        return list(entries.values())

    def _server(self, raw: RawEntry) -> Entry | None:
        name = self._checked(raw, "name", names.server_name)
        url = self._checked(raw, "url", urls.server_url)
        if "url" not in raw.positions:
            self._add(raw.position, "a server has no url")
        values = dict(SERVER_FIELDS)
        if url is not None:
            values["url"] = url.url
            values["api_version"] = str(server_columns.api_of(url))
        for field, check in _SERVER_CHECKS.items():
            if (value := self._checked(raw, field, check)) is not None:
                values[field] = value
        if url is not None:
            self._try(raw.position, lambda: server_columns.require_fitting(url.url, values))
        credentials = self._try(raw.at("auth"), lambda: _credentials(raw.values))
        values |= credentials or {}
        if name is None:
            return None
        key = names.server_key(name)
        return Entry(noun=Noun.SERVER, name=name, key=key, values=values, position=raw.at("name"))

    def _refuse_same_urls(self, servers: Iterable[Entry]) -> None:
        lines: dict[str, int] = {}
        for entry in servers:
            url = entry.values.get("url", "")
            if url in lines:
                self._add(entry.position, f"the URL {url} stands in line {lines[url]}, too")
            elif url:
                lines[url] = entry.position.line

    def _default_server(self, raw: RawEntry, servers: Iterable[Entry]) -> str | None:
        name = self._checked(raw, "default_server", str)
        if name is None:
            return None
        known = {entry.key: entry.name for entry in servers}
        if names.server_key(name) not in known:
            self._add(raw.at("default_server"), f"the file has no server {name[:100]!r}")
        return known.get(names.server_key(name))

    def _pin(self, raw: RawEntry) -> Entry | None:
        name = self._checked(raw, "name", names.model_name)
        digest = self._checked(raw, "digest", digest_prefix)
        if "digest" not in raw.positions:
            self._add(raw.position, "a pin has no digest")
        if name is None:
            return None
        key, values = names.model_key(name), {"digest": digest}
        return Entry(noun=Noun.PIN, name=name, key=key, values=values, position=raw.at("name"))

    def _key(self, raw: RawEntry) -> Entry | None:
        values = dict(KEY_FIELDS)
        for field in raw.values:
            values |= self._checked(raw, field, partial(_key_column, field)) or {}
        name = values.pop("name", None)
        if name is None:
            return None
        values["can"] = [str(right) for right in values["can"]]
        self._try(raw.position, lambda: key_columns.check_columns(name, values))
        key = names.server_key(name)
        return Entry(noun=Noun.KEY, name=name, key=key, values=values, position=raw.at("name"))

    def _models(self, raws: Iterable[RawEntry], servers: Iterable[Entry]) -> list[WantedModel]:
        known = {entry.key: entry for entry in servers}
        wanted: dict[tuple[str, str], WantedModel] = {}
        for raw in raws:
            name = self._checked(raw, "name", model_name)
            digest = self._checked(raw, "digest", digest_prefix)
            for server in self._places(raw, known):
                if name is None:
                    continue
                if (server, name) in wanted:
                    self._add(raw.at("name"), f"{name!r} is named for {server!r} already")
                model = WantedModel(server=server, model=name, digest=digest)
                wanted[server, name] = model
        return list(wanted.values())

    def _places(self, raw: RawEntry, known: Mapping[str, Entry]) -> list[str]:
        """The names of the servers that a model is wanted on, each once."""
        if "servers" not in raw.positions and "labels" not in raw.positions:
            self._add(raw.position, "a model has neither servers nor labels that say where")
        places = {}
        for name in raw.values.get("servers", ()):
            entry = known.get(names.server_key(name))
            if entry is None:
                self._add(raw.at("servers"), f"the file has no server {name[:100]!r}")
            else:
                places[entry.key] = entry.name
        labels = self._checked(raw, "labels", wanted_labels)
        if labels:
            chosen = [each for each in known.values() if carries(each.values["labels"], labels)]
            if not chosen:
                self._add(raw.at("labels"), f"no server of the file has {', '.join(labels)}")
            places |= {entry.key: entry.name for entry in chosen}
        return list(places.values())


def _owner(text: str) -> str:
    try:
        return names.server_name(text)
    except InvalidInput as exc:
        raise InvalidInput(exc.message.replace("server name", "owner", 1)) from exc


def _key_column(field: str, value: Any) -> dict[str, Any]:
    return key_columns.new_values(**{field: value})


def _credentials(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields `auth` and `headers`, with references in one spelling."""
    auth = dict(values.get("auth") or {})
    headers = dict(values.get("headers") or {})
    secret = auth.get("secret")
    kind = auth.get("type", "none" if not auth else "")
    if not kind:
        raise InvalidInput("auth has no type: basic, bearer or api_key")
    if kind != AuthType.NONE and secret is None:
        raise InvalidInput("auth has no secret: env:NAME, file:/PATH or stored")
    config = {name: text for name, text in auth.items() if name not in ("type", "secret")}
    given: dict[str, Given] = dict(config)
    if secret is not None and kind in SECRET_FIELDS:
        given[SECRET_FIELDS[AuthType(kind)]] = secret_of(secret)
    read_auth(kind, given, {name: secret_of(text) for name, text in headers.items()})
    shown: dict[str, Any] = {}
    if kind != AuthType.NONE:
        if kind == AuthType.API_KEY:
            config = {"header_name": header_name(config.get("header_name", _HEADER))}
        shown = {"type": kind} | config | {"secret": _spelt(str(secret))}
    return {"auth": shown, "headers": {name: _spelt(headers[name]) for name in sorted(headers)}}


_HEADER = DEFAULT_API_KEY_HEADER


def secret_of(text: str) -> Secret | Reference:
    """Where a secret is; for one that is stored, something that stands for it."""
    if text == STORED:
        return _UNSEEN
    if text.startswith("file:"):
        _whole_path("the file of a secret", text.removeprefix("file:"))
    try:
        return Reference.parse(text)
    except InvalidInput as exc:
        if "setting of" in exc.message:
            raise
        raise InvalidInput(
            "a secret is env:NAME, file:/PATH or stored, never the secret itself"
        ) from exc


def _whole_path(what: str, path: str) -> str:
    """The path, which means the same wherever the file is applied."""
    if not Path(path).is_absolute():
        raise InvalidInput(f"{what} is named by its whole path, as /run/secrets/key")
    return path


def _transport(column: str, value: str) -> Any:
    """A column that says how connections are made."""
    if column != "proxy":
        _whole_path(column, value)
    return server_columns.transport(**{column: value})[column]


def _spelt(text: str) -> str:
    if text == STORED:
        return text
    return str(secret_of(text))


_SERVER_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "api_version": lambda text: str(server_columns.api_version(text)),
    "capabilities": lambda texts: list(server_columns.capabilities(texts)),
    "max_concurrent": lambda number: server_columns.within(number, "max_concurrent", 1),
    "priority": lambda number: server_columns.within(number, "priority", -server_columns.INT_LIMIT),
    "is_active": bool,
    "default_model": names.model_name,
    "labels": server_columns.new_labels,
    "ca_file": partial(_transport, "ca_file"),
    "client_cert_file": partial(_transport, "client_cert_file"),
    "client_key_file": partial(_transport, "client_key_file"),
    "proxy": partial(_transport, "proxy"),
}
