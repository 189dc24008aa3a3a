"""`/metrics`: the numbers of the service and its fleet, for Prometheus."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

import ollama_admin
from ollama_admin.api.reach import ClientDep, errors, needs
from ollama_admin.domain.keys import Right
from ollama_admin.domain.servers import Server, ServerStatus
from ollama_admin.services.metrics import FleetRows, Gauges, Reading
from ollama_admin.services.tally import Histogram, Tally, Times

router = APIRouter(tags=["health"])

PREFIX = "ollama_admin_"
SERVERS = 1000  # of which each has numbers of its own
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}}
}

_REQUEST = ("model", "server", "key", "outcome")
_PROOF = ("model", "server", "proof")
_TOKENS = ("model", "server", "key", "kind")
# by the field of `Times` that holds it
_HISTOGRAMS = {
    "first_token": (
        "time_to_first_token_seconds",
        "Time from sending a request to its server until the first token",
    ),
    "speed": ("tokens_per_second", "Speed of answers, as their servers tell it"),
    "queue": (
        "queue_seconds",
        "Time from the arrival of a request until it was sent, its wait for a slot included",
    ),
    "added": (
        "added_seconds",
        "Time from the arrival of a request until it was sent, its wait for a slot left out",
    ),
}


@router.get("/metrics", dependencies=needs(Right.READ), responses=_TEXT | errors())
async def metrics(request: Request, client: ClientDep) -> Response:
    """The numbers of this service, all its workers together, and of the fleet, in the text format
    of Prometheus, or of OpenMetrics where that is accepted. What the database tells is left out
    while it does not answer, which `ollama_admin_database_up` says.
    """
    reading = await client.fleet.metrics.read()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(reading))
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    text = await asyncio.to_thread(encode, registry)
    return Response(text, headers={"Content-Type": content_type})


class _Collector(Collector):
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        reading = self._reading
        yield InfoMetricFamily(
            f"{PREFIX}build", "What runs", value={"version": ollama_admin.__version__}
        )
        yield _gauge("workers", "Processes of this service", reading.workers)
        yield from _counted(reading.tally)
        yield from _in_hand(reading.gauges)
        yield _gauge(
            "database_up", "Whether the database answered just now", reading.fleet is not None
        )
        if reading.fleet is not None:
            yield from _of_fleet(reading.fleet, looks=reading.looks)


def _counted(tally: Tally) -> Iterator[Metric]:
    """What was counted since the service began."""
    requests: dict[tuple[str, ...], int] = {}
    proofs: dict[tuple[str, ...], int] = {}
    tokens: dict[tuple[str, ...], int] = {}
    for labels, line in tally.lines.items():
        model, server, key, outcome, proof = labels
        _raise(requests, (model, server, key, outcome), line.count)
        _raise(proofs, (model, server, proof or "none"), line.count)
        _raise(tokens, (model, server, key, "prompt"), line.prompt_tokens)
        _raise(tokens, (model, server, key, "output"), line.output_tokens)
    yield _counter("requests", "Requests that have ended, by what came of them", _REQUEST, requests)
    yield _counter("proofs", "Requests that have ended, by what proved the build", _PROOF, proofs)
    yield _counter("tokens", "Tokens of prompts and answers", _TOKENS, tokens)
    for field, (name, text) in _HISTOGRAMS.items():
        yield _histogram(name, text, tally.times, field)


def _in_hand(gauges: Gauges) -> Iterator[Metric]:
    """What the processes of this service do now."""
    yield _gauge("requests_in_flight", "Requests on their way", gauges.in_flight)
    by_server: Sequence[tuple[str, str, Mapping[str, int]]] = (
        ("slots_running", "Slots that requests of this service run under", gauges.running),
        ("slots_kept", "Slots that this service keeps for its next requests", gauges.kept),
        ("slots_waiting", "Requests of this service that wait for a slot", gauges.waiting),
    )
    for name, text, values in by_server:
        family = GaugeMetricFamily(PREFIX + name, text, labels=("server",))
        for server, value in values.items():
            family.add_metric((server,), value)
        yield family
    yield _gauge("receipts_unwritten", "Receipts that are still to be written", gauges.unwritten)
    lost = CounterMetricFamily(
        f"{PREFIX}receipts_lost", "Receipts that could not be written, or were dropped"
    )
    lost.add_metric((), gauges.lost)
    yield lost
    yield _gauge(
        "registry_age_seconds",
        "How old is what this service knows of servers, models, pins and keys",
        gauges.registry_age,
    )


def _of_fleet(fleet: FleetRows, *, looks: bool) -> Iterator[Metric]:
    """What the database tells."""
    yield _gauge("database_read_seconds", "Time that the database took just now", fleet.seconds)
    if looks:
        yield _gauge(
            "lookout_up",
            "Whether some process looks at servers in the background",
            fleet.is_looked_at,
        )
    active = [server for server in fleet.servers if server.is_active]
    yield _gauge("servers", "Active servers", len(active))
    values: Sequence[tuple[str, str, Callable[[Server], float | None]]] = (
        ("server_up", "Whether the server was online at the last look", _is_up),
        ("server_draining", "Whether the server is being drained", lambda row: row.is_draining),
        ("server_slots", "Requests that the server takes at once", lambda row: row.max_concurrent),
        ("server_slots_in_use", "Slots of all processes in use", lambda row: row.slots_in_use),
        (
            "server_waiting",
            "Requests of all processes that wait for the server",
            lambda row: fleet.waiting.get(row.id, 0),
        ),
        (
            "server_seen_timestamp_seconds",
            "When the server answered last",
            lambda row: _seconds(row.last_seen_at),
        ),
        (
            "server_discovered_timestamp_seconds",
            "When it was read last what the server holds",
            lambda row: _seconds(row.last_discovered_at),
        ),
    )
    for name, text, value_of in values:
        family = GaugeMetricFamily(PREFIX + name, text, labels=("server",))
        for server in active[:SERVERS]:
            value = value_of(server)
            if value is not None:
                family.add_metric((server.name,), value)
        yield family


def _is_up(server: Server) -> float | None:
    """None for a server that nobody has looked at yet."""
    if server.status is ServerStatus.UNKNOWN:
        return None
    return server.status is ServerStatus.ONLINE


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()


def _raise(sums: dict[tuple[str, ...], int], labels: tuple[str, ...], count: int) -> None:
    sums[labels] = sums.get(labels, 0) + count


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def _counter(
    name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], int]
) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for each, value in values.items():
        family.add_metric(each, value)
    return family


def _histogram(name: str, text: str, times: Mapping[tuple[str, str], Times], field: str) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, text, labels=("model", "server"))
    for labels, each in times.items():
        histogram: Histogram = getattr(each, field)
        family.add_metric(labels, _buckets(histogram), histogram.sum)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """How many values are no greater than each bound, as Prometheus counts them."""
    buckets: list[tuple[str, float]] = []
    count = 0
    for bound, more in zip(histogram.bounds, histogram.counts, strict=False):
        count += more
        buckets.append((f"{float(bound)}", count))
    buckets.append(("+Inf", count + histogram.counts[-1]))
    return buckets
