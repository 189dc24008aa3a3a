"""Reads the variables that stand together into drafts of servers."""

from collections.abc import Mapping
from functools import partial
from typing import TypeAlias

from ollama_admin.errors import InvalidInput
from ollama_admin.legacy import forms, lists, values
from ollama_admin.legacy.attach import attach, attach_plain_models, tell
from ollama_admin.legacy.credentials import SECRET_ROLES
from ollama_admin.legacy.drafts import LegacyServer
from ollama_admin.legacy.envfile import Binding, EnvFile
from ollama_admin.legacy.layouts import Role
from ollama_admin.legacy.lines import (
    PARTS,
    Line,
    Scope,
    is_plain_model,
    is_related,
    is_url,
    is_usable,
    no_server,
    note_providers,
    read_lines,
)
from ollama_admin.legacy.servers import unreadable

# the port and the scheme that stand apart from a host, by their role and place
Parts: TypeAlias = Mapping[tuple[Role | None, tuple[str, str | None]], Line]


def read_scope(file: EnvFile, bindings: list[Binding]) -> Scope:
    scope = Scope(file=file.file)
    lines = list(read_lines(scope, bindings))
    note_providers(scope, lines)
    urls = [line for line in lines if is_url(scope, line)]
    others = [line for line in lines if line not in urls]
    parts: Parts = {
        (line.known.role, line.known.place): line for line in others if line.known.role in PARTS
    }
    for line in urls:
        _add_servers(scope, line, parts)
    scope.servers.sort(key=lambda draft: draft.order)
    related = [line for line in others if is_related(scope, line)]
    for line in sorted(related, key=lambda line: line.known.rank):
        attach(scope, line)
    attach_plain_models(scope, [line for line in related if is_plain_model(scope, line)])
    if file.readable_by_others:
        scope.exposes_secrets = _holds_secrets(scope, related)
    _account_for_all(scope, urls + related)
    return scope


def _add_servers(scope: Scope, line: Line, parts: Parts) -> None:
    binding, text = line.binding, forms.unquoted(line.text)
    if not is_usable(scope, line):
        return
    if not (line.known.many or lists.is_list(text)):
        item = lists.Item(index=0, url=text)
        places = [(role, line.known.place) for role in PARTS]
        beside = [parts[place] for place in places if place in parts]
        scope.attempt(binding, lambda: _add_server(scope, line, item, beside))
        return
    why = no_server(text)
    if why:
        scope.skip(binding, why, "url")
        return
    try:
        items = lists.items(binding, text)
    except InvalidInput as exc:
        scope.skipped.append(unreadable(binding, exc))
        return
    scope.lengths[binding] = max((item.index + 1 for item in items), default=0)
    is_ollama = line.known.ollama or scope.providers.get(line.known.place, False)
    for item in items:
        if is_ollama or forms.is_ollama(item.url):
            step = partial(_add_server, scope, line, item, [], is_listed=True)
            scope.attempt(binding, step)
        else:
            address = forms.shown_address(item.url)
            scope.skip(binding, f"{address} is not known as an Ollama server", "url")


def _add_server(
    scope: Scope, line: Line, item: lists.Item, beside: list[Line], *, is_listed: bool = False
) -> None:
    binding, known = line.binding, line.known
    why = no_server(item.url)
    if why:
        scope.skip(binding, why, "url")
        return
    whole, used = _completed(line, item, beside)
    url, userinfo = values.server_url(binding, whole)
    index = None
    if is_listed:
        index = item.index
    draft = LegacyServer(read_url=url, source=binding, known=known, index=index)
    for other in used:
        draft.say_url(other.binding)
    if userinfo:
        draft.tell_userinfo(userinfo, binding)
    scope.servers.append(draft)
    draft.skip_keys(binding, item.unused)
    for role, value in item.values.items():
        if role is not Role.PORT:
            tell(scope, draft, role, value, binding)


def _completed(line: Line, item: lists.Item, beside: list[Line]) -> tuple[str, list[Line]]:
    """The URL with the port and the scheme that stand apart, and the lines that gave them."""
    port, https = None, None
    used = []
    if Role.PORT in item.values:
        port = values.whole_number(line.binding, item.values[Role.PORT], 1, 65535)
    for other in beside:
        if other.known.role is Role.PORT:
            port = values.whole_number(other.binding, other.text, 1, 65535)
        else:
            https = values.https(other.binding, other.text)
        used.append(other)
    whole = values.complete(line.binding, item.url, port, https)
    if whole == item.url:
        used = [other for other in used if other.known.role is Role.TLS]
    return whole, used


def _holds_secrets(scope: Scope, related: list[Line]) -> bool:
    if any(line.known.role in SECRET_ROLES for line in related):
        return True
    return any(draft.holds_secret for draft in scope.servers)


def _account_for_all(scope: Scope, lines: list[Line]) -> None:
    """Skip what was understood and still said nothing, such as an empty list."""
    used = {skip.binding for skip in scope.skipped} | set(scope.unrelated)
    for draft in scope.servers:
        used.update(skip.binding for skip in draft.skips)
        for piece in draft.pieces.values():
            used.update(piece.sources)
        for sourced in draft.fields.values():
            used.add(sourced.source)
            used.update(sourced.also)
    for line in lines:
        if line.binding not in used:
            scope.skip(line.binding, "says nothing that is kept")
