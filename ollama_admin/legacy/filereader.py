"""Reads one file's variables into drafts of servers."""

from dataclasses import dataclass, field

from ollama_admin.errors import InvalidInput
from ollama_admin.legacy import layouts, values
from ollama_admin.legacy.credentials import PLACEHOLDER, SECRET_ROLES, VERBATIM_ROLES
from ollama_admin.legacy.drafts import Draft
from ollama_admin.legacy.envfile import Binding, EnvFile
from ollama_admin.legacy.layouts import AUTH_ROLES, NUMBER_ROLES, Recognised, Role
from ollama_admin.legacy.servers import Skipped

LISTEN = "an address to listen on, not one to connect to"
OWN_PATH = "a path on the program's own host, not a server"
PURPOSE = "a model for one purpose: name it with --model"
CHAT = "chat"  # the one purpose that a default model has


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A variable that is understood, with its value."""

    binding: Binding
    known: Recognised
    text: str = field(repr=False)


@dataclass(slots=True, kw_only=True)
class FileReading:
    """What one file holds. `lengths` counts the limit of each list of URLs, those without a server
    too.
    """

    file: str | None
    drafts: list[Draft] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    unrelated: list[Binding] = field(default_factory=list)
    lengths: dict[Binding, int] = field(default_factory=dict)
    exposes_secrets: bool = False

    def skip(self, binding: Binding, why: str, column: str | None = None) -> None:
        """List a variable as going nowhere; one that does not mention Ollama is only counted."""
        if "OLLAMA" in binding.key.upper():
            self.skipped.append(Skipped(binding=binding, why=why, field=column))
        elif binding not in self.unrelated:
            self.unrelated.append(binding)

    def unnumbered(self, prefix: str) -> Draft | None:
        return next((draft for draft in self.group(prefix) if draft.unnumbered), None)

    def group(self, prefix: str) -> list[Draft]:
        """The servers under a prefix; all of them when it has none of its own."""
        return [draft for draft in self.drafts if draft.prefix == prefix] or self.drafts

    def listed(self, prefix: str) -> tuple[dict[int, Draft], int]:
        """The servers of the first list under a prefix by their place in it, and the number of
        limit.
        """
        group = self.group(prefix)
        source = next((draft.source for draft in group if draft.index is not None), None)
        if source is None:
            return {}, 0
        found = {
            draft.index: draft
            for draft in group
            if draft.source == source and draft.index is not None
        }
        return found, self.lengths[source]


def read_file(file: EnvFile) -> FileReading:
    reading = FileReading(file=file.file)
    found = _understood(file, reading)
    ports = {
        (item.known.prefix, item.known.slot): item for item in found if item.known.role is Role.PORT
    }
    for item in found:
        if item.known.role is Role.URL:
            _add_servers(reading, item, ports.get((item.known.prefix, item.known.slot)))
    reading.drafts.sort(key=lambda draft: draft.order)
    for item in sorted(found, key=lambda item: item.known.rank):
        if item.known.role is not Role.URL:
            _attach(reading, item)
    secrets = any(item.known.role in SECRET_ROLES for item in found) or any(
        d.holds_secret for d in reading.drafts
    )
    reading.exposes_secrets = file.readable_by_others and secrets
    _account_for_all(reading, found)
    return reading


def _understood(file: EnvFile, reading: FileReading) -> list[Found]:
    last = {binding.key.upper(): binding for binding in file.bindings}
    found = []
    for binding in file.bindings:
        known = layouts.recognise(binding.key, binding.value)
        winner = last[binding.key.upper()]
        if known is None:
            reading.unrelated.append(binding)
        elif winner is not binding and "OLLAMA" in binding.key.upper():
            why = f"set again: {winner.place} counts"
            reading.skipped.append(Skipped(binding=binding, why=why, shadowed_by=winner))
        elif winner is not binding:
            reading.unrelated.append(binding)
        elif isinstance(known, layouts.Unused):
            reading.skipped.append(Skipped(binding=binding, why=known.why, unknown=known.unknown))
        else:
            text = _usable(reading, binding, known)
            if text is not None:
                found.append(Found(binding=binding, known=known, text=text))
    return found


def _usable(reading: FileReading, binding: Binding, known: Recognised) -> str | None:
    """The text of a value that can be used; else the variable is skipped."""
    text = binding.value or ""
    if known.role is Role.URL:
        text = values.unquoted(text)
    elif known.many or known.role not in VERBATIM_ROLES:
        text = text.strip()
    if binding.unfilled:
        needed = ", ".join(f"${{{name}}}" for name in binding.unfilled)
        reading.skip(binding, f"needs {needed}, which no line before it sets")
    elif not text.strip():
        reading.skip(
            binding, "no value" if binding.value is not None else "no value: written without ="
        )
    elif known.role in AUTH_ROLES and values.is_placeholder(
        text.strip(), key=known.role is Role.KEY
    ):
        reading.skip(binding, PLACEHOLDER)
    elif "OLLAMA" not in binding.key.upper() and not values.is_model_name(text):
        reading.skip(binding, "no name of a model")
    else:
        return values.checked(
            binding, text, many=known.many or known.role in (Role.URL, Role.CONFIGS, Role.HEADERS)
        )
    return None


def _add_servers(reading: FileReading, found: Found, port: Found | None) -> None:
    binding, text = found.binding, found.text
    if not (found.known.many or values.is_list(text)):
        _add_server(reading, found, values.Item(index=0, url=text), port)
        return
    items = values.items(binding, text)
    reading.lengths[binding] = max((item.index + 1 for item in items), default=0)
    for item in items:
        _add_server(reading, found, item, None, index=item.index)


def _add_server(
    reading: FileReading,
    found: Found,
    item: values.Item,
    port: Found | None,
    index: int | None = None,
) -> None:
    binding, text = found.binding, item.url
    why = _no_server(text)
    if why:
        reading.skip(binding, why, "url")
        return
    with_port = text
    if Role.PORT in item.values:
        with_port = values.with_port(
            text, values.whole_number(binding, item.values[Role.PORT], 1, 65535)
        )
    elif port:
        with_port = values.with_port(text, values.whole_number(port.binding, port.text, 1, 65535))
    url, userinfo = values.server_url(binding, with_port)
    draft = Draft(
        url=url, source=binding, prefix=found.known.prefix, slot=found.known.slot, index=index
    )
    if port and with_port != text:
        draft.say_same("url", port.binding)
    if userinfo:
        draft.tell_userinfo(userinfo, binding)
    for role, value in item.values.items():
        if role is not Role.PORT:
            draft.tell(role, value, binding)
    draft.skip_keys(binding, item.unused)
    reading.drafts.append(draft)


def _no_server(text: str) -> str | None:
    if text.startswith("/"):
        return OWN_PATH
    if values.is_listen_address(text):
        return LISTEN
    return PLACEHOLDER if values.is_placeholder(text) else None


def _attach(reading: FileReading, found: Found) -> None:
    known = found.known
    if known.role is Role.PORT:
        if not any(found.binding in draft.fields["url"].also for draft in reading.drafts):
            reading.skip(found.binding, "no URL without a port to which it could belong", "url")
    elif known.role is Role.CONFIGS:
        _attach_configs(reading, found)
    elif known.many or (
        known.role in NUMBER_ROLES and known.slot is None and len(_parts(found)) > 1
    ):
        _attach_parallel(reading, found)
    else:
        _attach_one(reading, found)


def _attach_one(reading: FileReading, found: Found) -> None:
    known, binding = found.known, found.binding
    draft = _target(reading, known)
    if draft is None:
        reading.skip(binding, _no_target(reading, known))
    elif known.role is Role.ACTIVE and known.slot is None:
        reading.skip(binding, "a switch of the program, not of a server")
    elif "OLLAMA" not in binding.key.upper() and "default_model" in draft.fields:
        reading.skip(binding, "only counts where no Ollama variable names a model")
    else:
        draft.tell(known.role, found.text, binding)


def _target(reading: FileReading, known: Recognised) -> Draft | None:
    group = reading.group(known.prefix)
    same = next(
        (draft for draft in group if draft.slot == known.slot and known.slot is not None), None
    )
    if same:
        return same
    if known.slot is None or (known.role is Role.MODEL and known.slot == CHAT):
        return reading.unnumbered(known.prefix) or next(iter(group), None)
    return reading.unnumbered(known.prefix) if known.slot == "1" else None


def _no_target(reading: FileReading, known: Recognised) -> str:
    if known.slot is None or not reading.drafts:
        return "there is no server to which it could belong"
    if known.slot.isdecimal():
        return f"no server has the number {known.slot}"
    return PURPOSE if known.role is Role.MODEL else f"no server is called {known.slot}"


def _attach_parallel(reading: FileReading, found: Found) -> None:
    drafts, length = reading.listed(found.known.prefix)
    parts = _parts(found)
    if not drafts:
        reading.skip(found.binding, "there is no list of servers to which it could belong")
    elif len(parts) != length:
        source = next(iter(drafts.values())).source
        raise values.problem(
            found.binding,
            f"has {len(parts)} entries, and {source.key} has {length} servers",
            "give each server one entry, in the same order",
        )
    else:
        for index, part in enumerate(parts):
            if part and index in drafts:
                drafts[index].tell(found.known.role, part, found.binding)


def _parts(found: Found) -> list[str]:
    if found.text.startswith("["):
        return values.json_texts(found.binding, found.text)
    return values.parallel_texts(found.text)


def _attach_configs(reading: FileReading, found: Found) -> None:
    """Open WebUI's settings of each URL: an object keyed by the place in the list, in old files by
    the URL.
    """
    binding = found.binding
    drafts, length = reading.listed(found.known.prefix)
    single = reading.unnumbered(found.known.prefix)
    if not drafts and single:
        drafts, length = {0: single}, 1
    document = values.parsed_json(binding, found.text)
    if not isinstance(document, dict):
        raise values.problem(binding, "is JSON, but no object")
    for key, config in document.items():
        if not isinstance(config, dict):
            raise values.problem(binding, f"is JSON whose key {key[:100]!a} holds no object")
        draft = drafts.get(_place(binding, key, drafts, length))
        if draft is None:
            continue
        told, unused = values.json_fields(binding, config)
        for role, text in told.items():
            draft.tell(role, text, binding)
        draft.skip_keys(binding, unused)


def _place(binding: Binding, key: str, drafts: dict[int, Draft], length: int) -> int:
    if key.isdecimal() and key.isascii():
        place = int(key[:10])
        if place >= length:
            raise values.problem(
                binding, f"has an entry {place}, and there are {length} servers, counted from 0"
            )
        return place
    try:
        url = values.server_url(binding, key)[0]
    except InvalidInput:
        return -1
    return next((place for place, draft in drafts.items() if draft.url.url == url.url), -1)


def _account_for_all(reading: FileReading, found: list[Found]) -> None:
    """Skip what was understood and still said nothing, such as an empty list."""
    used = {skip.binding for skip in reading.skipped} | set(reading.unrelated)
    for draft in reading.drafts:
        used |= {skip.binding for skip in draft.skips} | {
            source for piece in draft.pieces.values() for source in piece.sources
        }
        for told in draft.fields.values():
            used |= {told.source, *told.also}
    for item in found:
        if item.binding not in used:
            reading.skip(item.binding, "says nothing that is kept")
