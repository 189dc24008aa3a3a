"""What is to be done so that a fleet is as a file says, and what the file may not have. Pure."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ollama_admin.domain.digests import short
from ollama_admin.domain.fleet_file import (
    STORED,
    Action,
    Entry,
    FieldChange,
    Fleet,
    FleetFile,
    Noun,
    Options,
    Plan,
    Row,
    Step,
    WantedModel,
)
from ollama_admin.domain.names import model_key, server_key
from ollama_admin.domain.urls import origin
from ollama_admin.errors import FileConflict

FINGERPRINT = 32  # hex digits

# Names and URLs are given up before others take them; of keys, one that may administrate is made
# before another one is removed.
_ORDER = {
    (Noun.SERVER, Action.REMOVE): 0,
    (Noun.SERVER, Action.ADOPT): 1,
    (Noun.SERVER, Action.CHANGE): 1,
    (Noun.SERVER, Action.ADD): 2,
    (Noun.SETTING, Action.CHANGE): 3,
    (Noun.PIN, Action.REMOVE): 4,
    (Noun.KEY, Action.REMOVE): 6,
    (Noun.MODEL, Action.PULL): 7,
}
_LATER = 5
_LAST = 8


Defaults = Mapping[str, Mapping[str, Any]]


def plan(file: FleetFile, fleet: Fleet, options: Options, defaults: Defaults) -> Plan:
    """The steps from the fleet as it is to the file. `defaults` are those of new `servers` and
    `keys`. Raises FileConflict with everything that the file may not have.
    """
    planning = _Planning(file, fleet, options, defaults)
    planning.rows(Noun.SERVER, file.servers, fleet.servers)
    planning.rows(Noun.PIN, file.pins, fleet.pins)
    planning.rows(Noun.KEY, file.keys, fleet.keys)
    planning.refuse_taken_urls()
    planning.default_server()
    planning.models()
    if planning.conflicts:
        raise FileConflict.of_lines(planning.conflicts)
    steps = sorted(planning.steps, key=_order)
    return Plan(
        owner=file.owner,
        steps=steps,
        unchanged=planning.unchanged,
        fingerprint=_fingerprint(file, fleet, options, steps),
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[FieldChange]:
    """The fields that are not the same. A digest may be given by its beginning."""
    return [
        FieldChange(field=field, before=before.get(field), after=value)
        for field, value in after.items()
        if before.get(field) != value and not _is_beginning(field, value, before.get(field))
    ]


def is_held(fleet: Fleet, wanted: WantedModel) -> bool:
    """Whether a server lists the model that it is to have, in that build."""
    digest = wanted.digest or ""
    return any((build or "").startswith(digest) for build in _builds(fleet, wanted))


def _builds(fleet: Fleet, wanted: WantedModel) -> Sequence[str | None]:
    return fleet.builds.get((server_key(wanted.server), model_key(wanted.model)), ())


def _is_beginning(field: str, value: Any, whole: Any) -> bool:
    return field == "digest" and whole is not None and str(whole).startswith(str(value))


class _Planning:
    """Collects steps and conflicts."""

    def __init__(self, file: FleetFile, fleet: Fleet, options: Options, defaults: Defaults) -> None:
        self.steps: list[Step] = []
        self.conflicts: list[str] = []
        self.unchanged = 0
        self._file = file
        self._fleet = fleet
        self._options = options
        self._defaults = {Noun.SERVER: defaults["servers"], Noun.KEY: defaults["keys"]}

    def rows(self, noun: Noun, entries: Sequence[Entry], rows: Mapping[str, Row]) -> None:
        """The steps of one noun."""
        for entry in entries:
            row = rows.get(entry.key)
            if noun is Noun.SERVER:
                self.conflicts += _lost_secrets(entry, row)
            if row is None:
                defaults = self._defaults.get(noun, {})
                self._add(Action.ADD, entry, None, _given(entry, defaults))
            else:
                self._existing(entry, row)
        named = {entry.key for entry in entries}
        for key, row in rows.items():
            if row.owner == self._file.owner and key not in named and row.is_active:
                action = Action.REMOVE if self._options.prune else Action.KEEP
                self._add(action, row, row.id, ())

    def _existing(self, entry: Entry, row: Row) -> None:
        changes = differences(row.values, entry.values)
        what = f"line {entry.position.line}: {row.noun} {row.name}"
        if row.owner not in (None, self._file.owner):
            self.conflicts.append(f"{what} belongs to the file of {row.owner}")
        elif row.owner is None and self._options.adopt:
            self._add(Action.ADOPT, row, row.id, changes)
        elif row.owner is None and changes:
            fields = ", ".join(change.field for change in changes)
            self.conflicts.append(
                f"{what} was made by a person and differs ({fields}); --adopt takes it over"
            )
        elif changes:
            self._add(Action.CHANGE, row, row.id, changes)
        else:
            self.unchanged += 1

    def _add(
        self, action: Action, entry: Entry, row_id: int | None, changes: Sequence[FieldChange]
    ) -> None:
        step = Step(action=action, noun=entry.noun, name=entry.name, id=row_id, changes=changes)
        self.steps.append(step)

    def refuse_taken_urls(self) -> None:
        """Two servers cannot have one URL."""
        wanted = {entry.key: entry for entry in self._file.servers}
        gone = {step.id for step in self.steps if step.action is Action.REMOVE}
        urls = {
            row.values["url"]: row
            for key, row in self._fleet.servers.items()
            if key not in wanted and row.id not in gone
        }
        for entry in wanted.values():
            other = urls.get(entry.values.get("url"))
            if other is not None:
                self.conflicts.append(
                    f"line {entry.position.line}: the URL of server {entry.name} is taken by "
                    f"server {other.name}"
                )

    def default_server(self) -> None:
        wanted, current = self._file.default_server, self._fleet.default_server
        if wanted is None:
            return
        if current is not None and server_key(current) == server_key(wanted):
            self.unchanged += 1
            return
        for name in (wanted, current):
            row = self._fleet.servers.get(server_key(name or ""))
            if row is not None and not self._may_touch(row):
                self.conflicts.append(
                    f"default_server would change server {row.name}, which is not of this file; "
                    f"set it with: ollama-admin server set-default"
                )
        change = FieldChange(field="default_server", before=current, after=wanted)
        step = Step(
            action=Action.CHANGE, noun=Noun.SETTING, name="default_server", changes=(change,)
        )
        self.steps.append(step)

    def _may_touch(self, row: Row) -> bool:
        is_named = any(entry.key == row.key for entry in self._file.servers)
        is_adopted = row.owner is None and self._options.adopt and is_named
        return row.owner == self._file.owner or is_adopted

    def models(self) -> None:
        """Pulls of what servers do not list, as far as discovery knows."""
        for wanted in self._file.models:
            builds = _builds(self._fleet, wanted)
            if is_held(self._fleet, wanted):
                self.unchanged += 1
                continue
            before = ", ".join(short(build) for build in builds) or None
            change = FieldChange(field="digest", before=before, after=wanted.digest)
            step = Step(
                action=Action.PULL,
                noun=Noun.MODEL,
                name=wanted.model,
                server=wanted.server,
                changes=(change,),
            )
            self.steps.append(step)


def _given(entry: Entry, defaults: Mapping[str, Any]) -> list[FieldChange]:
    """The fields of a new row that say something."""
    return [
        FieldChange(field=field, before=None, after=value)
        for field, value in entry.values.items()
        if field not in defaults or value != defaults[field]
    ]


def _lost_secrets(entry: Entry, row: Row | None) -> list[str]:
    """Secrets that are to stay as they are stored, where none is, or not for this origin."""
    lost = []
    held: Mapping[str, Any] = {}
    if row is not None and origin(row.values["url"]) == origin(entry.values["url"]):
        held = row.values
    auth, own = entry.values["auth"], held.get("auth", {})
    is_same = own.get("secret") == STORED and own.get("type") == auth.get("type")
    if auth.get("secret") == STORED and not is_same:
        lost.append("auth")
    for name, secret in entry.values["headers"].items():
        if secret == STORED and held.get("headers", {}).get(name) != STORED:
            lost.append(f"header {name}")
    return [
        f"line {entry.position.line}: server {entry.name} has no stored secret for {what}; give it "
        f"with server update, or write env:NAME or file:/PATH"
        for what in lost
    ]


def _order(step: Step) -> tuple[int, str, str]:
    place = _LATER
    if step.action is Action.KEEP:
        place = _LAST
    return _ORDER.get((step.noun, step.action), place), step.noun, step.name.casefold()


def _fingerprint(file: FleetFile, fleet: Fleet, options: Options, steps: Iterable[Step]) -> str:
    """A digest of the steps, and of the state of all rows that they were found with."""
    states = []
    for entries, rows in (
        (file.servers, fleet.servers),
        (file.pins, fleet.pins),
        (file.keys, fleet.keys),
    ):
        named = {entry.key for entry in entries}
        states += [
            (row.noun, key, row.owner, row.state)
            for key, row in sorted(rows.items())
            if key in named or row.owner == file.owner
        ]
    read = {
        "owner": file.owner,
        "options": [options.prune, options.adopt],
        "steps": [_told(step) for step in steps],
        "states": states,
        "default": fleet.default_server,
    }
    text = json.dumps(read, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT]


def _told(step: Step) -> list[Any]:
    changes = [(change.field, change.before, change.after) for change in step.changes]
    return [step.action, step.noun, step.name, step.id, step.server, changes]
