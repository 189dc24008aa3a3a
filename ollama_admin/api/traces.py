"""Traces of requests for a collector that speaks OTLP over HTTP: one span for each receipt.

Needs the packages of the extra `otel`; loaded only where traces are asked for.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

import ollama_admin
from ollama_admin.domain.keys import masked
from ollama_admin.domain.receipts import NO_FAILURE, Receipt
from ollama_admin.domain.traces import TraceContext
from ollama_admin.services.trail import Trail

NAME = "ollama_admin.request"
PATIENCE = 5.0  # seconds for what is still to be sent at the end
_SCOPE = InstrumentationScope("ollama_admin", ollama_admin.__version__)
_LENGTH = 200  # characters of a name that only a client wrote


class Traces:
    """Sends spans from a thread, a few seconds later; it keeps 2,048, and what comes then is
    dropped. The variables of OpenTelemetry say where to and how: `OTEL_EXPORTER_OTLP_ENDPOINT` and
    its like. `log` hears what fails.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        self._handler = _Handler(loop, log)
        logger = logging.getLogger("opentelemetry")
        logger.handlers, logger.propagate = [self._handler], False
        names = {SERVICE_VERSION: ollama_admin.__version__}
        if "OTEL_SERVICE_NAME" not in os.environ:
            names[SERVICE_NAME] = "ollama-admin"
        self._resource = Resource.create(names)
        self._processor = BatchSpanProcessor(OTLPSpanExporter())

    def end(self, receipt: Receipt, trail: Trail) -> None:
        """A request has ended, and what it proves is known. Never waits."""
        trace = trail.request.caller.trace
        if trace is None or not trace.is_sampled:
            return
        now, uptime = time.time_ns(), time.monotonic()

        def moment(seconds: float) -> int:
            """A time of the monotonic clock as nanoseconds since 1970."""
            return now - round((uptime - seconds) * 1e9)

        total = 0 if receipt.stats is None else receipt.stats.total_ms
        span = ReadableSpan(
            NAME,
            context=_context(trace, trace.span_id, is_remote=False),
            parent=_parent(trace),
            resource=self._resource,
            attributes=_attributes(receipt),
            events=_events(receipt, trail, moment),
            kind=SpanKind.SERVER,
            status=_status(receipt),
            start_time=moment(trail.started),
            end_time=moment(trail.started + total / 1000),
            instrumentation_scope=_SCOPE,
        )
        self._processor.on_end(span)

    async def aclose(self) -> None:
        """Send what is still to be sent, but not for long, and stop."""
        sending = threading.Thread(target=self._processor.shutdown, daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, PATIENCE)
        self._handler.is_over = True


class _Handler(logging.Handler):
    """Hands on what the exporter logs from its thread, until `is_over`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._loop = loop
        self._log = log
        self.is_over = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self.is_over:
            line = f"note: traces: {record.getMessage():.500}"
            self._loop.call_soon_threadsafe(self._log, line)


def _context(trace: TraceContext, span_id: str, *, is_remote: bool) -> SpanContext:
    return SpanContext(
        int(trace.trace_id, 16),
        int(span_id, 16),
        is_remote=is_remote,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def _parent(trace: TraceContext) -> SpanContext | None:
    if trace.parent_id is None:
        return None
    return _context(trace, trace.parent_id, is_remote=True)


def _attributes(receipt: Receipt) -> Mapping[str, Any]:
    """What the receipt tells, under the names of OpenTelemetry where it has some. No prompt."""
    asked = receipt.asked_model
    stats = receipt.stats
    found: dict[str, Any] = {
        "gen_ai.request.model": None if asked is None else masked(asked)[:_LENGTH],
        "gen_ai.response.model": receipt.model,
        "ollama_admin.server": None if receipt.server is None else str(receipt.server),
        "ollama_admin.key": None if receipt.key is None else receipt.key.name,
        "ollama_admin.request_id": receipt.request_id,
        "ollama_admin.outcome": receipt.outcome,
        "ollama_admin.attempts": receipt.attempts,
        "ollama_admin.queued_ms": receipt.queued_ms,
        "ollama_admin.digest": receipt.digest,
        "ollama_admin.proof": receipt.proof,
    }
    if stats is not None:
        found["gen_ai.usage.input_tokens"] = stats.prompt_tokens
        found["gen_ai.usage.output_tokens"] = stats.output_tokens
    return {name: value for name, value in found.items() if value is not None}


def _events(receipt: Receipt, trail: Trail, moment: Callable[[float], int]) -> list[Event]:
    """When it was sent, when its first token came, and when its build was proven."""
    found: list[Event] = []
    answer, stats = trail.answer, receipt.stats
    if answer is None or answer.sent_at is None:
        return found
    queued = {"ollama_admin.queued_ms": receipt.queued_ms or 0}
    found.append(Event("sent", queued, moment(answer.sent_at)))
    if stats is not None and stats.time_to_first_token_ms is not None:
        first = answer.sent_at + stats.time_to_first_token_ms / 1000
        found.append(Event("first_token", timestamp=moment(first)))
    if receipt.proof is not None:
        proof = {"ollama_admin.proof": str(receipt.proof)}
        found.append(Event("proof", proof, moment(time.monotonic())))
    return found


def _status(receipt: Receipt) -> Status:
    if receipt.outcome in NO_FAILURE:
        return Status(StatusCode.UNSET)
    return Status(StatusCode.ERROR, receipt.outcome)
