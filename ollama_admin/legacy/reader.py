"""Turns the variables of env files into the servers that they describe. Pure: nothing is known of
the database here.

Each file is read by itself: an unnumbered value belongs to the unnumbered server of its file, else
to the first one. Servers with one URL, in one file or in several, become one.
"""

from collections.abc import Iterable, Sequence

from ollama_admin.domain import names
from ollama_admin.errors import InvalidInput
from ollama_admin.legacy.drafts import Draft
from ollama_admin.legacy.envfile import EnvFile
from ollama_admin.legacy.lines import Scope
from ollama_admin.legacy.scope import read_scope
from ollama_admin.legacy.servers import Legacy, LegacyServer, Skipped, Sourced, unreadable


def read(files: Sequence[EnvFile]) -> Legacy:
    """The servers of all files, the first file's first; what cannot be read is skipped."""
    readings = [read_scope(file, scope) for file in files for scope in file.scopes()]
    drafts = _merged(draft for reading in readings for draft in reading.drafts)
    finished = _named(drafts)
    skipped = [skip for reading in readings for skip in reading.skipped]
    skipped += [skip for _, skips in finished for skip in skips]
    return Legacy(
        files=tuple(file.file for file in files),
        bindings=tuple(binding for file in files for binding in file.bindings),
        servers=tuple(server for server, _ in finished),
        skipped=tuple(skipped),
        unrelated=tuple(binding for reading in readings for binding in reading.unrelated),
        warnings=tuple(dict.fromkeys(_warning(r) for r in readings if r.exposes_secrets)),
    )


def _merged(drafts: Iterable[Draft]) -> list[Draft]:
    by_url: dict[str, Draft] = {}
    for draft in drafts:
        first = by_url.setdefault(draft.url.url, draft)
        if first is not draft:
            first.absorb(draft)
    return list(by_url.values())


def _named(drafts: list[Draft]) -> list[tuple[LegacyServer, list[Skipped]]]:
    taken: dict[str, Sourced] = {}
    for draft in drafts:
        given = draft.fields.get("name")
        if given is not None and taken.setdefault(_key(given), given) is not given:
            del draft.fields["name"]
            draft.skips.append(unreadable(given.source, _twice(given, taken[_key(given)])))
    return [draft.finished(draft.fields.get("name") or _derived(draft, taken)) for draft in drafts]


def _key(name: Sourced) -> str:
    return names.server_key(str(name.value))


def _twice(name: Sourced, other: Sourced) -> InvalidInput:
    return InvalidInput(
        f"{name.source.place} and {other.source.place} give the name {str(name.value)!a} to two "
        "servers",
        "give one of them another name, or import the files one by one",
    )


def _derived(draft: Draft, taken: dict[str, Sourced]) -> Sourced:
    name = next(name for name in draft.names() if names.server_key(name) not in taken)
    derived = Sourced(
        value=name, source=draft.source, given=False, remark="made from the variable's name"
    )
    taken[names.server_key(name)] = derived
    return derived


def _warning(reading: Scope) -> str:
    return (
        f"{reading.file} holds secrets and every user of this machine can read it: chmod 600 "
        f"{reading.file}"
    )
