"""Turns the variables of env files into the servers that they describe.

Each file is read by itself: an unnumbered value belongs to the unnumbered server of its file, else
to the first one. Servers with one URL, in one file or in several, become one.
"""

import os
import stat
from collections.abc import Collection, Iterator, Sequence
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
    scopes = [(file, Scope(bindings)) for file in files for bindings in file.scopes()]
    by_url: dict[str, LegacyServer] = {}
    for _, scope in scopes:
        for server in scope.servers:
            first = by_url.setdefault(server.url, server)
            if first is not server:
                first.absorb(server)
    skipped = [skip for _, scope in scopes for skip in scope.skipped]
    secret_files = {file.file for file, scope in scopes if scope.has_secrets}
    warnings = [text for file in files for text in _warnings(file, file.file in secret_files)]
    return Legacy(
        files=tuple(file.file for file in files),
        bindings=tuple(binding for file in files for binding in file.bindings),
        servers=tuple(by_url.values()),
        skipped=tuple(skipped + _finished(by_url.values())),
        unrelated=tuple(binding for _, scope in scopes for binding in scope.unrelated),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _finished(servers: Collection[LegacyServer]) -> list[PlanEntry]:
    """Give each server its name, those that the files name first; what goes nowhere."""
    taken: dict[str, Sourced] = {}
    named = [server for server in servers if "name" in server.fields]
    for server in named:
        name = server.fields["name"]
        other = taken.setdefault(names.server_key(name.text), name)
        if other is not name:
            places = f"{name.source.place} and {other.source.place}"
            what = f"{places} give the name {name.text!a} to two servers"
            hint = "give one of them another name, or import the files one by one"
            server.skips.append(unreadable(name.source, InvalidInput(what, hint)))
            del server.fields["name"]
    keys = set(taken)
    return [skip for server in servers for skip in server.finish(keys)]


def _warnings(file: EnvFile, has_secrets: bool) -> Iterator[str]:
    """The files are read as they are named; what others can do with them is only said."""
    name, status = file.file, file.status
    if status is None:
        return
    if status.st_mode & stat.S_IWOTH:
        yield f"{name} can be changed by every user of this machine; run: chmod o-w"
    if status.st_uid not in (0, os.geteuid()):
        yield f"{name} belongs to user {status.st_uid}, who can change it"
    if has_secrets and status.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        yield f"{name} holds secrets and other users of this machine can read it: chmod 600 {name}"
