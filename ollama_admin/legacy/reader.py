"""Turns the variables of env files into the servers that they describe.

Each file is read by itself: an unnumbered value belongs to the unnumbered server of its file, else
to the first one. Servers with one URL, in one file or in several, become one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ollama_admin.domain import names
from ollama_admin.errors import InvalidInput
from ollama_admin.legacy.drafts import LegacyServer
from ollama_admin.legacy.envfile import Binding, EnvFile
from ollama_admin.legacy.scope import Scope
from ollama_admin.legacy.servers import PlanEntry, Sourced, unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Legacy:
    """All that was read: each of `bindings` is a source of a server, skipped, or unrelated."""

    files: tuple[str | None, ...]
    bindings: tuple[Binding, ...]
    servers: tuple[LegacyServer, ...]
    skipped: tuple[PlanEntry, ...]
    unrelated: tuple[Binding, ...]
    warnings: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[InvalidInput, ...]:
        """Of the lines that cannot be read, in their order."""
        unread = sorted(self.skipped, key=lambda skip: self.order(skip.binding))
        return tuple(skip.error for skip in unread if skip.error)

    def order(self, binding: Binding) -> tuple[int, int]:
        """Where a variable stands among all."""
        return self.files.index(binding.file), binding.line or 0


def read(files: Sequence[EnvFile]) -> Legacy:
    """The servers of all files, the first file's first; what cannot be read is skipped."""
    scopes = []
    warnings: dict[str, None] = {}
    for file in files:
        for bindings in file.scopes():
            scope = Scope()
            scope.read(bindings)
            scopes.append(scope)
            if file.readable_by_others and scope.holds_secrets:
                warnings[_warning(file.file)] = None
    servers = _merged(server for scope in scopes for server in scope.fleet.servers)
    skipped = [skip for scope in scopes for skip in scope.skipped]
    skipped += _finished(servers)
    return Legacy(
        files=tuple(file.file for file in files),
        bindings=tuple(binding for file in files for binding in file.bindings),
        servers=tuple(servers),
        skipped=tuple(skipped),
        unrelated=tuple(binding for scope in scopes for binding in scope.unrelated),
        warnings=tuple(warnings),
    )


def _merged(servers: Iterable[LegacyServer]) -> list[LegacyServer]:
    by_url: dict[str, LegacyServer] = {}
    for server in servers:
        first = by_url.setdefault(server.url, server)
        if first is not server:
            first.absorb(server)
    return list(by_url.values())


def _finished(servers: list[LegacyServer]) -> list[PlanEntry]:
    """Give each server its name, those that the files name first; what goes nowhere."""
    taken: dict[str, Sourced] = {}
    for server in servers:
        given = server.fields.get("name")
        if given is None:
            continue
        other = taken.setdefault(names.server_key(given.text), given)
        if other is not given:
            del server.fields["name"]
            server.skips.append(unreadable(given.source, _twice(given, other)))
    skipped = []
    for server in servers:
        skipped += server.finish(server.fields.get("name") or _derived(server, taken))
    return skipped


def _twice(name: Sourced, other: Sourced) -> InvalidInput:
    return InvalidInput(
        f"{name.source.place} and {other.source.place} give the name {name.text!a} to two servers",
        "give one of them another name, or import the files one by one",
    )


def _derived(server: LegacyServer, taken: dict[str, Sourced]) -> Sourced:
    name = next(name for name in server.names() if names.server_key(name) not in taken)
    remark = "made from the variable's name"
    derived = Sourced(value=name, source=server.source, given=False, remark=remark)
    taken[names.server_key(name)] = derived
    return derived


def _warning(file: str | None) -> str:
    return f"{file} holds secrets and every user of this machine can read it: chmod 600 {file}"
