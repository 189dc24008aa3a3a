"""Gives each variable to the server that it belongs to."""

from ollama_admin.errors import InvalidInput
from ollama_admin.legacy import layouts, lists, values
from ollama_admin.legacy.drafts import LegacyServer
from ollama_admin.legacy.envfile import Binding
from ollama_admin.legacy.layouts import CHAT, NUMBER_ROLES, Meaning, Role
from ollama_admin.legacy.lines import (
    NO_SERVER,
    NOT_ALONE,
    NOT_COUNTED,
    PARTS,
    Line,
    Scope,
    is_plain_model,
    skip_unknown,
)
from ollama_admin.legacy.servers import Kind


def tell(scope: Scope, draft: LegacyServer, role: Role, text: str, binding: Binding) -> None:
    scope.attempt(binding, lambda: draft.tell(role, text, binding))


def attach(scope: Scope, line: Line) -> None:
    known, binding = line.known, line.binding
    if known.role in PARTS:
        if not any(binding in draft.fields["url"].also for draft in scope.servers):
            scope.skip(binding, f"no URL without a {known.role} to which it could belong", "url")
    elif known.role is Role.CONFIGS:
        scope.attempt(binding, lambda: _attach_configs(scope, line))
    elif known.many or _is_list_of_numbers(line):
        scope.attempt(binding, lambda: _attach_parallel(scope, line))
    elif known.role in (Role.MODEL, None):
        _attach_model(scope, line)
    else:
        _attach_one(scope, line)


def _is_list_of_numbers(line: Line) -> bool:
    known = line.known
    return known.role in NUMBER_ROLES and known.slot is None and len(_parts(line)) > 1


def _attach_one(scope: Scope, line: Line) -> None:
    known, binding = line.known, line.binding
    draft = _target(scope, known)
    if draft is None and known.odd and scope.servers:
        skip_unknown(scope, line)
    elif draft is None:
        scope.skip(binding, _no_target(scope, known))
    elif known.role is Role.ACTIVE and known.slot is None:
        scope.skip(binding, "a switch of the program, not of a server", kind=Kind.ELSEWHERE)
    elif known.role is not None:
        tell(scope, draft, known.role, line.text, binding)


def _attach_model(scope: Scope, line: Line) -> None:
    known, binding = line.known, line.binding
    draft = _target(scope, known)
    is_own = known.ollama or (draft is not None and _is_beside(draft, known))
    if not scope.servers:
        scope.skip(binding, NO_SERVER)
    elif is_plain_model(scope, line) and not is_own:
        return  # once all others have been attached
    elif draft is None or known.purposes & layouts.NEVER_DEFAULT or not is_own:
        if (known.slot or "").isdecimal():
            scope.skip(binding, _no_target(scope, known))
            return
        purpose = known.slot or known.prefix.lower()
        why = f"a model for one purpose ({purpose}): name it with --model"
        scope.skip(binding, why, "default_model")
    else:
        tell(scope, draft, Role.MODEL, line.text, binding)


def _is_beside(draft: LegacyServer, known: Meaning) -> bool:
    return not draft.known.ollama and draft.known.place == known.place


def attach_plain_models(scope: Scope, lines: list[Line]) -> None:
    """A model without OLLAMA, and of no purpose, is the default model when it is the only one."""
    settled = {skip.binding for skip in scope.skipped}
    settled |= {sourced.source for draft in scope.servers for sourced in draft.fields.values()}
    lines = [line for line in lines if line.binding not in settled]
    draft = scope.first("")
    for line in lines:
        if len({other.text for other in lines}) > 1:
            scope.skip(line.binding, NOT_ALONE, "default_model")
        elif draft is None or not _takes(draft, line):
            scope.skip(line.binding, NOT_COUNTED, "default_model")
        else:
            tell(scope, draft, Role.MODEL, line.text, line.binding)


def _takes(server: LegacyServer, line: Line) -> bool:
    known = server.fields.get("default_model")
    return known is None or known.text == line.text


def _target(scope: Scope, known: Meaning) -> LegacyServer | None:
    """The server that a variable belongs to, if there is one."""
    for draft in scope.servers:
        if draft.known.words == known.words:
            return draft
    group = scope.group(known.prefix)
    if known.slot is not None:
        for draft in group:
            if draft.known.slot == known.slot:
                return draft
    if known.slot is None or (known.role is Role.MODEL and known.slot == CHAT):
        return scope.first(known.prefix)
    if known.slot == "1":
        return scope.unnumbered(known.prefix)
    return None


def _no_target(scope: Scope, known: Meaning) -> str:
    if known.slot is None or not scope.servers:
        return NO_SERVER
    if known.slot.isdecimal():
        return f"no server has the number {known.slot}"
    return f"no server is called {known.slot}"


def _attach_parallel(scope: Scope, line: Line) -> None:
    drafts, length = scope.listed(line.known.prefix)
    parts = _parts(line)
    role = line.known.role
    if not drafts or role is None:
        scope.skip(line.binding, "there is no list of servers to which it could belong")
    elif len(parts) != length:
        source = next(iter(drafts.values())).source
        raise values.problem(
            line.binding,
            f"has {len(parts)} entries, and {source.key} has {length} servers",
            "give each server one entry, in the same order",
        )
    else:
        for index, part in enumerate(parts):
            if part and index in drafts:
                tell(scope, drafts[index], role, part, line.binding)


def _parts(line: Line) -> list[str]:
    if line.text.startswith("["):
        return values.json_texts(line.binding, line.text)
    return lists.parallel_texts(line.text)


def _attach_configs(scope: Scope, line: Line) -> None:
    """Open WebUI's settings of each URL: an object keyed by the index in the list, in old files by
    the URL.
    """
    binding = line.binding
    drafts, length = scope.listed(line.known.prefix)
    single = scope.unnumbered(line.known.prefix)
    if not drafts and single:
        drafts, length = {0: single}, 1
    document = values.parsed_json(binding, line.text)
    if not isinstance(document, dict):
        raise values.problem(binding, "is JSON, but no object")
    for key, config in document.items():
        if not isinstance(config, dict):
            raise values.problem(binding, f"is JSON whose key {key[:100]!a} holds no object")
        draft = drafts.get(_config_index(binding, key, drafts, length))
        if draft is None:
            continue
        texts, unused = lists.json_fields(binding, config)
        for role, text in texts.items():
            tell(scope, draft, role, text, binding)
        draft.skip_keys(binding, unused)


def _config_index(binding: Binding, key: str, drafts: dict[int, LegacyServer], length: int) -> int:
    """The index of the server that a key of the settings means; -1 when it means none."""
    if key.isdecimal() and key.isascii():
        index = int(key[:10])
        if index >= length:
            raise values.problem(
                binding, f"has an entry {index}, and there are {length} servers, counted from 0"
            )
        return index
    try:
        url = values.server_url(binding, key)[0]
    except InvalidInput:
        return -1
    return next((index for index, draft in drafts.items() if draft.url == url.url), -1)
