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
from ollama_admin.legacy.filereader import FileReading, read_file
from ollama_admin.legacy.servers import Legacy, LegacyServer, Skipped, Sourced


def read(files: Sequence[EnvFile]) -> Legacy:
    """The servers of all files, the first file's first; raises InvalidInput, naming the place, for
    what is no value.
    """
    readings = [read_file(file) for file in files]
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
        warnings=tuple(_warning(reading) for reading in readings if reading.exposes_secrets),
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
        if given is not None:
            other = taken.setdefault(names.server_key(str(given.value)), given)
            if other is not given:
                raise InvalidInput(
                    f"{given.source.place} and {other.source.place} give the name "
                    f"{str(given.value)!a} to two servers",
                    "give one of them another name, or import the files one by one",
                )
    return [draft.finished(draft.fields.get("name") or _derived(draft, taken)) for draft in drafts]


def _derived(draft: Draft, taken: dict[str, Sourced]) -> Sourced:
    name = next(name for name in draft.names() if names.server_key(name) not in taken)
    derived = Sourced(
        value=name, source=draft.source, given=False, remark="made from the variable's name"
    )
    taken[names.server_key(name)] = derived
    return derived


def _warning(reading: FileReading) -> str:
    return (
        f"{reading.file} holds secrets and every user of this machine can read it: chmod 600 "
        f"{reading.file}"
    )
