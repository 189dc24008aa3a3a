"""`serve --otel`: one span for each request, in the trace that its client began."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from ollama_admin.simulator.model import SimulatedModel
from tests.api.conftest import Serve, register
from tests.api.service import AUTHORIZED, SECONDS, Service
from tests.cli.running import Cli

CHAT = "/v1/chat/completions"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP, with `status`."""

    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.status = status
        self.bodies: list[bytes] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> list[Span]:
        found: list[Span] = []
        for body in self.bodies:
            for each in ExportTraceServiceRequest.FromString(body).resource_spans:
                [name] = [a for a in each.resource.attributes if a.key == "service.name"]
                assert name.value.string_value == "ollama-admin"
                for scope in each.scope_spans:
                    found.extend(scope.spans)
        return found


class _Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        yield server
        server.shutdown()
        thread.join(SECONDS)


def told(span: Span) -> dict[str, Any]:
    """The attributes of a span."""
    found: dict[str, Any] = {}
    for attribute in span.attributes:
        value = attribute.value
        found[attribute.key] = value.string_value or value.int_value
    return found


def chat(model: str = "alpha") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "a canary"}], "stream": True}


def test_a_request_is_a_span_below_its_clients_and_above_its_servers(
    sqlite_url: str, fakes: Serve, collector: Collector
) -> None:
    fake = fakes(SimulatedModel("alpha", says="one two three"))
    with Service(sqlite_url, otel=True) as service:
        register(service, fake)
        headers = AUTHORIZED | {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}
        answer = service.ask("POST", CHAT, chat(), headers=headers)
        id_ = answer.headers["x-request-id"]
        receipt = service.receipt(id_)
        other = service.ask("POST", CHAT, chat()).headers["x-request-id"]
        failed = service.ask("POST", CHAT, chat("beta"))
        assert failed.status_code == 404
    spans = {span.span_id.hex(): span for span in collector.spans()}
    assert spans.keys() == {id_, other, failed.headers["x-request-id"]}
    span = spans[id_]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert (
        told(span).items()
        >= {
            "gen_ai.request.model": "alpha",
            "gen_ai.response.model": "alpha:latest",
            "gen_ai.usage.output_tokens": receipt.stats.output_tokens,
            "ollama_admin.server": "one",
            "ollama_admin.key": "OLLAMA_ADMIN_API_TOKEN",
            "ollama_admin.outcome": "ok",
            "ollama_admin.proof": "digest",
        }.items()
    )
    assert [event.name for event in span.events] == ["sent", "first_token", "proof"]
    times = [event.time_unix_nano for event in span.events]
    assert times == sorted(times)
    assert span.start_time_unix_nano <= times[0] <= times[1] <= span.end_time_unix_nano + 10**6
    assert not spans[other].parent_span_id
    assert spans[other].trace_id != span.trace_id
    failure = spans[failed.headers["x-request-id"]]
    assert (failure.status.code, failure.status.message) == (2, "model_not_found")
    [sent, _] = [request for request in fake.fakes[0].requests if request.path == CHAT]
    assert sent.headers["traceparent"] == f"00-{TRACE}-{id_}-01"
    assert sent.headers["tracestate"] == "vendor=1"
    assert b"canary" not in b"".join(collector.bodies)


def test_what_is_not_to_be_sampled_is_no_span(
    sqlite_url: str, fakes: Serve, collector: Collector
) -> None:
    fake = fakes("alpha")
    with Service(sqlite_url, otel=True) as service:
        register(service, fake)
        headers = AUTHORIZED | {"traceparent": TRACEPARENT[:-1] + "0"}
        service.receipt(service.ask("POST", CHAT, chat(), headers=headers).headers["x-request-id"])
    assert collector.spans() == []


def test_a_collector_that_is_away_fails_no_request_and_is_said(
    sqlite_url: str, fakes: Serve, collector: Collector
) -> None:
    collector.status = 400
    with Service(sqlite_url, otel=True) as service:
        register(service, fakes("alpha"))
        for _ in range(3):
            assert service.ask("POST", CHAT, chat()).status_code == 200
    assert len(collector.bodies) == 1


def test_without_it_what_a_client_sent_goes_on_and_nothing_else(
    sqlite_api: Service, fakes: Serve, collector: Collector
) -> None:
    fake = fakes("alpha")
    register(sqlite_api, fake)
    headers = AUTHORIZED | {"traceparent": TRACEPARENT}
    sqlite_api.ask("POST", CHAT, chat(), headers=headers)
    sqlite_api.ask("POST", CHAT, chat())
    sent = [request.headers for request in fake.fakes[0].requests if request.path == CHAT]
    assert [headers.get("traceparent") for headers in sent] == [TRACEPARENT, None]
    assert collector.bodies == []


def test_without_it_its_packages_are_not_loaded() -> None:
    """Of OpenTelemetry FastAPI alone loads something: the API, which does nothing by itself."""
    program = "import ollama_admin.cli.service, sys; print('opentelemetry.sdk' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "False\n"


@pytest.mark.parametrize(
    "words", [("generate", "-m", "alpha", "hi"), ("embed", "-m", "alpha", "x")]
)
def test_a_command_goes_on_with_the_trace_of_its_environment(
    sqlite_cli: Cli, fakes: Serve, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    fake = fakes(SimulatedModel("alpha", capabilities=("completion", "embedding")))
    sqlite_cli("server", "add", "one", fake.url)
    sqlite_cli("discover")
    for given in (TRACEPARENT, "no traceparent"):
        monkeypatch.setenv("TRACEPARENT", given)
        assert sqlite_cli(*words).exit_code == 0
    path = f"/api/{words[0]}"
    sent = [request.headers for request in fake.fakes[0].requests if request.path == path]
    assert [headers.get("traceparent") for headers in sent] == [TRACEPARENT, None]
