"""Reads the variables that stand together, in one file or one environment, into drafts of servers.

A variable is about an Ollama server when its name says so, when its value is the URL of one, or
when a variable beside it says that the program is Ollama. What is about one and says nothing that
can be kept is listed with the reason.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ollama_admin.errors import InvalidInput
from ollama_admin.legacy import forms, layouts, lists, values
from ollama_admin.legacy.credentials import SECRET_ROLES, VERBATIM_ROLES
from ollama_admin.legacy.drafts import LegacyServer
from ollama_admin.legacy.envfile import Binding
from ollama_admin.legacy.layouts import AUTH_ROLES, Meaning, Role
from ollama_admin.legacy.servers import PLACEHOLDER, Kind, Skipped, unreadable

LISTEN = "an address to listen on, not one to connect to"
OWN_PATH = "a path on the program's own host, not a server"
KUBERNETES = "made by Kubernetes for a service"
SHELL = "only a shell can say what it means"
PROVIDER = "names Ollama as the program of the lines beside it"
MENTION = "mentions the URL of an Ollama server, but is none: see `server add`"
NOT_ALONE = "one of several models: name it with --model"
NOT_COUNTED = "only counts where no Ollama variable names a model"
NO_SERVER = "there is no server to which it could belong"

_OF_KUBERNETES = re.compile(
    r".*_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_[0-9]+_(?:TCP|UDP)(?:_\w+)?)?)"
)
_KUBERNETES_VALUE = re.compile(r"(?:tcp|udp)://.*|[0-9.]+|[0-9a-f:]*:[0-9a-f:]*|tcp|udp")
_URL_BY_VALUE = (Role.URL, Role.MODEL, Role.NAME, Role.PROVIDER, None)
PARTS = (Role.PORT, Role.TLS)
_BESIDE_LLM = (Role.PROVIDER, Role.MODEL, Role.URL, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A variable, what its name tells, and its value."""

    binding: Binding
    known: Meaning
    text: str = field(repr=False)


@dataclass(slots=True, kw_only=True)
class Scope:
    """What was read. `lengths` counts the parts of each list of URLs, those without a server too;
    `providers` says of the variables beside which others whether their program is Ollama.
    """

    file: str | None
    servers: list[LegacyServer] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    unrelated: list[Binding] = field(default_factory=list)
    lengths: dict[Binding, int] = field(default_factory=dict)
    providers: dict[tuple[str, str | None], bool] = field(default_factory=dict)
    exposes_secrets: bool = False

    def skip(
        self, binding: Binding, why: str, column: str | None = None, kind: Kind = Kind.IGNORED
    ) -> None:
        """List a variable as going nowhere."""
        self.skipped.append(Skipped(binding=binding, why=why, field=column, kind=kind))

    def attempt(self, binding: Binding, step: Callable[[], None]) -> None:
        """Take a step; what cannot be read is listed and stops nothing else."""
        try:
            step()
        except InvalidInput as exc:
            self.skipped.append(unreadable(binding, exc))

    def unnumbered(self, prefix: str) -> LegacyServer | None:
        return next((draft for draft in self.group(prefix) if draft.unnumbered), None)

    def first(self, prefix: str) -> LegacyServer | None:
        """The server that means all: the unnumbered one, else the first that has no purpose."""
        group = self.group(prefix)
        general = [draft for draft in group if not draft.has_purpose]
        return self.unnumbered(prefix) or next(iter(general + group), None)

    def group(self, prefix: str) -> list[LegacyServer]:
        """The servers under a prefix; all of them when it has none of its own."""
        return [draft for draft in self.servers if draft.known.prefix == prefix] or self.servers

    def listed(self, prefix: str) -> tuple[dict[int, LegacyServer], int]:
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


def read_lines(scope: Scope, bindings: list[Binding]) -> Iterator[Line]:
    """The variables as they count in the end, without those that are no values at all."""
    last = {binding.key.upper(): binding for binding in bindings}
    for binding in bindings:
        value = binding.value or ""
        known = layouts.recognise(binding.key, value)
        winner = last[binding.key.upper()]
        about = known.ollama or forms.mentions_ollama(value)
        if binding.error is not None:
            scope.skipped.append(unreadable(binding, binding.error))
        elif not about and winner is not binding:
            scope.unrelated.append(binding)
        elif winner is not binding:
            verb = "set"
            if winner.is_unset:
                verb = "unset"
            why = f"{verb} again: {winner.place} counts"
            scope.skipped.append(Skipped(binding=binding, why=why, shadowed_by=winner))
        elif about and _is_of_kubernetes(binding.key, value):
            scope.skip(binding, KUBERNETES, "url", Kind.ELSEWHERE)
        else:
            yield Line(binding=binding, known=known, text=_text(binding, known))


def _text(binding: Binding, known: Meaning) -> str:
    text = binding.value or ""
    if known.role is Role.URL:
        return forms.unquoted(text)
    if known.many or known.role not in VERBATIM_ROLES:
        return text.strip()
    return text


def _is_of_kubernetes(key: str, value: str) -> bool:
    is_service = bool(_OF_KUBERNETES.fullmatch(key.upper()))
    if key.upper().endswith("_PORT") and "SERVICE" not in key.upper():
        return is_service and value.startswith(("tcp://", "udp://"))
    return is_service and bool(_KUBERNETES_VALUE.fullmatch(value.lower()))


