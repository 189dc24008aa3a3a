"""How servers and their checks are shown."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells, Layout, ListView, Wrong
from ollama_admin.cli.ordering import Field
from ollama_admin.cli.output import Output
from ollama_admin.cli.views.texts import age, for_how_long, print_facts, stamp
from ollama_admin.domain.labels import spelt
from ollama_admin.domain.servers import CheckResult, Server, ServerStatus

if TYPE_CHECKING:
    from ollama_admin.cli.results import ServerResult


# what `server update` changes, in the order of `server show`
_UPDATED = (
    "name",
    "url",
    "api_version",
    "is_default",
    "is_active",
    "capabilities",
    "max_concurrent",
    "priority",
    "default_model",
    "labels",
    "auth_type",
    "auth_config",
    "headers",
    "ca_file",
    "client_cert_file",
    "client_key_file",
    "proxy",
)

SORTABLE: Mapping[str, Field[Server]] = {
    "name": Field(value=lambda server: server.name.casefold()),
    "url": Field(value=lambda server: server.url),
    "id": Field(value=lambda server: server.id),
    "priority": Field(value=lambda server: server.priority, descending=True),
    "used": Field(value=lambda server: server.slots_in_use, descending=True),
    "discovered": Field(value=lambda server: server.last_discovered_at, descending=True),
}


def server_list(model_counts: Mapping[int, int], *, is_filtered: bool = False) -> ListView[Server]:
    """`model_counts` are available models by the id of their server; it may be filled later.
    `is_filtered` says that there may be other servers.
    """
    absence = "no such servers; add one with: ollama-admin server add NAME URL"
    if is_filtered:
        absence = "no such servers; see all with: ollama-admin server list"
    layout = Layout(
        headings=["ID", "NAME", "URL", "API", "USED", "STATE", "MODELS"],
        more=[
            "PRIORITY",
            "CAPABILITIES",
            "LABELS",
            "DEFAULT MODEL",
            "VERSION",
            "DISCOVERED",
        ],
        cells=partial(_server_cells, model_counts=model_counts),
    )
    return ListView(
        absence=absence,
        layout=lambda _first, _is_all: layout,
    )


def _server_cells(server: Server, *, model_counts: Mapping[int, int]) -> Cells:
    return (
        str(server.id),
        server.name,
        server.url,
        server.api_version,
        f"{server.slots_in_use}/{server.max_concurrent}",
        _state(server),
        str(model_counts.get(server.id, 0)),
        str(server.priority),
        ", ".join(server.capabilities),
        ", ".join(spelt(server.labels)),
        server.default_model,
        server.version,
        age(server.last_discovered_at),
    )


def print_server(output: Output, server: Server) -> None:
    """Print every field, one a line."""
    facts: list[tuple[str, object]] = [
        ("id", server.id),
        ("name", server.name),
        ("url", server.url),
        ("api version", server.api_version),
        ("state", _state(server)),
        ("labels", ", ".join(spelt(server.labels))),
        ("capabilities", ", ".join(server.capabilities)),
        ("max concurrent", server.max_concurrent),
        ("slots in use", server.slots_in_use),
        ("priority", server.priority),
        ("default model", server.default_model),
        ("auth", server.auth_type),
        *_credentials(server),
        *_transport(server),
        ("Ollama version", server.version),
        ("last error", server.last_error),
        ("failures in a row", server.failures or None),
        ("asked last until", stamp(server.asked_last_until)),
        ("latency", None if server.latency_ms is None else f"{server.latency_ms} ms"),
        ("last seen", stamp(server.last_seen_at)),
        ("last discovered", stamp(server.last_discovered_at)),
        ("created", stamp(server.created_at)),
        ("updated", stamp(server.updated_at)),
    ]
    print_facts(output, facts)


def _credentials(server: Server) -> list[tuple[str, object]]:
    """User, header and references; asterisks where a secret is."""
    shown = server.document()
    facts = [(key.replace("_", " "), value) for key, value in shown["auth_config"].items()]
    return facts + [(f"header {name}", value) for name, value in shown["headers"].items()]


def _transport(server: Server) -> list[tuple[str, object]]:
    """How its connections are made, where that is otherwise than for all."""
    facts = [
        ("CA file", server.ca_file),
        ("client certificate", server.client_cert_file),
        ("client key", server.client_key_file),
        ("proxy", server.proxy),
    ]
    return [(name, value) for name, value in facts if value is not None]


def print_update(before: Server, output: Output, after: Server, *, is_auth_given: bool) -> None:
    """Print which row was changed, and each field with its value before and now."""
    changes = _changes(before, after)
    if is_auth_given and not changes.keys() & {"auth_type", "auth_config", "headers"}:
        changes["auth_config"] = ("as before", "set again")
    if not changes:
        output.sentence(f"nothing changed in server {after.id}, {after.name}: {after.url}")
        return
    output.sentence(changed_server(after, "changed"))
    for field, (old, new) in changes.items():
        output.sentence(f"  {field}: {_value(old)} -> {_value(new)}")


def _changes(before: Server, after: Server) -> dict[str, tuple[object, object]]:
    old, new = _facts(before), _facts(after)
    return {field: (old[field], new[field]) for field in _UPDATED if old[field] != new[field]}


def _facts(server: Server) -> dict[str, Any]:
    """The row's document, with labels as they are typed."""
    facts = server.document()
    facts["labels"] = tuple(spelt(server.labels))
    return facts


def _value(value: object) -> str:
    match value:
        case tuple():
            text = ", ".join(map(str, value))
        case dict():
            text = ", ".join(f"{key} {part}" for key, part in value.items())
        case bool():
            text = "yes" if value else "no"
        case _:
            text = str(value)
    return "-" if value is None else text or "-"


def changed_server(server: Server, change: str) -> str:
    """What became of a row, with what was learnt of the server if it was asked."""
    sentence = f"{change} server {server.id}, {server.name}: {server.url}"
    if server.status is ServerStatus.UNKNOWN:
        return sentence
    version = f", Ollama {server.version}" if server.version else ""
    return f"{sentence} ({server.status}{version})"


def print_checks(output: Output, checks: Sequence[CheckResult]) -> None:
    """Print a line for each server, then what failed."""
    if not checks:
        output.note("no servers to ask; add one with: ollama-admin server add NAME URL")
        return
    rows = [_check_cells(check) for check in checks]
    print_table(output, ["SERVER", "STATUS", "VERSION", "TIME", "ERROR"], rows)
    note_errors(output, checks)


def _check_cells(check: CheckResult) -> Cells:
    error = check.error
    if error is None:
        return (str(check.server), check.status, check.version, f"{check.ms} ms", None)
    status, code = Wrong(check.status), Wrong(error.code)
    return (str(check.server), status, check.version, f"{check.ms} ms", code)


def note_errors(output: Output, results: "Iterable[ServerResult]") -> None:
    """Say on stderr what failed, in whole messages, which a table would cut."""
    for result in results:
        error = result.error
        if error and error.hint:
            output.note_once(f"{error.message}; {error.hint}")
        elif error:
            output.note_once(error.message)


def _state(server: Server) -> str:
    words = [f"{server.status} {for_how_long(server.status_since)}".strip()]
    if server.is_default:
        words.append("default")
    if not server.is_active:
        words.append("inactive")
    if server.is_draining:
        words.append("draining")
    state = ", ".join(words)
    is_open = server.is_active and not server.is_draining
    return state if is_open and _is_well(server.status) else Wrong(state)


def _is_well(status: ServerStatus) -> bool:
    return status in (ServerStatus.ONLINE, ServerStatus.UNKNOWN)
