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
class Understood:
    """A variable that is understood, with its value."""

    binding: Binding
    known: Recognised
    text: str = field(repr=False)


@dataclass(slots=True, kw_only=True)
class FileReading:
    """What one file holds. `lengths` counts the parts of each list of URLs, those without a server
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
        """The servers of the first list under a prefix by their index in it, and the length of the
        list.
        """
        group = self.group(prefix)
        source = next((draft.source for draft in group if draft.index is not None), None)
        if source is None:
            return {}, 0
        drafts = {
            draft.index: draft
            for draft in group
            if draft.source == source and draft.index is not None
        }
        return drafts, self.lengths[source]


def read_file(file: EnvFile) -> FileReading:
    reading = FileReading(file=file.file)
    variables = _understand(file, reading)
    ports = {
        (variable.known.prefix, variable.known.slot): variable
        for variable in variables
        if variable.known.role is Role.PORT
    }
    for variable in variables:
        if variable.known.role is Role.URL:
            port = ports.get((variable.known.prefix, variable.known.slot))
            _add_servers(reading, variable, port)
    reading.drafts.sort(key=lambda draft: draft.order)
    for variable in sorted(variables, key=lambda variable: variable.known.rank):
        if variable.known.role is not Role.URL:
            _attach(reading, variable)
    if file.readable_by_others:
        reading.exposes_secrets = _holds_secrets(reading, variables)
    _account_for_all(reading, variables)
    return reading


def _holds_secrets(reading: FileReading, variables: list[Understood]) -> bool:
    if any(variable.known.role in SECRET_ROLES for variable in variables):
        return True
    return any(draft.holds_secret for draft in reading.drafts)


def _understand(file: EnvFile, reading: FileReading) -> list[Understood]:
    last = {binding.key.upper(): binding for binding in file.bindings}
    variables = []
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
                variables.append(Understood(binding=binding, known=known, text=text))
    return variables


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
    elif binding.value is None:
        reading.skip(binding, "no value: written without =")
    elif not text.strip():
        reading.skip(binding, "no value")
    elif known.role in AUTH_ROLES and values.is_placeholder(
        text.strip(), key=known.role is Role.KEY
    ):
        reading.skip(binding, PLACEHOLDER)
    elif "OLLAMA" not in binding.key.upper() and not values.is_model_name(text):
        reading.skip(binding, "no name of a model")
    else:
        many = known.many or known.role in (Role.URL, Role.CONFIGS, Role.HEADERS)
        return values.checked(binding, text, many=many)
    return None


def _add_servers(reading: FileReading, variable: Understood, port: Understood | None) -> None:
    binding, text = variable.binding, variable.text
    if not (variable.known.many or values.is_list(text)):
        _add_server(reading, variable, values.Item(index=0, url=text), port)
        return
    items = values.items(binding, text)
    reading.lengths[binding] = max((item.index + 1 for item in items), default=0)
    for item in items:
        _add_server(reading, variable, item, None, index=item.index)


def _add_server(
    reading: FileReading,
    variable: Understood,
    item: values.Item,
    port: Understood | None,
    index: int | None = None,
) -> None:
    binding, text = variable.binding, item.url
    why = _no_server(text)
    if why:
        reading.skip(binding, why, "url")
        return
    with_port = text
    if Role.PORT in item.values:
        number = values.whole_number(binding, item.values[Role.PORT], 1, 65535)
        with_port = values.with_port(text, number)
    elif port:
        number = values.whole_number(port.binding, port.text, 1, 65535)
        with_port = values.with_port(text, number)
    url, userinfo = values.server_url(binding, with_port)
    known = variable.known
    draft = Draft(url=url, source=binding, prefix=known.prefix, slot=known.slot, index=index)
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
    if values.is_placeholder(text):
        return PLACEHOLDER
    return None


def _attach(reading: FileReading, variable: Understood) -> None:
    known, binding = variable.known, variable.binding
    if known.role is Role.PORT:
        if not any(binding in draft.fields["url"].also for draft in reading.drafts):
            reading.skip(binding, "no URL without a port to which it could belong", "url")
    elif known.role is Role.CONFIGS:
        _attach_configs(reading, variable)
    elif known.many or _is_list_of_numbers(variable):
        _attach_parallel(reading, variable)
    else:
        _attach_one(reading, variable)


def _is_list_of_numbers(variable: Understood) -> bool:
    known = variable.known
    return known.role in NUMBER_ROLES and known.slot is None and len(_parts(variable)) > 1


def _attach_one(reading: FileReading, variable: Understood) -> None:
    known, binding = variable.known, variable.binding
    draft = _target(reading, known)
    if draft is None:
        reading.skip(binding, _no_target(reading, known))
    elif known.role is Role.ACTIVE and known.slot is None:
        reading.skip(binding, "a switch of the program, not of a server")
    elif "OLLAMA" not in binding.key.upper() and "default_model" in draft.fields:
        reading.skip(binding, "only counts where no Ollama variable names a model")
    else:
        draft.tell(known.role, variable.text, binding)


def _target(reading: FileReading, known: Recognised) -> Draft | None:
    """The server that a variable belongs to, if there is one."""
    group = reading.group(known.prefix)
    if known.slot is not None:
        for draft in group:
            if draft.slot == known.slot:
                return draft
    if known.slot is None or (known.role is Role.MODEL and known.slot == CHAT):
        return reading.unnumbered(known.prefix) or next(iter(group), None)
    if known.slot == "1":
        return reading.unnumbered(known.prefix)
    return None


def _no_target(reading: FileReading, known: Recognised) -> str:
    if known.slot is None or not reading.drafts:
        return "there is no server to which it could belong"
    if known.slot.isdecimal():
        return f"no server has the number {known.slot}"
    if known.role is Role.MODEL:
        return PURPOSE
    return f"no server is called {known.slot}"


def _attach_parallel(reading: FileReading, variable: Understood) -> None:
    drafts, length = reading.listed(variable.known.prefix)
    parts = _parts(variable)
    if not drafts:
        reading.skip(variable.binding, "there is no list of servers to which it could belong")
    elif len(parts) != length:
        source = next(iter(drafts.values())).source
        raise values.problem(
            variable.binding,
            f"has {len(parts)} entries, and {source.key} has {length} servers",
            "give each server one entry, in the same order",
        )
    else:
        for index, part in enumerate(parts):
            if part and index in drafts:
                drafts[index].tell(variable.known.role, part, variable.binding)


def _parts(variable: Understood) -> list[str]:
    if variable.text.startswith("["):
        return values.json_texts(variable.binding, variable.text)
    return values.parallel_texts(variable.text)


def _attach_configs(reading: FileReading, variable: Understood) -> None:
    """Open WebUI's settings of each URL: an object keyed by the index in the list, in old files by
    the URL.
    """
    binding = variable.binding
    drafts, length = reading.listed(variable.known.prefix)
    single = reading.unnumbered(variable.known.prefix)
    if not drafts and single:
        drafts, length = {0: single}, 1
    document = values.parsed_json(binding, variable.text)
    if not isinstance(document, dict):
        raise values.problem(binding, "is JSON, but no object")
    for key, config in document.items():
        if not isinstance(config, dict):
            raise values.problem(binding, f"is JSON whose key {key[:100]!a} holds no object")
        draft = drafts.get(_config_index(binding, key, drafts, length))
        if draft is None:
            continue
        texts, unused = values.json_fields(binding, config)
        for role, text in texts.items():
            draft.tell(role, text, binding)
        draft.skip_keys(binding, unused)


def _config_index(binding: Binding, key: str, drafts: dict[int, Draft], length: int) -> int:
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
    return next((index for index, draft in drafts.items() if draft.url.url == url.url), -1)


def _account_for_all(reading: FileReading, variables: list[Understood]) -> None:
    """Skip what was understood and still said nothing, such as an empty list."""
    used = {skip.binding for skip in reading.skipped} | set(reading.unrelated)
    for draft in reading.drafts:
        used.update(skip.binding for skip in draft.skips)
        for piece in draft.pieces.values():
            used.update(piece.sources)
        for sourced in draft.fields.values():
            used.add(sourced.source)
            used.update(sourced.also)
    for variable in variables:
        if variable.binding not in used:
            reading.skip(variable.binding, "says nothing that is kept")