def note_providers(scope: Scope, lines: list[Line]) -> None:
    for line in lines:
        known, says = line.known, line.text.lower()
        is_ollama = says in ("ollama", "ollama_chat") and known.role in _BESIDE_LLM
        by_role = known.role is Role.URL and "HOST" in line.binding.key.upper()
        if known.ollama or by_role or not (known.role is Role.PROVIDER or is_ollama):
            continue
        place = known.place
        if known.role is not Role.PROVIDER:
            place = layouts.recognise("_".join(layouts.words_of(line.binding.key)[:-1])).place
        scope.providers[place] = is_ollama
        if is_ollama:
            scope.skip(line.binding, PROVIDER, kind=Kind.ELSEWHERE)


def is_url(scope: Scope, line: Line) -> bool:
    known, text = line.known, line.text
    if known.why or known.role not in _URL_BY_VALUE:
        return False
    if lists.says_ollama(line.binding, forms.unquoted(text)):
        return True
    if known.role is not Role.URL:
        return False
    if known.ollama:
        return not known.odd or no_server(text) is not None or _holds_address(line)
    if text.lower() == "ollama":
        return "HOST" in line.binding.key.upper()
    return bool(text) and scope.providers.get(known.place, False)


def _holds_address(line: Line) -> bool:
    try:
        items = lists.items(line.binding, line.text)
    except InvalidInput:
        return True
    return any(forms.is_address(item.url) for item in items)


def is_related(scope: Scope, line: Line) -> bool:
    """Whether a variable is about a server; else it is listed, or counted, and done with."""
    binding, known = line.binding, line.known
    if binding in [skip.binding for skip in scope.skipped]:
        return False
    if known.why and (known.ollama or _is_not_asked(line)):
        scope.skip(binding, known.why, kind=Kind.ELSEWHERE)
    elif known.ollama and (known.role in (None, Role.URL, Role.PROVIDER)):
        skip_unknown(scope, line)
    elif not known.ollama and not (_is_own(scope, line) or _is_model(scope, line)):
        if forms.mentions_ollama(line.text) and known.role not in SECRET_ROLES:
            scope.skip(binding, MENTION)
        else:
            scope.unrelated.append(binding)
    else:
        return is_usable(scope, line)
    return False


def _is_not_asked(line: Line) -> bool:
    return line.known.why == layouts.NOT_ASKED and forms.mentions_ollama(line.text)


def skip_unknown(scope: Scope, line: Line) -> None:
    binding = line.binding
    if binding.is_unset:
        scope.skip(binding, "unset", kind=Kind.ELSEWHERE)
        return
    why = layouts.NOT_UNDERSTOOD
    meant = layouts.suggestion(binding.key)
    if meant:
        why = f"{why}: did you mean {meant}?"
    scope.skip(binding, why, kind=Kind.UNKNOWN)


def _is_own(scope: Scope, line: Line) -> bool:
    """Whether a variable without OLLAMA stands beside the URL of a server with the same prefix."""
    known = line.known
    if known.role is None or not any(known.place):
        return False
    places = [draft.known.place for draft in scope.servers if not draft.known.ollama]
    if known.prefix:
        return known.prefix in [prefix for prefix, _ in places]
    return known.place in places


def _is_model(scope: Scope, line: Line) -> bool:
    """Whether a variable without OLLAMA names one of its models."""
    known, text = line.known, line.text
    if known.role is not None and known.role is not Role.MODEL:
        return False
    if forms.is_model_of_ollama(text) and forms.is_model_name(text):
        return True
    if known.role is None or not forms.is_model_name(text) or line.binding.unfilled:
        return False
    if known.place in scope.providers:
        return scope.providers[known.place]
    return bool(scope.servers) and (known.is_plain or known.is_slot_alone)


def is_plain_model(scope: Scope, line: Line) -> bool:
    """Whether it names a model without saying what for."""
    known = line.known
    if known.ollama or known.role is not Role.MODEL:
        return False
    return known.is_plain or (known.slot is None and scope.providers.get(known.place, False))


def is_usable(scope: Scope, line: Line) -> bool:
    """Whether a value can be used; else the variable is skipped."""
    binding, known, text = line.binding, line.known, line.text
    if binding.is_unset:
        scope.skip(binding, "unset", kind=Kind.ELSEWHERE)
    elif binding.unfilled:
        needed = ", ".join(f"${{{name}}}" for name in binding.unfilled)
        scope.skip(binding, f"needs {needed}, which no line before it sets")
    elif binding.value is None:
        scope.skip(binding, "no value: written without =")
    elif not text.strip():
        scope.skip(binding, "no value")
    elif known.role in AUTH_ROLES and forms.is_placeholder(
        text.strip(), key=known.role is Role.KEY
    ):
        scope.skip(binding, PLACEHOLDER)
    else:
        many = known.many or known.role in (Role.URL, Role.CONFIGS, Role.HEADERS)
        before = len(scope.skipped)
        scope.attempt(binding, lambda: values.check(binding, text, many=many))
        return len(scope.skipped) == before
    return False


def no_server(text: str) -> str | None:
    """Why a value is no URL of a server, if its form alone says so."""
    if text.startswith("/"):
        return OWN_PATH
    if forms.is_listen_address(text):
        return LISTEN
    if forms.is_placeholder(text):
        return PLACEHOLDER
    if forms.is_json(text):
        return None
    if text.isdecimal() and text.isascii():
        return f"a number: a count, or the port of http://localhost:{text[:5]}"
    if text.lower() in values.SWITCH_WORDS:
        return "a switch, not a server"
    if forms.is_placeholder_host(text):
        return PLACEHOLDER
    if forms.needs_shell(text):
        return SHELL
    return None
