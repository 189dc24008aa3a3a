"""What a plan says, done: each step by the function that the command for it uses, with its row in
the audit.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ollama_admin.domain import urls
from ollama_admin.domain.fleet_file import STORED, Action, Entry, FleetFile, Noun, Plan, Step
from ollama_admin.domain.keys import IssuedKey
from ollama_admin.domain.names import model_key, server_key
from ollama_admin.domain.servers import SECRET_FIELDS, ApiVersion, AuthType, Server
from ollama_admin.domain.values import Given
from ollama_admin.services import keys, pins, servers
from ollama_admin.services.audit import Tell, Told
from ollama_admin.services.fleet_reading import secret_of
from ollama_admin.services.upstream_auth import UpstreamAuth, read_auth
from ollama_admin.store import pins as store_pins
from ollama_admin.store import servers as store_servers

_CREDENTIALS = ("auth", "headers")


class Applying:
    """The steps of one plan, in one transaction."""

    def __init__(self, connection: Any, auth: UpstreamAuth, file: FleetFile, tell: Tell) -> None:
        self._connection = connection
        self._auth = auth
        self._owner = file.owner
        self._tell = tell
        self._servers = {entry.key: entry for entry in file.servers}
        self._issued: list[IssuedKey] = []
        self._ways: Mapping[tuple[Noun, Action], Callable[[Step], None]] = {
            (Noun.SERVER, Action.ADD): self._add_server,
            (Noun.SERVER, Action.CHANGE): self._change_server,
            (Noun.SERVER, Action.ADOPT): self._change_server,
            (Noun.SERVER, Action.REMOVE): self._remove_server,
            (Noun.SETTING, Action.CHANGE): self._set_default,
            (Noun.PIN, Action.ADD): self._set_pin,
            (Noun.PIN, Action.CHANGE): self._set_pin,
            (Noun.PIN, Action.ADOPT): self._set_pin,
            (Noun.PIN, Action.REMOVE): self._remove_pin,
            (Noun.KEY, Action.ADD): self._add_key,
            (Noun.KEY, Action.CHANGE): self._change_key,
            (Noun.KEY, Action.ADOPT): self._change_key,
            (Noun.KEY, Action.REMOVE): self._remove_key,
        }

    def run(self, plan: Plan) -> list[IssuedKey]:
        """Change the rows; gives back the keys that were made."""
        for step in plan.rows:
            self._ways[step.noun, step.action](step)
        return self._issued

    def _add_server(self, step: Step) -> None:
        entry = self._servers[server_key(step.name)]
        values = self._columns(entry.values)
        values |= credential_columns(self._auth, entry, None)
        new = store_servers.NewServer(name=entry.name, managed_by=self._owner, **values)
        row = store_servers.add(self._connection, new)
        self._tell("server.add", Told(subject=servers.called(row), after=row))

    @staticmethod
    def _columns(values: Mapping[str, Any]) -> dict[str, Any]:
        """The columns that are no credentials."""
        columns = {name: value for name, value in values.items() if name not in _CREDENTIALS}
        if "api_version" in columns:
            columns["api_version"] = ApiVersion(columns["api_version"])
        return columns

    def _change_server(self, step: Step) -> None:
        before = store_servers.find(self._connection, _id(step), hold=True)
        changed = self._columns(step.changed) | {"managed_by": self._owner}
        if any(name in step.changed for name in ("auth", "headers", "url")):
            entry = self._servers[server_key(step.name)]
            changed |= credential_columns(self._auth, entry, before)
        after = store_servers.change(self._connection, before.id, changed)
        self._tell("server.update", servers.told_of((before, after)))

    def _remove_server(self, step: Step) -> None:
        ref = store_servers.remove(self._connection, _id(step))
        self._tell("server.remove", Told(subject=f"server {ref.id}, {ref.name}", before=ref))

    def _set_default(self, step: Step) -> None:
        name = step.changed["default_server"]
        before = store_servers.find(self._connection, name, hold=True)
        after = store_servers.change(self._connection, before.id, {"is_default": True})
        self._tell("server.set-default", servers.told_of((before, after)))

    def _set_pin(self, step: Step) -> None:
        digest = step.changed.get("digest")
        if digest is None:  # adopted as it is
            digest = store_pins.digests(self._connection)[model_key(step.name)]
        pin, _ = pins.set_pin(self._connection, step.name, digest, owner=self._owner)
        self._tell("pin.set", pins.told_of(pin))

    def _remove_pin(self, step: Step) -> None:
        pin = store_pins.remove(self._connection, step.name)
        self._tell("pin.remove", Told(subject=f"pin {step.name}", before=pin))

    def _add_key(self, step: Step) -> None:
        columns = dict(step.changed) | {"name": step.name, "managed_by": self._owner}
        issued = keys.add_key(self._connection, columns)
        self._issued.append(issued)
        self._tell("key.add", Told(subject=keys.called(issued.key), after=issued.key))

    def _change_key(self, step: Step) -> None:
        columns = dict(step.changed) | {"managed_by": self._owner}
        before, after = keys.change_key(self._connection, _id(step), columns, force=False)
        self._tell("key.update", Told(subject=keys.called(after), before=before, after=after))

    def _remove_key(self, step: Step) -> None:
        removed = keys.remove_key(self._connection, _id(step), force=False)
        self._tell("key.remove", Told(subject=keys.called(removed), before=removed))


def _id(step: Step) -> int:
    if step.id is None:
        raise TypeError("a row that is changed has an id")
    return step.id


def credential_columns(auth: UpstreamAuth, entry: Entry, before: Server | None) -> dict[str, Any]:
    """The columns of a server's credentials: references are sealed for its URL, and what is to stay
    is left as it is stored. That it is there, and for this origin, the plan has made sure.
    """
    given, headers = dict(entry.values["auth"]), entry.values["headers"]
    kind, secret = AuthType(given.pop("type", AuthType.NONE)), given.pop("secret", None)
    config: dict[str, Given] = dict(given)
    if secret is not None:
        config[SECRET_FIELDS[kind]] = secret_of(secret)
    read = read_auth(kind, config, {name: secret_of(text) for name, text in headers.items()})
    columns = auth.columns(read, urls.server_url(entry.values["url"]).url)
    if before is None:
        return columns
    if secret == STORED:
        field = SECRET_FIELDS[kind]
        columns["auth_config"][field] = before.auth_config[field]
    for name, text in headers.items():
        if text == STORED:
            columns["headers"][name] = before.headers[name]
    return columns
