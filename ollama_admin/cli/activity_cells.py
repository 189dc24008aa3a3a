"""What is told of the activity of the fleet, from its JSON: cells, and what they are sorted by. It
loads nothing heavy.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from ollama_admin.cli.lists import Wrong

Doc: TypeAlias = Mapping[str, Any]

HEADINGS = ("SERVER", "STATE", "USED", "WAIT", "TOK/S", "MODELS IN MEMORY")
REQUEST_HEADINGS = ("MODEL", "SERVER", "KEY", "SECONDS", "TOKENS")
ELSEWHERE = "requests on their way are known inside serve alone: add --url URL"
_WELL = ("online", "unknown")
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What servers are sorted by; with `descending`, what is most comes first."""

    value: Callable[[Doc], Any]
    descending: bool = False


ORDERS: Mapping[str, Order] = {
    "name": Order(value=lambda row: str(row["server"]["name"]).casefold()),
    "used": Order(value=lambda row: row["in_flight"], descending=True),
    "waiting": Order(value=lambda row: row["waiting"], descending=True),
    "speed": Order(value=lambda row: row["tokens_per_second"], descending=True),
    "state": Order(value=lambda row: (row["status"] in _WELL, row["status"])),
    "models": Order(value=lambda row: len(row["models"] or ()), descending=True),
}


def ordered(servers: Sequence[Doc], sort: str, *, reverse: bool) -> list[Doc]:
    """Servers by an order's name; equals stay as they came."""
    order = ORDERS[sort]
    return sorted(servers, key=order.value, reverse=order.descending is not reverse)


def summary(activity: Doc) -> str:
    """The whole fleet in a line."""
    servers = activity["servers"]
    well = sum(row["status"] == "online" for row in servers)
    used = sum(row["in_flight"] for row in servers)
    limit = sum(row["max_concurrent"] for row in servers if row["is_active"])
    speed = sum(row["tokens_per_second"] for row in servers)
    return f"{len(servers)} servers, {well} online, {used}/{limit} in flight, {speed:.0f} tok/s"


def server_cells(row: Doc, at: datetime) -> list[str]:
    """The cells of a server, under `HEADINGS`."""
    waiting = str(row["waiting"]) if row["waiting"] else "-"
    speed = f"{row['tokens_per_second']:.1f}" if row["tokens_per_second"] else "-"
    used = f"{row['in_flight']}/{row['max_concurrent']}"
    if row["waiting"]:
        waiting = Wrong(waiting)
    return [str(row["server"]["name"]), _state(row, at), used, waiting, speed, _models(row, at)]


def request_cells(row: Doc) -> list[str]:
    """The cells of a request, under `REQUEST_HEADINGS`."""
    server, key, tokens = row["server"], row["key"], row["output_tokens"]
    return [
        row["model"] or "-",
        Wrong("(waits)") if server is None else str(server["name"] or server["url"]),
        "-" if key is None else str(key["name"]),
        f"{row['ms'] / 1000:.1f}",
        "-" if tokens is None else str(tokens),
    ]


def _state(row: Doc, at: datetime) -> str:
    """What is known of the server's health, and for how long it has been so."""
    status = str(row["status"])
    words = status
    if not row["is_active"]:
        words = "inactive"
    elif row["is_draining"]:
        words = "draining"
    if row["status_since"] is not None:
        words += f" {_short(at, row['status_since'])}"
    return words if status in _WELL else Wrong(words)


def _models(row: Doc, at: datetime) -> str:
    if row["error"] is not None:
        return Wrong(str(row["error"]["code"]))
    if row["models"] is None:
        return "-"
    return ", ".join(_model(model, at) for model in row["models"]) or "none"


def _model(model: Doc, at: datetime) -> str:
    """A model in memory, with the time that it stays."""
    until = model["expires_at"]
    if until is None:
        return str(model["name"])
    seconds = (datetime.fromisoformat(until) - at).total_seconds()
    if seconds > 10 * 365 * 86_400:  # so Ollama writes `keep_alive: -1`
        return f"{model['name']} forever"
    return f"{model['name']} {_length(max(0, seconds))}"


def _short(at: datetime, since: str) -> str:
    return _length(max(0, (at - datetime.fromisoformat(since)).total_seconds()))


def _length(seconds: float) -> str:
    """A time in its largest unit."""
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"
